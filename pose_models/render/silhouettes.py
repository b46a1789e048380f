"""Masks of instances, how much of each can be seen, and outlines, from batches of rendered pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from pose_models.render.fragments import Fragments


def visible_masks(scenes: Fragments, image: Sequence[int] | Tensor) -> Tensor:
    """Pixels (N, H, W) bool in which each instance is the nearest.

    Args:
        scenes: B images cast with the same `image` (N,), the image of each instance.
    """
    place = torch.as_tensor(image, dtype=torch.int64).to(scenes.face.device, non_blocking=True)
    number = torch.arange(len(place), dtype=torch.int32, device=scenes.face.device)
    return scenes.instance[place] == number[:, None, None]


def visible_fractions(scenes: Fragments, alone: Fragments, image: Sequence[int] | Tensor) -> Tensor:
    """Share (N,) of each instance's silhouette that nothing hides; 0 for one that is not in the image.

    Args:
        scenes: B images of N instances. alone: the same instances, each in an image of its own (N images).
        image: (N,) as given to the cast of `scenes`.
    """
    visible, whole = visible_masks(scenes, image).sum(dim=(1, 2)), alone.mask.sum(dim=(1, 2))
    return visible / whole.clamp(min=1)


def outlines(masks: Tensor, width: int = 1) -> Tensor:
    """The pixels of masks (B, H, W) bool that lie within `width` px of the border, image borders not counted."""
    outside = (~masks).float()[:, None]
    near = max_pool2d(outside, 2 * width + 1, stride=1, padding=width)[:, 0] > 0
    return masks & near
