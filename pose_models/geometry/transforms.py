"""Rigid transforms as 4x4 float64 arrays, batched over leading dimensions.

Convention: `T_a_b` maps coordinates of frame b to frame a, `p_a = T_a_b p_b`, so neighbours cancel:
`T_cam_obj = T_cam_world @ T_world_obj`. Translations are millimetres.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def from_rotation_translation(R: ArrayLike, t: ArrayLike) -> Array:
    """Stack rotations (..., 3, 3) and translations (..., 3) mm into transforms (..., 4, 4)."""
    R = np.asarray(R, dtype=np.float64)
    T = np.zeros((*R.shape[:-2], 4, 4))
    T[..., :3, :3] = R
    T[..., :3, 3] = t
    T[..., 3, 3] = 1.0
    return T


def invert(T: ArrayLike) -> Array:
    """Inverse of rigid transforms (..., 4, 4): `invert(T_a_b)` is `T_b_a`."""
    T = np.asarray(T, dtype=np.float64)
    R_inverse = np.swapaxes(T[..., :3, :3], -1, -2)
    return from_rotation_translation(R_inverse, -(R_inverse @ T[..., :3, 3:])[..., 0])


def apply(T: ArrayLike, points: ArrayLike) -> Array:
    """Map points (..., N, 3) by rigid transforms (..., 4, 4); leading dimensions broadcast."""
    T = np.asarray(T, dtype=np.float64)
    return np.asarray(np.asarray(points) @ np.swapaxes(T[..., :3, :3], -1, -2) + T[..., None, :3, 3])


def random_rotation(rng: np.random.Generator, *shape: int) -> Array:
    """Rotations (*shape, 3, 3), uniform on SO(3) (normalised Gaussian quaternions)."""
    q = rng.standard_normal((*shape, 4))
    w, x, y, z = np.moveaxis(q / np.linalg.norm(q, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def rotation_angle(R: ArrayLike) -> Array:
    """Angles (...) in radians, 0..pi, of rotations (..., 3, 3)."""
    trace = np.trace(np.asarray(R, dtype=np.float64), axis1=-2, axis2=-1)
    return np.asarray(np.arccos(np.clip((trace - 1) / 2, -1, 1)))
