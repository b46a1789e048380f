"""Masks, visible fractions and boxes of object instances from depth: the `scene_gt_info.json` of BOP (bop.md 2.1, 6.3).

Pure functions on depth patches; who renders them (rasteriser, ray caster) does not matter, as long as pixel (i, j) is
sampled at image coordinates (i + 0.5, j + 0.5) where numbers must agree with BOP's own. Distances along the viewing
ray, on the other hand, use integer pixel coordinates, as the reference does. Lengths are mm.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Depth = NDArray[np.float32]
Mask = NDArray[np.bool_]

MIN_VISIBLE_FRACTION = 0.1  # an instance that shows less is no target and is ignored by detection scores


@dataclasses.dataclass(frozen=True)
class DepthPatch:
    """Depth of one instance rendered alone, in a box that contains all of it (or all of the canvas that matters).

    depth: (h, w) float32 mm along z, 0 = background. x, y: column and row, in the image, of the patch's upper left
    pixel; both may be negative and the patch may reach beyond the image: that is how parts outside are counted.
    """

    depth: Depth
    x: int
    y: int

    def paste(self, width: int, height: int) -> Depth:
        """The depth inside an image of the given size: (height, width) float32 mm, 0 = background."""
        image = np.zeros((height, width), dtype=np.float32)
        h, w = self.depth.shape
        left, top = max(self.x, 0), max(self.y, 0)
        right, bottom = min(self.x + w, width), min(self.y + h, height)
        if left < right and top < bottom:
            image[top:bottom, left:right] = self.depth[top - self.y : bottom - self.y, left - self.x : right - self.x]
        return image


def distance_factors(K: ArrayLike, width: int, height: int, x: int = 0, y: int = 0) -> NDArray[np.float64]:
    """Ray length per unit of depth (height, width) for the pixels from column x and row y on; integer pixel centres."""
    K = np.asarray(K, dtype=np.float64)
    u = (np.arange(x, x + width) - K[0, 2]) / K[0, 0]
    v = (np.arange(y, y + height) - K[1, 2]) / K[1, 1]
    return np.asarray(np.sqrt(u[None, :] ** 2 + v[:, None] ** 2 + 1.0))


def visible_mask(depth: Depth, depth_test: Depth, K: ArrayLike, delta_mm: float) -> Mask:
    """Visible part (H, W) of an instance whose depth alone is `depth` (H, W) mm in a scene measured as `depth_test`.

    A pixel is visible if the instance is at most `delta_mm` behind the measured surface, or if nothing was measured
    there (depth_test = 0; the rule of BOP since 2019). Distances are compared along the ray, in float32.
    """
    factors = distance_factors(K, depth.shape[1], depth.shape[0])
    behind = (depth * factors).astype(np.float32) - (depth_test * factors).astype(np.float32)
    return np.asarray((depth > 0) & ((behind <= np.float32(delta_mm)) | (depth_test == 0)))


def box_of_mask(mask: Mask, x: int = 0, y: int = 0) -> list[int]:
    """Box [x, y, w, h] of a mask (H, W) whose upper left pixel is (x, y); w and h are max - min (BOP: no +1).

    [-1, -1, -1, -1] for an empty mask.
    """
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if len(columns) == 0:
        return [-1, -1, -1, -1]
    left, top = int(columns[0]), int(rows[0])
    return [left + x, top + y, int(columns[-1]) - left, int(rows[-1]) - top]


def large_canvas_patch(depth_large: Depth) -> DepthPatch:
    """The patch of a canvas three times the image in width and height, the image in its middle (BOP's own canvas)."""
    height, width = depth_large.shape
    return DepthPatch(depth_large, -(width // 3), -(height // 3))


def instance_info(
    patch: DepthPatch, depth_test: Depth, K: ArrayLike, delta_mm: float
) -> tuple[dict[str, Any], Mask, Mask]:
    """One entry of `scene_gt_info.json` with its two masks.

    Args:
        patch: depth of the instance alone, rendered on a canvas that reaches beyond the image: pixels outside the
            image count in `px_count_all` and `bbox_obj` (BOP's canvas is three times the image: `large_canvas_patch`).
        depth_test: (H, W) float32 mm, depth of the whole scene, 0 = not measured.
        K: (3, 3) of the image.
        delta_mm: visibility tolerance: 15 for most datasets, 5 for itodd and for generated training images.

    Returns:
        The entry (`px_count_all`, `px_count_valid`, `px_count_visib`, `visib_fract`, `bbox_obj`, `bbox_visib`; both
        boxes are -1 if no pixel is visible), the silhouette inside the image (H, W) and its visible part (H, W).
    """
    height, width = depth_test.shape
    depth = patch.paste(width, height)
    mask = np.asarray(depth > 0)
    visible = visible_mask(depth, depth_test, K, delta_mm)
    silhouette = np.asarray(patch.depth > 0)
    count_all, count_visible = int(silhouette.sum()), int(visible.sum())
    info = {
        "px_count_all": count_all,
        "px_count_valid": int((depth_test[mask] > 0).sum()),
        "px_count_visib": count_visible,
        "visib_fract": count_visible / count_all if count_all else 0.0,
        "bbox_obj": box_of_mask(silhouette, patch.x, patch.y) if count_visible else [-1, -1, -1, -1],
        "bbox_visib": box_of_mask(visible),
    }
    return info, mask, visible
