"""Pose hypotheses from minimal sets of correspondences, and their pruning (surfemb.md sections 11.5 and 11.6)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def solve_p3p(points: ArrayLike, pixels: ArrayLike, K: ArrayLike) -> list[Array]:
    """All real P3P solutions (3, 4) [R | t] of three object points (3, 3) mm and pixels (3, 2) (AP3P of OpenCV)."""
    points, pixels = np.asarray(points, dtype=np.float64), np.asarray(pixels, dtype=np.float64)
    count, rotations, translations = cv2.solveP3P(
        points[:3], pixels[:3], np.asarray(K, dtype=np.float64), None, flags=cv2.SOLVEPNP_AP3P
    )
    if not count:
        return []
    solutions: list[Array] = [
        np.hstack([cv2.Rodrigues(r)[0], t]).astype(np.float64) for r, t in zip(rotations, translations, strict=True)
    ]
    return [solution for solution in solutions if np.isfinite(solution).all()]


def pose_hypotheses(
    points: Array, pixels: Array, K: ArrayLike, rng: np.random.Generator | None = None
) -> tuple[Array, NDArray[np.int64]]:
    """One pose per minimal set of four correspondences.

    Args:
        points: (N, 4, 3) object points, mm. pixels: (N, 4, 2). K: (3, 3).
        rng: choose one of the P3P solutions at random with it (the published release); without it, the one that
            reprojects the fourth correspondence best.

    Returns:
        Poses (M, 3, 4) and the index (M,) of each pose's set; sets without a solution are dropped.
    """
    K = np.asarray(K, dtype=np.float64)
    poses, kept = [], []
    for index in range(len(points)):
        solutions = solve_p3p(points[index], pixels[index], K)
        if not solutions:
            continue
        if rng is not None:
            choice = int(rng.integers(len(solutions)))
        else:
            choice = _best_by_fourth(solutions, points[index, 3], pixels[index, 3], K)
        poses.append(solutions[choice])
        kept.append(index)
    return np.reshape(poses, (-1, 3, 4)), np.array(kept, dtype=np.int64)


def _best_by_fourth(solutions: list[Array], point: Array, pixel: Array, K: Array) -> int:
    if len(solutions) == 1:
        return 0
    stack = np.stack(solutions)
    uvw = (stack[:, :, :3] @ point + stack[:, :, 3]) @ K.T
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.square(uvw[:, :2] / uvw[:, 2:] - pixel).sum(axis=1)
    error[~(uvw[:, 2] > 0)] = np.inf
    return int(np.argmin(error))


def spread(pixels: Array) -> Array:
    """Largest distance (N,) between any two of the first three pixels (N, >= 3, 2)."""
    corners = pixels[:, :3]
    return np.asarray(np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=-1).max(axis=1))


def plausible_size(poses: Array, K: ArrayLike, diameter_mm: float, side: int) -> NDArray[np.bool_]:
    """Whether the apparent diameter is between 0.5 and 20 crop sides (N,); False for NaN poses.

    In depth: fx d / (20 side) < t_z < fx d / (0.5 side).
    """
    reach = float(np.asarray(K)[0, 0]) * diameter_mm / side
    return np.asarray((poses[:, 2, 3] > reach / 20) & (poses[:, 2, 3] < reach / 0.5))


def faces_camera(poses: Array, points: Array, normals: Array) -> NDArray[np.bool_]:
    """Whether the first three points (N, >= 3, 3) of each set are seen from outside: (R n) . (R X + t) < 0."""
    R, t = poses[:, :, :3], poses[:, :, 3]
    rotated = normals[:, :3] @ np.swapaxes(R, 1, 2)
    seen = points[:, :3] @ np.swapaxes(R, 1, 2) + t[:, None]
    return np.asarray(((rotated * seen).sum(axis=-1) < 0).all(axis=1))
