"""Pose hypotheses from minimal sets of correspondences, and their pruning (surfemb.md sections 11.5 and 11.6)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pose_models.geometry.p3p import solve_p3p


def pose_hypotheses(
    points: Tensor, pixels: Tensor, K: Tensor, rng: np.random.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """One pose per minimal set of four correspondences.

    Args:
        points: (N, 4, 3) float64 object points, mm. pixels: (N, 4, 2). K: (3, 3).
        rng: choose one of the P3P solutions at random with it (the published release); without it, the one that
            reprojects the fourth correspondence best.

    Returns:
        Poses (M, 3, 4) and the index (M,) of each pose's set; sets without a solution are dropped.
    """
    rays = torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=-1) @ torch.linalg.inv(K).T
    solutions, valid = solve_p3p(points[:, :3], rays[:, :3])
    if rng is None:
        cost = _reprojection_error(solutions, points[:, 3], pixels[:, 3], K)
    else:
        cost = torch.from_numpy(rng.random(valid.shape)).to(points)
    choice = torch.where(valid, cost.nan_to_num(nan=torch.inf), torch.inf).argmin(dim=1)
    kept = torch.nonzero(valid.any(dim=1))[:, 0]
    kept = kept[valid[kept, choice[kept]]]
    return solutions[kept, choice[kept]], kept


def _reprojection_error(solutions: Tensor, points: Tensor, pixels: Tensor, K: Tensor) -> Tensor:
    """Squared pixel distance (N, S) of points (N, 3) at solutions (N, S, 3, 4); large behind the camera."""
    camera = (solutions[..., :3] @ points[:, None, :, None])[..., 0] + solutions[..., 3]
    uvw = camera @ K.T
    error = ((uvw[..., :2] / uvw[..., 2:] - pixels[:, None]) ** 2).sum(dim=-1)
    return torch.where(uvw[..., 2] > 0, error, torch.full_like(error, 1e12))


def spread(pixels: Tensor) -> Tensor:
    """Largest distance (N,) between any two of the first three pixels (N, >= 3, 2)."""
    corners = pixels[:, :3]
    distances: Tensor = torch.linalg.vector_norm(corners - corners.roll(1, dims=1), dim=-1)
    return distances.amax(dim=1)


def plausible_size(poses: Tensor, K: Tensor, diameter_mm: float, side: int) -> Tensor:
    """Whether the apparent diameter is between 0.5 and 20 crop sides (N,); False for NaN poses.

    In depth: fx d / (20 side) < t_z < fx d / (0.5 side).
    """
    reach = K[0, 0] * diameter_mm / side
    return (poses[:, 2, 3] > reach / 20) & (poses[:, 2, 3] < reach / 0.5)


def faces_camera(poses: Tensor, points: Tensor, normals: Tensor) -> Tensor:
    """Whether the first three points (N, >= 3, 3) of each set are seen from outside: (R n) . (R X + t) < 0."""
    R, t = poses[:, :, :3], poses[:, :, 3]
    seen = points[:, :3] @ R.mT + t[:, None]
    return (((normals[:, :3] @ R.mT) * seen).sum(dim=-1) < 0).all(dim=1)
