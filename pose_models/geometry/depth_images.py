"""Points and normals of what a depth image shows, camera frame (cosypose.md section 15).

Convention: pixel (column i, row j) was sampled at image coordinates (i, j). Depth is along z; lengths have the unit of
the depth, normals point away from the camera where the surface faces it.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter

Array = NDArray[np.float64]

INPAINT_RADIUS = 2
BLUR_SIGMA = 2.0
STEP = 2.0  # divisor of differences; it cancels in the normals but for what numpy's second-order edges make of it


def offsets(K: ArrayLike, width: int, height: int, whole: bool = False) -> tuple[Array, Array]:
    """Distances (1, width) and (height, 1) of columns and rows from the principal point, in pixels.

    Args:
        K: (3, 3) upper-triangular without skew.
        whole: cut off what is behind the decimal point, as published CosyPose did: up to one pixel of error, and a
            fold at the principal point.
    """
    K = np.asarray(K, dtype=np.float64)
    u, v = np.arange(width) - K[0, 2], np.arange(height) - K[1, 2]
    return (np.trunc(u)[None], np.trunc(v)[:, None]) if whole else (u[None], v[:, None])


def points_from_depth(depth: ArrayLike, K: ArrayLike, whole: bool = False) -> Array:
    """Points (H, W, 3) of a depth image (H, W); the origin where nothing was measured (depth 0)."""
    z = np.asarray(depth, dtype=np.float64)
    K = np.asarray(K, dtype=np.float64)
    u, v = offsets(K, z.shape[1], z.shape[0], whole)
    return np.stack([u * z / K[0, 0], v * z / K[1, 1], z], axis=-1)


def smoothed_depth(depth: ArrayLike) -> Array:
    """A depth image (H, W) with its holes (0) filled by Navier-Stokes inpainting, and Gaussian blur of two pixels."""
    z = np.ascontiguousarray(depth, dtype=np.float32)
    holes = (z == 0).astype(np.uint8)
    filled = cv2.inpaint(z, holes, INPAINT_RADIUS, cv2.INPAINT_NS) if holes.any() and not holes.all() else z
    return np.asarray(gaussian_filter(filled, BLUR_SIGMA), dtype=np.float64)


def normals_from_depth(depth: ArrayLike, K: ArrayLike, smooth: bool = True, whole: bool = False) -> Array:
    """Unit normals (H, W, 3): cross products of the tangents along columns and rows; 0 where there is none.

    Args:
        depth: (H, W), at least 3 x 3.
        smooth: fill holes and blur first.
    """
    z = smoothed_depth(depth) if smooth else np.asarray(depth, dtype=np.float64)
    K = np.asarray(K, dtype=np.float64)
    u, v = offsets(K, z.shape[1], z.shape[0], whole)
    x, y = u / K[0, 0], v / K[1, 1]
    dz_row, dz_column = np.gradient(z, STEP, edge_order=2)
    along_columns = np.stack([z / K[0, 0] + x * dz_column, y * dz_column, dz_column], axis=-1)
    along_rows = np.stack([x * dz_row, z / K[1, 1] + y * dz_row, dz_row], axis=-1)
    normals = np.cross(along_columns, along_rows)
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    return np.asarray(np.divide(normals, length, out=np.zeros_like(normals), where=length > 0))
