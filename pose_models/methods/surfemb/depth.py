"""Correct the distance along one viewing ray by the median depth residual (surfemb.md section 12)."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class DepthCorrection:
    """What the correction was made of.

    valid: (H, H) pixels whose four neighbours were all measured. sensor: (H, H) mm, warped into the crop. weight:
    (H, H), sums to 1. trusted: (H, H) pixels that vote. shift_mm: along z. pixel_xy, ray: the viewing ray, z = 1.
    """

    valid: NDArray[np.bool_]
    sensor: Array
    weight: Array
    trusted: NDArray[np.bool_]
    shift_mm: float
    pixel_xy: Array
    ray: Array


def warp_depth(depth_mm: ArrayLike, K: ArrayLike, K_crop: ArrayLike, side: int) -> tuple[NDArray[np.bool_], Array]:
    """Warp a depth image (H, W) mm into a crop: valid pixels (side, side) and depth (side, side) mm."""
    depth = np.asarray(depth_mm, dtype=np.float64)
    A = (np.asarray(K_crop, dtype=np.float64) @ np.linalg.inv(np.asarray(K, dtype=np.float64)))[:2]
    measured = cv2.warpAffine((depth > 0).astype(np.float64), A, (side, side), flags=cv2.INTER_LINEAR)
    warped = cv2.warpAffine(depth, A, (side, side), flags=cv2.INTER_LINEAR)
    return np.asarray(measured == 1), np.asarray(warped, dtype=np.float64)


def depth_correction(
    rendered_mm: ArrayLike, valid: NDArray[np.bool_], sensor_mm: Array, queries: ArrayLike, mask_logits: ArrayLike,
    K_crop: ArrayLike,
) -> DepthCorrection | None:  # fmt: skip
    """Median depth residual where the network is sure of the object, and the ray it acts along.

    Args:
        rendered_mm: (H, H) depth of the object at its pose in the crop, 0 outside. valid, sensor_mm: of `warp_depth`.
        queries: (H, H, E). mask_logits: (H, H). K_crop: (3, 3).

    Returns:
        None where no pixel carries weight.
    """
    rendered = np.asarray(rendered_mm, dtype=np.float64)
    probability = 1 / (1 + np.exp(-np.asarray(mask_logits, dtype=np.float64)))
    weight = np.linalg.norm(np.asarray(queries, dtype=np.float64), axis=-1) * probability
    weight = weight * (rendered > 0) * valid
    if weight.sum() == 0:
        return None
    weight /= weight.sum()
    trusted = weight > 0.8 * weight.max()
    rows, columns = np.indices(weight.shape)
    pixel = np.array([(weight * columns).sum(), (weight * rows).sum()])
    ray = np.linalg.inv(np.asarray(K_crop, dtype=np.float64)) @ np.array([*pixel, 1.0])
    shift = float(np.median((sensor_mm - rendered)[trusted]))
    return DepthCorrection(valid, sensor_mm, weight, trusted, shift, pixel, ray / ray[2])


def corrected_translation(t: ArrayLike, correction: DepthCorrection | None) -> Array:
    """Translation (3,) mm moved along the ray; unchanged without a correction."""
    t = np.asarray(t, dtype=np.float64).reshape(3)
    return t if correction is None else t + correction.shift_mm * correction.ray
