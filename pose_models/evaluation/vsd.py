"""VSD and CUS on whole depth images, written for reading (bop.md 6.3); scores use the compiled counts of `kernels`."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pose_models.render.visibility import distance_factors, visible_mask

Array = NDArray[np.float64]
Depth = NDArray[np.float32]


def vsd(
    depth_est: Depth,
    depth_gt: Depth,
    depth_test: Depth,
    K: Array,
    delta_mm: float,
    taus: Array,
    unit_mm: float,
    cost: Literal["step", "tlinear"] = "step",
) -> Array:
    """Visible surface discrepancy for each tau (T,).

    Args:
        depth_est, depth_gt, depth_test: (H, W) mm: the model alone at both poses, and the scene; 0 = nothing.
        K: (3, 3).
        delta_mm: tolerance of the visibility test.
        taus: (T,) in units of `unit_mm` (the diameter, or 1 for taus in mm).
        cost: `step` counts distances >= tau; `tlinear` adds min(1, distance / tau).
    """
    visible_gt = visible_mask(depth_gt, depth_test, K, delta_mm)
    visible_est = visible_mask(depth_est, depth_test, K, delta_mm) | (visible_gt & (depth_est > 0))
    common, joint = visible_gt & visible_est, visible_gt | visible_est
    if not joint.any():
        return np.ones(len(taus))
    factors = distance_factors(K, depth_gt.shape[1], depth_gt.shape[0])[common]
    distance = np.abs(depth_gt[common] * factors - depth_est[common] * factors) / unit_mm
    shares = distance[None, :] / np.asarray(taus)[:, None]
    costs = (distance[None, :] >= np.asarray(taus)[:, None]) if cost == "step" else np.minimum(1.0, shares)
    return np.asarray((costs.sum(axis=1) + joint.sum() - common.sum()) / joint.sum())


def cus(depth_est: Depth, depth_gt: Depth) -> float:
    """Complement over union of two silhouettes; 1 if both are empty."""
    union = int(((depth_est > 0) | (depth_gt > 0)).sum())
    return 1.0 - int(((depth_est > 0) & (depth_gt > 0)).sum()) / union if union else 1.0
