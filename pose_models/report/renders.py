"""Objects rendered with their own colours and light from the camera, and laid over images (cosypose.md section 17)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pose_models.meshes.mesh import Mesh
from pose_models.render.fragments import Fragments, average_samples
from pose_models.render.phong import Lights, shade
from pose_models.render.renderer import Renderer
from pose_models.report.overlay import COLORS

Image = NDArray[np.uint8]
Color = tuple[int, int, int]
LIGHTS = Lights(torch.tensor([[0.0, 0.0, 0.0, 1.0]]), torch.full((1, 3), 0.65), torch.full((3,), 0.35))


@dataclasses.dataclass(frozen=True)
class Rendered:
    """Light (H, W, 3) 0..1 that comes from objects, and the share (H, W, 1) of each pixel that they cover."""

    light: NDArray[np.float32]
    share: NDArray[np.float32]

    def before(self, background: ArrayLike) -> Image:
        """In front of a colour (3,) or an image (H, W, 3), 0..255."""
        behind = np.asarray(background, dtype=np.float32)
        return np.clip(255 * self.light + (1 - self.share) * behind + 0.5, 0, 255).astype(np.uint8)

    def over(self, image: Image) -> Image:
        """Over a faded image (H, W, 3): background 0.6 image and 0.4 white, objects 0.8 render and 0.2 white."""
        pale = Rendered(0.8 * self.light + 0.2 * self.share, self.share)
        return pale.before(0.6 * image.astype(np.float32) + 0.4 * 255)


class Painter:
    """Meshes by object id, ready to be rendered; those without colours get one per object."""

    def __init__(self, meshes: Mapping[int, Mesh]) -> None:
        colors = object_colors(list(meshes))
        self._renderer = Renderer({i: _colored(mesh, colors[i]) for i, mesh in meshes.items()})

    def render(
        self, obj_ids: Sequence[int], T_cam_obj: ArrayLike, K: ArrayLike, width: int, height: int, samples: int = 2
    ) -> Rendered:
        """N objects at poses (N, 4, 4) mm, seen by a camera K (3, 3), pixel centres at integers.

        Args:
            samples: rays per pixel side.
        """
        T = torch.tensor(np.asarray(T_cam_obj), dtype=torch.float32).reshape(-1, 4, 4)
        cameras = torch.tensor(np.asarray(K), dtype=torch.float32)[None]
        hits = self._renderer.cast(
            obj_ids, T, cameras, (height, width), image=[0] * len(T), pixel_center=0.0, samples=samples
        )
        seen = hits.mask[0]
        pixels = torch.zeros((*seen.shape, 4))
        if seen.any():
            some = _only(hits, seen)  # one row of pixels: most of an image is background
            surfaces = self._renderer.surfaces
            light = shade(surfaces.colors(some), surfaces.normals(some, T), surfaces.positions(some, T), LIGHTS)
            pixels[seen] = torch.cat([light[0, 0].clamp(0, 1), torch.ones((int(seen.sum()), 1))], dim=1)
        averaged = average_samples(pixels[None], samples)[0].numpy()
        return Rendered(averaged[..., :3], averaged[..., 3:])


def _only(hits: Fragments, seen: Tensor) -> Fragments:
    """Some pixels (H, W) bool of a single image, as an image of one row."""
    depth, instance, face, barycentric = (
        part[0][seen][None, None] for part in (hits.depth, hits.instance, hits.face, hits.barycentric)
    )
    return Fragments(depth, instance, face, barycentric, hits.mesh)


def object_colors(obj_ids: Sequence[int]) -> dict[int, Color]:
    """A colour for each object."""
    return {obj_id: COLORS[number % len(COLORS)] for number, obj_id in enumerate(sorted(set(obj_ids)))}


def _colored(mesh: Mesh, color: Color) -> Mesh:
    if mesh.colors is not None or mesh.uv is not None:
        return mesh
    return dataclasses.replace(mesh, colors=np.tile(np.array(color, dtype=np.uint8), (len(mesh.vertices), 1)))
