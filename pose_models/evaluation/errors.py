"""Pose errors of one estimate against one ground truth (bop.md section 6.1); millimetres, pixels, degrees.

Functions named after an error take plain arrays. `BY_NAME` wraps them for the evaluation, with the early exits of the
reference: ADD, ADI, AD and MSSD are infinite unless the translations are less than a diameter apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pose_models.evaluation import kernels
from pose_models.evaluation.world import EvaluatedObject
from pose_models.geometry.cameras import project

if TYPE_CHECKING:  # most protocols do without
    from scipy.spatial import cKDTree

Array = NDArray[np.float64]
PoseError = Callable[[EvaluatedObject, Array, Array, Array, Array, Array], float]


def add(points: Array, R_est: Array, t_est: Array, R_gt: Array, t_gt: Array) -> float:
    """ADD: mean distance in mm between points (N, 3) under the two poses."""
    return float(np.mean(np.linalg.norm(points @ (R_est - R_gt).T + (t_est - t_gt), axis=1)))


def adi(points: Array, R_est: Array, t_est: Array, R_gt: Array, t_gt: Array, tree: cKDTree | None = None) -> float:
    """ADD-S: mean over ground-truth points of the distance in mm to the nearest point under the estimate.

    Args:
        tree: of the points, where there is one.
    """
    from scipy.spatial import cKDTree

    # Distances do not change under a common motion: the tree stays in the object frame and is built once per model.
    moved = (points @ R_gt.T + (t_gt - t_est)) @ R_est
    return float(np.mean((tree or cKDTree(points)).query(moved)[0]))


def axis_errors(
    points: Array, R_est: Array, t_est: Array, R_gt: Array, t_gt: Array, tree: cKDTree | None = None
) -> Array:
    """Mean distance along each camera axis (3,) in mm between ground-truth points and their partners.

    Args:
        tree: of the points; where it is given, a partner is the nearest point under the estimate, else the same point.
    """
    partners = points if tree is None else points[tree.query((points @ R_gt.T + (t_gt - t_est)) @ R_est)[1]]
    return np.asarray(np.abs(partners @ R_est.T + t_est - (points @ R_gt.T + t_gt)).mean(axis=0))


def proj(points: Array, K: Array, R_est: Array, t_est: Array, R_gt: Array, t_gt: Array) -> float:
    """Mean distance in pixels between the projections of points (N, 3) under the two poses."""
    difference = project(points @ R_est.T + t_est, K) - project(points @ R_gt.T + t_gt, K)
    return float(np.mean(np.linalg.norm(difference, axis=1)))


def re(R_est: Array, R_gt: Array) -> float:
    """Angle between two rotations in degrees."""
    # The inverse, not the transpose, as in the reference: near 0 the arc cosine turns rounding into micro-degrees.
    cosine = 0.5 * (np.trace(R_est @ np.linalg.inv(R_gt)) - 1.0)
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def te(t_est: Array, t_gt: Array) -> float:
    """Distance between two translations in mm."""
    return float(np.linalg.norm(t_est - t_gt))


def box_iou(a: Array, b: Array) -> float:
    """Intersection over union of two boxes (x, y, w, h); 0 unless they overlap in both directions."""
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return float(w * h / (a[2] * a[3] + b[2] * b[3] - w * h))


def cou_box(a: Array, b: Array) -> float:
    """Complement over union of two boxes (x, y, w, h)."""
    return 1.0 - box_iou(a, b)


def cou_mask(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Complement over union of two masks (H, W); 1 if both are empty."""
    union = int((a | b).sum())
    return 1.0 - int((a & b).sum()) / union if union else 1.0


def _near(function: PoseError) -> PoseError:
    """The error, but infinite unless the translations are less than a diameter apart."""

    def error(obj: EvaluatedObject, K: Array, R_est: Array, t_est: Array, R_gt: Array, t_gt: Array) -> float:
        if not te(t_est, t_gt) < obj.diameter_mm:
            return np.inf
        return function(obj, K, R_est, t_est, R_gt, t_gt)

    return error


def _mssd(obj: EvaluatedObject, _K: Array, R_est: Array, t_est: Array, R_gt: Array, t_gt: Array) -> float:
    return kernels.mssd(obj.mesh.vertices, R_est, t_est, R_gt, t_gt, obj.symmetries)


def _mspd(obj: EvaluatedObject, K: Array, R_est: Array, t_est: Array, R_gt: Array, t_gt: Array) -> float:
    return kernels.mspd(obj.mesh.vertices, K, R_est, t_est, R_gt, t_gt, obj.symmetries)


def _add(obj: EvaluatedObject, _K: Array, R_est: Array, t_est: Array, R_gt: Array, t_gt: Array) -> float:
    return add(obj.mesh.vertices, R_est, t_est, R_gt, t_gt)


def _adi(obj: EvaluatedObject, _K: Array, R_est: Array, t_est: Array, R_gt: Array, t_gt: Array) -> float:
    return adi(obj.mesh.vertices, R_est, t_est, R_gt, t_gt, obj.tree)


def _add_s(obj: EvaluatedObject, K: Array, R_est: Array, t_est: Array, R_gt: Array, t_gt: Array) -> float:
    """ADD-S for symmetric objects, else ADD."""
    return (_adi if obj.is_symmetric else _add)(obj, K, R_est, t_est, R_gt, t_gt)


BY_NAME: dict[str, PoseError] = {
    # Without early exit, for the AUC of the YCB-V papers, whose 10 cm may exceed an object's diameter.
    "adds_anywhere": _adi,
    "add_anywhere": _add,
    "mssd": _near(_mssd),
    "mspd": _mspd,
    "add": _near(_add),
    "adi": _near(_adi),
    "ad": _near(_add_s),
    "proj": lambda obj, K, Re, te_, Rg, tg: proj(obj.mesh.vertices, K, Re, te_, Rg, tg),
    "re": lambda _obj, _K, Re, _te, Rg, _tg: re(Re, Rg),
    "te": lambda _obj, _K, _Re, te_, _Rg, tg: te(te_, tg),
}
