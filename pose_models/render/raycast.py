"""Ray casting of one triangle mesh for numpy callers: what a pixel sees, exactly, without OpenGL or a display.

A ray goes through every pixel; there is no anti-aliasing and no back-face culling. K is a general 3x3 matrix, so
rotated crops render like any other camera. `renderer.Renderer` is the same for batches of torch tensors.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pose_models.meshes.mesh import Mesh
from pose_models.render.embree import Canvas, EmbreeMesh, Instance, View, cast_views
from pose_models.render.windows import projected_boxes


@dataclasses.dataclass(frozen=True)
class Hits:
    """What each pixel of an (H, W) image sees.

    face: (H, W) int32, index of the triangle, -1 where the ray misses.
    barycentric: (H, W, 3) float32 weights of the triangle's vertices, 0 where the ray misses.
    depth: (H, W) float32 z in mm in the camera frame, 0 where the ray misses.
    """

    face: NDArray[np.int32]
    barycentric: NDArray[np.float32]
    depth: NDArray[np.float32]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(H, W) whether the pixel sees the object."""
        return np.asarray(self.face >= 0)


class RayCaster:
    """One mesh and its acceleration structure."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self._embree = EmbreeMesh(mesh)

    def cast(self, K: ArrayLike, T_cam_obj: ArrayLike, width: int, height: int, pixel_center: float = 0.0) -> Hits:
        """Cast one ray per pixel of the box that the object covers; nothing is hit at a pose that is not finite.

        Args:
            K: (3, 3) general intrinsics.
            T_cam_obj: (4, 4) pose, mm.
            width, height: image size in pixels.
            pixel_center: image coordinate at which pixel 0 is sampled (0.0, or 0.5 as the BOP reference does).
        """
        K, T = np.asarray(K, dtype=np.float64), np.asarray(T_cam_obj, dtype=np.float64)
        canvas = Canvas.empty(width, height)
        instance = Instance(0, self._embree, T, self.box(K, T, width, height, pixel_center))
        cast_views([View(K, [instance], canvas)], pixel_center)
        return Hits(canvas.face, canvas.barycentric, canvas.depth)

    def box(
        self, K: ArrayLike, T_cam_obj: ArrayLike, width: int, height: int, pixel_center: float = 0.0
    ) -> tuple[int, int, int, int]:
        """Left, top, right, bottom (ends excluded) of the pixels that may see the object; see `windows`."""
        box = projected_boxes(self._embree.corners, K, T_cam_obj, width, height, pixel_center)
        left, top, right, bottom = box.tolist()
        return left, top, right, bottom

    def coordinates(self, hits: Hits) -> NDArray[np.float32]:
        """Object coordinates (H, W, 3) mm of what each pixel sees; 0 where the ray missed."""
        result = np.zeros((*hits.face.shape, 3), dtype=np.float32)
        mask = hits.mask
        corners = self.mesh.vertices[self.mesh.faces[hits.face[mask]]]
        result[mask] = (corners * hits.barycentric[mask][:, :, None]).sum(axis=1)
        return result
