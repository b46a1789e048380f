"""Ray casting with Warp: on CUDA, zero-copy with torch and without waiting for the device; on the CPU for tests.

One thread per pixel goes through the instances of its image whose box holds the pixel, and keeps the nearest hit. Each
mesh has one BVH, scaled to the unit ball; poses only move the rays. All is float32 on the device, except that the
rays' transforms are made in float64.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pose_models.meshes.mesh import Mesh
from pose_models.render.fragments import Fragments
from pose_models.render.windows import MARGIN_PX, bounding_corners

try:
    import warp as wp

    from pose_models.render.warp_kernel import cast_pixel
except ImportError:
    raise ImportError("rendering on CUDA needs Warp: install `warp-lang` (extra gpu), or render on the CPU") from None


class WarpCaster:
    """The CUDA back end; every call is queued on torch's current stream."""

    def __init__(self, meshes: Sequence[Mesh], device: torch.device) -> None:
        wp.init()
        self._device, self._warp = device, wp.device_from_torch(device)
        corners, centers, scales = [], [], []
        self._meshes = []
        for mesh in meshes:
            low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
            centers.append((low + high) / 2)
            scales.append(1.0 / max(float(np.linalg.norm(high - low)) / 2, 1e-12))
            corners.append(bounding_corners(mesh.vertices))
            points = ((mesh.vertices - centers[-1]) * scales[-1]).astype(np.float32)
            self._meshes.append(
                wp.Mesh(
                    points=wp.array(points, dtype=wp.vec3, device=self._warp),
                    indices=wp.array(mesh.faces.ravel().astype(np.int32), dtype=wp.int32, device=self._warp),
                )
            )
        self._ids = wp.array([mesh.id for mesh in self._meshes], dtype=wp.uint64, device=self._warp)
        self._corners = torch.from_numpy(np.stack(corners)).to(device)
        self._centers = torch.from_numpy(np.stack(centers)).to(device)
        self._scales = torch.tensor(scales, dtype=torch.float64).to(device)
        self._streams: dict[int, wp.Stream] = {}  # Warp's names of torch's streams
        wp.synchronize_device(self._warp)  # structures are built on Warp's stream and used on torch's

    def cast(
        self, fragments: Fragments, mesh: NDArray[np.int64], image: NDArray[np.int64], T: Tensor, K: Tensor,
        center: float,
    ) -> None:  # fmt: skip
        """See `renderer.Caster`."""
        images, height, width = fragments.depth.shape
        order = np.argsort(image, kind="stable")
        first = np.searchsorted(image[order], np.arange(images + 1))
        index = torch.from_numpy(np.concatenate([order, first, image]).astype(np.int32))
        index = (index.pin_memory() if self._device.type == "cuda" else index).to(self._device, non_blocking=True)
        members, starts, place = torch.split(index, [len(order), len(first), len(image)])
        rays, boxes = self._prepare(fragments.mesh, T, K[place.long()], width, height, center)
        wp.launch(
            cast_pixel,
            dim=(images, height, width),
            inputs=[
                wp.from_torch(starts), wp.from_torch(members), wp.from_torch(fragments.mesh.int()), self._ids,
                wp.from_torch(boxes), wp.from_torch(rays), center,
                wp.from_torch(fragments.depth), wp.from_torch(fragments.instance), wp.from_torch(fragments.face),
                wp.from_torch(fragments.barycentric, dtype=wp.vec3),
            ],
            device=self._warp,
            stream=self._stream(),
        )  # fmt: skip

    def _stream(self) -> wp.Stream | None:
        """Torch's current stream; None on the CPU."""
        if not self._warp.is_cuda:
            return None
        stream = torch.cuda.current_stream(self._device)
        if stream.cuda_stream not in self._streams:
            self._streams[stream.cuda_stream] = wp.stream_from_torch(stream)
        return self._streams[stream.cuda_stream]

    def _prepare(
        self, mesh: Tensor, T: Tensor, K: Tensor, width: int, height: int, center: float
    ) -> tuple[Tensor, Tensor]:
        """Rays (N, 16) float32, see `cast_pixel`, and boxes (N, 4) int32 as in `windows`; K (N, 3, 3) by instance."""
        scale, middle = self._scales[mesh, None], self._centers[mesh]
        to_object, singular = torch.linalg.inv_ex(T[:, :3, :3])
        K_inverse, degenerate = torch.linalg.inv_ex(K)
        directions = scale[..., None] * to_object @ K_inverse
        origin = scale * (-(to_object @ T[:, :3, 3:])[..., 0] - middle)
        z = torch.cat([T[:, 2, :3] / scale, (T[:, 2, :3] * middle).sum(dim=1, keepdim=True) + T[:, 2, 3:]], dim=1)
        rays = torch.cat([directions.flatten(1), origin, z], dim=1)

        P = K @ T[:, :3]
        uvw = self._corners[mesh] @ P[..., :3].mT + P[:, None, :, 3]
        in_front = uvw[..., 2] > 1e-6
        uv = uvw[..., :2] / uvw[..., 2:]
        limit = torch.tensor([width, height], dtype=uv.dtype).to(uv.device, non_blocking=True)
        low = (uv.amin(dim=1) - center - MARGIN_PX).ceil().nan_to_num().clamp(min=0).minimum(limit)
        high = ((uv.amax(dim=1) - center + MARGIN_PX).floor() + 1).nan_to_num().clamp(min=0).minimum(limit)
        whole = torch.cat([torch.zeros_like(limit), limit])
        boxes = torch.cat([low, high], dim=1).where(in_front.all(dim=1, keepdim=True), whole)
        seen = in_front.any(dim=1) & rays.isfinite().all(dim=1) & (singular == 0) & (degenerate == 0)
        return rays.float(), (boxes * seen[:, None]).int()
