"""Iterative closest points: rigid alignment of point sets whose correspondences are not known.

`point_to_point` takes Kabsch steps on pairs within a distance; `point_to_plane` takes linearised steps along the
targets' normals, from coarse to fine, and drops the pairs that are far for their kind. Both return the transform that
maps source to target points, whatever the frames and units are; the start may scale the source, steps are rigid.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from pose_models.geometry.transforms import apply, from_rotation_translation

Array = NDArray[np.float64]

MIN_PAIRS = 6  # unknowns of a rigid step
UNSEEN = 1e-4  # directions whose information is a smaller share of the largest are left as they are
MAD_TO_SIGMA = 1.4826


@dataclasses.dataclass(frozen=True)
class Alignment:
    """T_target_source: (4, 4). fitness: share of the source points that have a partner. rmse: of these, to it."""

    T_target_source: Array
    fitness: float
    rmse: float


def rigid_fit(source: ArrayLike, target: ArrayLike) -> Array:
    """Transform (4, 4) of least squared distance from points (N, 3) to their partners (N, 3); a proper rotation."""
    a, b = np.asarray(source, dtype=np.float64), np.asarray(target, dtype=np.float64)
    a_mean, b_mean = a.mean(axis=0), b.mean(axis=0)
    U, _, Vt = np.linalg.svd((b - b_mean).T @ (a - a_mean))
    R = U @ np.diag([1.0, 1.0, np.sign(np.linalg.det(U @ Vt))]) @ Vt
    return from_rotation_translation(R, b_mean - R @ a_mean)


def plane_step(source: ArrayLike, target: ArrayLike, normals: ArrayLike) -> Array:
    """One Gauss-Newton step (4, 4) that brings points (N, 3) onto their partners' planes (points, unit normals (N, 3)).

    Motions that the planes say nothing about, such as sliding along a single plane, are left out.
    """
    points, n = np.asarray(source, dtype=np.float64), np.asarray(normals, dtype=np.float64)
    center = points.mean(axis=0)
    arms = points - center
    size = float(np.sqrt((arms**2).sum(axis=1).mean())) or 1.0
    J = np.concatenate([np.cross(arms / size, n), n], axis=1)  # rotations about the centre, scaled to lengths
    residual = ((np.asarray(target, dtype=np.float64) - points) * n).sum(axis=1)
    values, vectors = np.linalg.eigh(J.T @ J)
    seen = values > UNSEEN * values[-1]
    step = vectors[:, seen] @ ((vectors[:, seen].T @ (J.T @ residual)) / values[seen])
    R = Rotation.from_rotvec(step[:3] / size).as_matrix()
    return from_rotation_translation(R, center - R @ center + step[3:])


def point_to_point(
    source: ArrayLike,
    target: ArrayLike,
    T_target_source: ArrayLike,
    max_distance: float,
    iterations: int = 100,
    tolerance: float = 1e-6,
) -> Alignment:
    """Align by Kabsch steps on all pairs within a distance (ssc6d.md 8.3).

    Args:
        source: (N, 3). target: (M, 3).
        T_target_source: (4, 4) start; its scale is kept.
        max_distance: a source point whose nearest target is farther has no partner.
        tolerance: stop where a step changes fitness and rmse by less than this.

    Returns:
        The start where there are less than three pairs.
    """
    targets = np.asarray(target, dtype=np.float64)
    tree = cKDTree(targets)
    T = np.array(T_target_source, dtype=np.float64)
    points = apply(T, source)
    before: tuple[float, float] | None = None
    for step in range(iterations + 1):
        distance, partner = _nearest(tree, points)
        paired = distance <= max_distance
        fitness = float(paired.mean()) if len(points) else 0.0
        rmse = float(np.sqrt((distance[paired] ** 2).mean())) if paired.any() else 0.0
        settled = before is not None and abs(fitness - before[0]) < tolerance and abs(rmse - before[1]) < tolerance
        if settled or step == iterations or paired.sum() < 3:
            break
        before = fitness, rmse
        move = rigid_fit(points[paired], targets[partner[paired]])
        T, points = move @ T, apply(move, points)
    return Alignment(T, fitness, rmse)


def point_to_plane(
    source: ArrayLike,
    target: ArrayLike,
    normals: ArrayLike,
    T_target_source: ArrayLike,
    max_distance: float = np.inf,
    levels: int = 4,
    iterations: int = 100,
    tolerance: float = 0.05,
    rejection: float = 2.5,
) -> Alignment:
    """Align by steps along normals, from coarse to fine (cosypose.md section 15).

    Level k of `levels` - 1 .. 0 uses every 2^k-th source point, takes at most iterations / (k + 1) steps and stops
    where a step changes the rmse by less than the share tolerance * (k + 1)^2.

    Args:
        source: (N, 3). target: (M, 3). normals: (M, 3) unit vectors of the target; either sign.
        T_target_source: (4, 4) start.
        max_distance: a source point whose nearest target is farther has no partner.
        rejection: pairs farther than this many times the robust standard deviation of the distances are dropped.

    Returns:
        The start where there are less than six pairs. fitness and rmse are those of the pairs that are kept at the end.
    """
    targets, n = np.asarray(target, dtype=np.float64), np.asarray(normals, dtype=np.float64)
    points, T = np.asarray(source, dtype=np.float64), np.array(T_target_source, dtype=np.float64)
    if not len(targets) or not len(points):
        return Alignment(T, 0.0, 0.0)
    tree = cKDTree(targets)
    for level in reversed(range(levels)):
        chosen, before = points[:: 2**level], np.inf
        for _ in range(max(1, iterations // (level + 1))):
            moved = apply(T, chosen)
            pairs, partner, rmse = _pairs(tree, moved, max_distance, rejection)
            if len(pairs) < MIN_PAIRS or abs(rmse - before) <= tolerance * (level + 1) ** 2 * rmse:
                break
            before = rmse
            T = plane_step(moved[pairs], targets[partner], n[partner]) @ T
    pairs, _, rmse = _pairs(tree, apply(T, points), max_distance, rejection)
    return Alignment(T, len(pairs) / len(points), rmse)


def _pairs(
    tree: cKDTree, points: Array, max_distance: float, rejection: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], float]:
    """Rows of the points that have a partner, the partners' rows, and the rmse of their distances."""
    distance, partner = _nearest(tree, points)
    limit = min(max_distance, rejection * MAD_TO_SIGMA * float(np.median(distance)))
    rows = np.flatnonzero(distance <= limit)
    rmse = float(np.sqrt((distance[rows] ** 2).mean())) if len(rows) else 0.0
    return rows, partner[rows], rmse


def _nearest(tree: cKDTree, points: Array) -> tuple[Array, NDArray[np.int64]]:
    """Distances (N,) to the nearest of the tree's points, and these points' rows."""
    distance, row = tree.query(points)
    return np.asarray(distance, dtype=np.float64), np.asarray(row, dtype=np.int64)
