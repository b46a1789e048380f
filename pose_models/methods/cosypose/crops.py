"""Crops around objects at a pose: projected box, region, pixels, intrinsics (cosypose.md section 3.3)."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import roi_align

from pose_models.methods.cosypose.poses import transformed

LEAST_DEPTH_MM = 100.0  # projections divide by no smaller depth
MARGIN = 1.4
SAMPLES = 4  # per pixel side


def projected(points: Tensor, T: Tensor, K: Tensor) -> Tensor:
    """Points (B, N, 3) mm at poses (B, 4, 4), in pixels (B, N, 2); depths below 10 cm count as 10 cm."""
    camera = transformed(T, points)
    homogeneous = camera @ K.transpose(1, 2)
    return homogeneous[..., :2] / camera[..., 2:].clamp(min=LEAST_DEPTH_MM)


def surrounding_boxes(uv: Tensor) -> Tensor:
    """Boxes (B, 4) ltrb around pixels (B, N, 2)."""
    return torch.cat([uv.amin(dim=1), uv.amax(dim=1)], dim=1)


def crop_boxes(center: Tensor, boxes: Sequence[Tensor], aspect: float) -> Tensor:
    """Regions (B, 4) ltrb of one aspect, centred, that hold boxes with a margin; they may reach out of the image.

    Args:
        center: (B, 2) px. boxes: each (B, 4) ltrb; the reference's training and tests have one, the projected one.
        aspect: width over height.
    """
    sides = torch.stack([torch.cat([(box[:, :2] - center), (box[:, 2:] - center)], dim=1).abs() for box in boxes])
    dx, dy = sides[..., 0::2].amax(dim=(0, 2)), sides[..., 1::2].amax(dim=(0, 2))
    half = MARGIN * torch.stack([torch.maximum(dx, aspect * dy), torch.maximum(dx / aspect, dy)], dim=1)
    return torch.cat([center - half, center + half], dim=1)


def crop_intrinsics(K: Tensor, regions: Tensor, size: tuple[int, int]) -> Tensor:
    """Intrinsics (B, 3, 3) of regions (B, 4) ltrb resized to (height, width); also those of resized images."""
    scale = K.new_tensor([size[1], size[0]]) / (regions[:, 2:] - regions[:, :2])
    middle = (regions[:, :2] + regions[:, 2:]) / 2
    last = (K.new_tensor([size[1], size[0]]) - 1) / 2
    result = K.clone()
    result[:, 0, 0], result[:, 1, 1] = scale[:, 0] * K[:, 0, 0], scale[:, 1] * K[:, 1, 1]
    result[:, 0, 1] = scale[:, 0] * K[:, 0, 1]
    result[:, :2, 2] = last + scale * (K[:, :2, 2] - middle)
    return result


def cut(images: Tensor, index: Tensor, regions: Tensor, size: tuple[int, int]) -> Tensor:
    """Regions (B, 4) ltrb of images (I, C, H, W) uint8 at a size (height, width): (B, C, *size) in 0..1, 0 outside.

    Args:
        index: (B,) the image of each region.
    """
    rows = torch.cat([index.to(regions)[:, None], regions], dim=1)
    align = functools.partial(roi_align, output_size=size, sampling_ratio=SAMPLES, aligned=False)
    if images.is_cuda:
        at_once: Tensor = align(images.float(), rows)
        return at_once / 255
    # A batch of images as floats would be written to memory only to be read once: one after the other stays in caches.
    crops = rows.new_zeros((len(rows), images.shape[1], *size))
    for number in sorted(set(index.tolist())):
        chosen = index == number
        crops[chosen] = align(images[number : number + 1].float(), [regions[chosen]])
    return crops / 255
