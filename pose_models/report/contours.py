"""Silhouettes of posed meshes and their contours, for drawing over pictures.

Contours are polylines in image coordinates with pixel centres at integers. They are traced on a silhouette that is
ray-cast at several times the image's resolution, so they are smooth and good to about a tenth of a pixel.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pose_models.geometry.cameras import resize_intrinsics
from pose_models.render.raycast import RayCaster

Mask = NDArray[np.bool_]
Polyline = NDArray[np.float64]
OVERSAMPLE = 4


def silhouette(caster: RayCaster, K: ArrayLike, T_cam_obj: ArrayLike, width: int, height: int) -> Mask:
    """Pixels (height, width) whose centre sees the object alone; all False if the pose is not finite."""
    return caster.cast(K, T_cam_obj, width, height).mask


def contours(
    caster: RayCaster, K: ArrayLike, T_cam_obj: ArrayLike, width: int, height: int, oversample: int = OVERSAMPLE
) -> list[Polyline]:
    """Closed outlines (P, 2) of an object's silhouette inside an image, holes included.

    Args:
        caster: the object's mesh, mm.
        K: (3, 3) general intrinsics, pixel centres at integers.
        T_cam_obj: (4, 4) mm.
        width, height: image size in px.
        oversample: how many rays per pixel side.

    Returns:
        Polylines in px; none if nothing of the object is in the image.
    """
    left, top, right, bottom = caster.box(K, T_cam_obj, width, height)
    if right <= left or bottom <= top:
        return []
    # The fine rays reach half a pixel further than the pixels' centres.
    x, y, right, bottom = max(left - 1, 0), max(top - 1, 0), min(right + 1, width), min(bottom + 1, height)
    K_window = np.array([[1, 0, -x], [0, 1, -y], [0, 0, 1]]) @ np.asarray(K, dtype=np.float64)
    K_fine = resize_intrinsics(K_window, oversample, oversample)
    mask = silhouette(caster, K_fine, T_cam_obj, oversample * (right - x), oversample * (bottom - y))
    return [line + np.array([x, y]) for line in mask_contours(mask, oversample)]


def mask_contours(mask: Mask, oversample: int = 1) -> list[Polyline]:
    """Closed outlines (P, 2) px of a mask that has `oversample` samples per pixel side."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    lines = [cv2.approxPolyDP(line, 0.75, True).reshape(-1, 2) for line in found]
    return [(line + 0.5) / oversample - 0.5 for line in lines if len(line) > 2]


def polygon_mask(polygon: ArrayLike, width: int, height: int) -> Mask:
    """Pixels (height, width) whose centre lies inside a polygon (P, 2) px (even-odd rule)."""
    points = np.asarray(polygon, dtype=np.float64)
    u, v = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
    inside = np.zeros((height, width), dtype=bool)
    for (xa, ya), (xb, yb) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if ya != yb:
            crosses = (ya > v) != (yb > v)
            inside ^= crosses & (u < xa + (v - ya) * (xb - xa) / (yb - ya))
    return inside


def silhouette_iou(a: Mask, b: Mask) -> float:
    """Intersection over union of two masks (H, W); 0 if both are empty."""
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 0.0
