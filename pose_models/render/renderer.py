"""One ray-casting interface for the CPU (Embree) and for CUDA devices (Warp).

Meshes are prepared once; a call casts a batch of poses, one object per image or whole scenes. Tensors go in and come
out on the renderer's device; on CUDA a call waits for nothing. What pixels see is all that comes out (`Fragments`):
colours, normals and light are interpolation (`surfaces`, `phong`), in plain differentiable torch.

Convention: pixel (i, j) is sampled at image coordinates (i + 0.5, j + 0.5); `pixel_center=0` samples at (i, j), which
is right for intrinsics whose pixel centres are integers. Millimetres, OpenCV cameras.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pose_models.meshes.mesh import Mesh
from pose_models.render.embree import Canvas, EmbreeMesh, Instance, View, cast_views
from pose_models.render.fragments import Fragments, background, sampled_center, sampled_intrinsics
from pose_models.render.surfaces import Surfaces
from pose_models.render.windows import projected_boxes

Indices = NDArray[np.int64]


class Caster(Protocol):
    """A back end: fills fragments that hold the background."""

    def cast(self, fragments: Fragments, mesh: Indices, image: Indices, T: Tensor, K: Tensor, center: float) -> None:
        """Cast N instances: mesh and image (N,) host indices, T (N, 4, 4) and K (B, 3, 3) float64 on the device."""


class Renderer:
    """Meshes ready to be rendered on one device.

    Args:
        meshes: by object id.
        device: "cpu" or a CUDA device.
        backend: "embree" or "warp"; None takes embree on the CPU and warp on CUDA.

    Raises:
        ImportError: warp is wanted and not installed.
        ValueError: embree is wanted on CUDA.
    """

    def __init__(
        self, meshes: Mapping[int, Mesh], device: str | torch.device = "cpu", backend: str | None = None
    ) -> None:
        self.device = torch.device(device)
        if self.device.type == "cuda" and self.device.index is None and backend != "embree":
            self.device = torch.device("cuda", torch.cuda.current_device())
        self.meshes = dict(meshes)
        self._index = {obj_id: index for index, obj_id in enumerate(self.meshes)}
        backend = backend or ("embree" if self.device.type == "cpu" else "warp")
        if backend == "embree" and self.device.type != "cpu":
            raise ValueError("embree renders on the CPU only; take backend='warp' for CUDA")
        self._caster: Caster
        if backend == "embree":
            self._caster = EmbreeCaster(list(self.meshes.values()))
        else:
            from pose_models.render.warp_caster import WarpCaster

            self._caster = WarpCaster(list(self.meshes.values()), self.device)

    @cached_property
    def surfaces(self) -> Surfaces:
        """What interpolation needs of the meshes: vertices, colours, textures, normals, on the device."""
        return Surfaces(list(self.meshes.values()), self.device)

    def cast(
        self,
        obj_ids: Sequence[int] | Tensor,
        T_cam_obj: Tensor,
        K: Tensor,
        size: tuple[int, int],
        image: Sequence[int] | Tensor | None = None,
        pixel_center: float = 0.5,
        samples: int = 1,
    ) -> Fragments:
        """What the pixels of B images see of N instances; the nearest surface wins, from both sides.

        Args:
            obj_ids: (N,) object ids, on the host. T_cam_obj: (N, 4, 4) mm; it may scale the object.
            K: (B, 3, 3) general intrinsics (rotated and skewed crops too).
            size: height and width in pixels.
            image: (N,) the image that each instance stands in, on the host, in any order; None: instance i is alone in
                image i.
            pixel_center: image coordinate at which pixel 0 is sampled.
            samples: rays per pixel side. The result then has `samples` times the height and width; see
                `fragments.average_samples`.

        Returns:
            Fragments on the renderer's device. An instance whose pose is not finite or singular, or that is behind the
            camera, is seen nowhere. Poses and intrinsics get no gradient through them.

        Raises:
            KeyError: an object id is unknown. ValueError: shapes or devices do not fit.
        """
        mesh = self._mesh_indices(obj_ids)
        place = np.arange(len(mesh)) if image is None else np.asarray(image, dtype=np.int64)
        self._check(mesh, T_cam_obj, K, place, alone=image is None)
        height, width = size[0] * samples, size[1] * samples
        with torch.no_grad():
            mesh_tensor = torch.from_numpy(mesh).to(self.device, non_blocking=True)
            fragments = background(len(K), (height, width), mesh_tensor, self.device)
            if len(mesh) and len(K):
                K = sampled_intrinsics(K.detach().double(), samples)
                center = sampled_center(pixel_center, samples)
                self._caster.cast(fragments, mesh, place, T_cam_obj.detach().double(), K, center)
        return fragments

    def _mesh_indices(self, obj_ids: Sequence[int] | Tensor) -> Indices:
        ids = obj_ids.tolist() if isinstance(obj_ids, Tensor) else obj_ids
        unknown = sorted({int(i) for i in ids} - self._index.keys())
        if unknown:
            raise KeyError(f"objects {unknown} are not among the renderer's meshes {sorted(self._index)}")
        return np.array([self._index[int(i)] for i in ids], dtype=np.int64)

    def _check(self, mesh: Indices, T: Tensor, K: Tensor, place: Indices, alone: bool) -> None:
        if T.shape != (len(mesh), 4, 4) or K.shape[1:] != (3, 3) or place.shape != mesh.shape:
            raise ValueError(f"{len(mesh)} instances do not fit poses {tuple(T.shape)} and intrinsics {tuple(K.shape)}")
        if alone and len(K) != len(mesh):
            raise ValueError(f"{len(mesh)} instances in {len(K)} images: name the image of each")
        if len(place) and not (place.min() >= 0 and place.max() < len(K)):
            raise ValueError(f"images {place.min()}..{place.max()} are named, but intrinsics are given for {len(K)}")
        for name, tensor in (("T_cam_obj", T), ("K", K)):
            if tensor.device != self.device:
                raise ValueError(f"{name} is on {tensor.device}, the renderer on {self.device}; move one of them")


class EmbreeCaster:
    """The CPU back end; images and bands of rows go to as many threads as torch uses."""

    def __init__(self, meshes: Sequence[Mesh]) -> None:
        self._meshes = [EmbreeMesh(mesh) for mesh in meshes]
        self._corners = np.stack([mesh.corners for mesh in self._meshes]) if meshes else np.zeros((0, 1, 3))

    def cast(self, fragments: Fragments, mesh: Indices, image: Indices, T: Tensor, K: Tensor, center: float) -> None:
        """See `Caster`."""
        height, width = fragments.depth.shape[1:]
        poses, intrinsics = T.numpy(), K.numpy()
        boxes = projected_boxes(self._corners[mesh], intrinsics[image], poses, width, height, center).tolist()
        scenes: list[list[Instance]] = [[] for _ in intrinsics]
        for number, (m, b) in enumerate(zip(mesh, image, strict=True)):
            scenes[b].append(Instance(number, self._meshes[m], poses[number], tuple(boxes[number])))
        f = fragments
        arrays = [tensor.numpy() for tensor in (f.depth, f.instance, f.face, f.barycentric)]
        canvases = [Canvas(*(array[b] for array in arrays)) for b in range(len(intrinsics))]
        views = [View(*parts) for parts in zip(intrinsics, scenes, canvases, strict=True)]
        cast_views(views, center, torch.get_num_threads())
