"""Pinhole cameras: projection, viewing rays, intrinsics of crops.

Convention: OpenCV camera (x right, y down, z forward), K is a general 3x3 matrix (it is not upper-triangular after a
rotated crop), and the centre of the top-left pixel is (0, 0), so an image of width W spans [-0.5, W - 0.5].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def project(points: ArrayLike, K: ArrayLike) -> Array:
    """Project points (..., N, 3) mm, camera frame, with K (..., 3, 3) to pixels (..., N, 2).

    Points with z <= 0 are projected like any other (mirrored for z < 0, infinite for z = 0): callers decide.
    """
    uvw = np.asarray(points) @ np.swapaxes(np.asarray(K, dtype=np.float64), -1, -2)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(uvw[..., :2] / uvw[..., 2:])


def pixel_rays(K: ArrayLike, width: int, height: int, pixel_center: float = 0.0) -> Array:
    """Viewing rays (height, width, 3), camera frame, not normalised, through every pixel.

    Args:
        K: (3, 3) general intrinsics.
        width, height: pixels.
        pixel_center: image coordinate at which pixel 0 is sampled: 0.0 where pixel centres are integers, 0.5 to
            sample as the BOP reference renderer does (methods: evaluation).

    Rays have z = 1 for upper-triangular K, so that ray length times z is the point; in general they are
    `K^-1 (u, v, 1)`.
    """
    K_inverse = np.linalg.inv(np.asarray(K, dtype=np.float64))
    u, v = np.meshgrid(np.arange(width) + pixel_center, np.arange(height) + pixel_center)
    return np.asarray(np.stack([u, v, np.ones_like(u)], axis=-1) @ K_inverse.T)


def crop_intrinsics(M: ArrayLike, K: ArrayLike) -> Array:
    """Intrinsics (3, 3) after an affine image warp M (2, 3) that maps source pixels to crop pixels."""
    return np.vstack([np.asarray(M, dtype=np.float64), [0.0, 0.0, 1.0]]) @ np.asarray(K, dtype=np.float64)


def resize_intrinsics(K: ArrayLike, scale_x: float, scale_y: float) -> Array:
    """Intrinsics (3, 3) after resizing an image by the given factors, with pixel centres at integers.

    Rows are scaled about the image corner (-0.5, -0.5); a general K is allowed.
    """
    corner = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    back = np.array([[1.0, 0.0, -0.5], [0.0, 1.0, -0.5], [0.0, 0.0, 1.0]])
    return np.asarray(back @ np.diag([scale_x, scale_y, 1.0]) @ corner @ np.asarray(K, dtype=np.float64))


def spheres_overlap(t_a: ArrayLike, t_b: ArrayLike, radius_mm: float) -> bool:
    """Whether the projections of two spheres of equal radius at t_a, t_b (3,) mm can overlap (bop.md section 6.1).

    False if any of the two lies in the camera's plane z = 0.
    """
    a, b = np.asarray(t_a, dtype=np.float64), np.asarray(t_b, dtype=np.float64)
    if a[2] == 0 or b[2] == 0:
        return False
    distance = np.linalg.norm(a[:2] / a[2] - b[:2] / b[2])
    return bool(distance < radius_mm * (1 / a[2] + 1 / b[2]))
