"""What every pixel sees: the result of casting rays, as tensors of one device that know nothing of colour or light."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Fragments:
    """What the pixels of B images see; the background has depth 0, weights 0 and indices -1.

    depth: (B, H, W) float32 mm, z in the camera frame.
    instance: (B, H, W) int32, index into the N instances that were cast.
    face: (B, H, W) int32, index of the triangle in the mesh of that instance.
    barycentric: (B, H, W, 3) float32 weights of the triangle's vertices in space (perspective-correct). Constants.
    mesh: (N,) int64, index of each instance's mesh among those of the renderer.
    """

    depth: Tensor
    instance: Tensor
    face: Tensor
    barycentric: Tensor
    mesh: Tensor

    @property
    def mask(self) -> Tensor:
        """(B, H, W) bool: whether the pixel sees any object."""
        return self.face >= 0

    def per_pixel(self, values: Tensor) -> Tensor:
        """Values (N, ...) of the instances at the pixels that see them: (B, H, W, ...); background: the first one's."""
        return values[self.instance.clamp(min=0).long()]


def background(images: int, size: tuple[int, int], mesh: Tensor, device: torch.device) -> Fragments:
    """Images (B = images, H, W = size) in which nothing is seen."""
    shape = (images, *size)
    return Fragments(
        torch.zeros(shape, device=device),
        torch.full(shape, -1, dtype=torch.int32, device=device),
        torch.full(shape, -1, dtype=torch.int32, device=device),
        torch.zeros((*shape, 3), device=device),
        mesh,
    )


def sampled_intrinsics(K: Tensor, samples: int) -> Tensor:
    """Intrinsics (..., 3, 3) of an image that has `samples` x `samples` pixels for each of the original."""
    scale = torch.tensor([samples, samples, 1.0], dtype=K.dtype).to(K.device, non_blocking=True)
    return scale[:, None] * K


def sampled_center(pixel_center: float, samples: int) -> float:
    """Where pixel 0 of the finer image is sampled, so that samples lie evenly about those of the original."""
    return samples * (pixel_center - 0.5) + 0.5


def average_samples(values: Tensor, samples: int) -> Tensor:
    """Anti-aliased image (B, H, W, C): mean over the `samples` x `samples` block of each pixel of (B, sH, sW, C)."""
    pooled = torch.nn.functional.avg_pool2d(values.movedim(-1, 1), samples)
    return pooled.movedim(1, -1)
