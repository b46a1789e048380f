"""Images brought to one size whatever their aspect, with masks and intrinsics (cosypose.md section 7.1).

A centred region of the full width and the wanted aspect is cut out, or filled up with black, then resized.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.nn.functional import interpolate
from torchvision.ops import roi_pool

from pose_models.geometry.cameras import crop_intrinsics, resize_intrinsics

Array = NDArray[np.float64]


def to_size(
    image: NDArray[np.uint8], mask: NDArray[Any], K: ArrayLike, size: tuple[int, int], faithful: bool = False
) -> tuple[NDArray[np.uint8], NDArray[Any], Array]:
    """Resize an image, a mask and intrinsics.

    Args:
        image: (H, W, 3). mask: (H, W) labels. K: (3, 3), pixel centres at integers.
        size: height and width wanted; an image that has it is returned as it is.
        faithful: cut regions as the reference does, whose pooling takes the largest of 2 x 2 pixels, and give its
            intrinsics, which are half a pixel of the original off after each step.

    Returns:
        image (h, w, 3), bilinear and truncated; mask (h, w), nearest; K (3, 3).
    """
    K = np.asarray(K, dtype=np.float64)
    if image.shape[:2] == size:
        return image, mask, K
    height, width = image.shape[:2]
    wanted = round(width * size[0] / size[1])
    if wanted != height:
        top = round((height - wanted) / 2)
        cut = _pooled if faithful else _rows
        image, mask = cut(image, top, wanted), cut(mask[..., None], top, wanted)[..., 0]
        shift = (height - wanted) / 2 + 0.5 if faithful else top
        K = crop_intrinsics([[1, 0, -0.5 * faithful], [0, 1, -shift]], K)
    scale_x, scale_y = size[1] / width, size[0] / wanted
    K = crop_intrinsics([[1, 0, -0.5 * faithful], [0, 1, -0.5 * faithful]], K)
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    resized = interpolate(pixels, size, mode="bilinear", align_corners=False)[0].permute(1, 2, 0).numpy()
    row = (np.arange(size[0]) / scale_y).astype(np.int64)
    column = (np.arange(size[1]) / scale_x).astype(np.int64)
    return resized.astype(np.uint8), mask[row[:, None], column], resize_intrinsics(K, scale_x, scale_y)


def _rows(array: NDArray[Any], top: int, height: int) -> NDArray[Any]:
    """Rows top..top + height of an array, 0 where it has none."""
    before, after = max(0, -top), max(0, top + height - len(array))
    inside = array[max(0, top) : max(0, top + height)]
    return np.pad(inside, ((before, after), (0, 0), (0, 0)))


def _pooled(array: NDArray[Any], top: int, height: int) -> NDArray[Any]:
    """The same by pooling of a region whose last row and column count as inside, so that it is one pixel too large."""
    width = array.shape[1]
    values = torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1)[None].double()
    region = torch.tensor([[0.0, 0.0, top, width, top + height]], dtype=torch.float64)
    pooled = roi_pool(values, region, (height, width))[0].permute(1, 2, 0)
    return np.asarray(pooled.numpy().astype(array.dtype))


def box_of_label(mask: NDArray[Any], label: int) -> Array | None:
    """Box (4,) ltrb of a label's pixels, the last column and row inclusive; None where there is none."""
    rows, columns = np.nonzero(mask == label)
    if not len(rows):
        return None
    return np.array([columns.min(), rows.min(), columns.max(), rows.max()], dtype=np.float64)
