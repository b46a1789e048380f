"""Compiled inner loops of the evaluation: MSSD, MSPD, the visible surface discrepancy and greedy matching.

Typed functions around each loop are what other modules call. `python -m pose_models.compiled` compiles all loops
ahead of use; otherwise the first call does it (some seconds, once per checkout).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models.compiled import carray, contiguous, kernel

Array = NDArray[np.float64]
Depth = NDArray[np.float32]


def mssd(points: Array, R_est: Array, t_est: Array, R_gt: Array, t_gt: Array, symmetries: Array) -> float:
    """Smallest, over symmetries (S, 4, 4), of the largest distance in mm of points (N, 3) between two poses."""
    poses = contiguous(R_est), contiguous(t_est), contiguous(R_gt), contiguous(t_gt)
    turns = contiguous(symmetries), len(symmetries)
    return float(_mssd(contiguous(points.T), len(points), *poses, *turns, np.empty(len(points))))


def mspd(points: Array, K: Array, R_est: Array, t_est: Array, R_gt: Array, t_gt: Array, symmetries: Array) -> float:
    """Smallest, over symmetries (S, 4, 4), of the largest pixel distance of points (N, 3); K upper-triangular."""
    poses = contiguous(R_est), contiguous(t_est), contiguous(R_gt), contiguous(t_gt)
    turns = contiguous(symmetries), len(symmetries)
    scratch = np.empty((3, len(points))), np.empty(12)
    return float(_mspd(contiguous(points.T), len(points), contiguous(K), *poses, *turns, *scratch))


def surface_counts(
    est: tuple[Depth, int, int],
    gt: tuple[Depth, int, int],
    depth_test: Depth,
    K: Array,
    delta_mm: float,
    unit_mm: float,
    taus: Array,
) -> NDArray[np.int64]:
    """Pixel counts of which VSD and CUS are made.

    Args:
        est, gt: depth (h, w) float32 mm of the model at the two poses with the column and row of its first pixel; the
            patches lie inside the image.
        depth_test: (H, W) float32 mm, C order; delta_mm: tolerance of the visibility test.
        K: (3, 3); unit_mm: length by which surface distances are divided before they are compared with taus (T,),
            ascending.

    Returns:
        (T + 4,): for every tau the pixels of the common visible part whose distance is >= tau; then the pixels of the
        common visible part, of the joint visible part, of the common silhouette, of the joint silhouette.
    """
    counts = np.zeros(len(taus) + 4, dtype=np.int64)
    scratch = np.empty(depth_test.shape[1]), np.zeros(len(taus) + 1, dtype=np.int64)
    a, b = ((depth, *depth.shape, x, y) for depth, x, y in (est, gt))
    scene = depth_test, *depth_test.shape, contiguous(K)
    _surface_counts(*a, *b, *scene, delta_mm, unit_mm, contiguous(taus), len(taus), *scratch, counts)
    return counts


def match(errors: Array, thresholds: Array, valid: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Greedy matching (bop.md 7.4), for all thresholds at once.

    Args:
        errors: (K, E, G) errors of E estimates, best score first, to G ground truths, for K kinds of error.
        thresholds: (K, T); a match needs an error strictly below.
        valid: (G,) whether a ground truth may be matched.

    Returns:
        (K, T, G): position of the estimate matched to each ground truth, or -1.
    """
    matched = np.full((*thresholds.shape, len(valid)), -1, dtype=np.int32)
    flags = np.ascontiguousarray(valid)
    _match(contiguous(errors), *errors.shape, contiguous(thresholds), thresholds.shape[1], flags, matched)
    return matched


# In the next two, points are (3, N): loops without a break over contiguous coordinates become vector instructions.
# Before such a loop the point that was farthest under the last symmetry is tried alone: it ends most of them at once.


@kernel("f8", "f8*", "i8", "f8*", "f8*", "f8*", "f8*", "f8*", "i8", "f8*")
def _mssd(
    points_: Any, count: int, R_est_: Any, t_est: Any, R_gt_: Any, t_gt: Any, symmetries_: Any, symmetry_count: int,
    squares_: Any,
) -> float:  # fmt: skip # pragma: no cover - compiled
    points, symmetries = carray(points_, (3, count)), carray(symmetries_, (symmetry_count, 4, 4))
    R, G, squares = carray(R_est_, (3, 3)), carray(R_gt_, (3, 3)), carray(squares_, (count,))
    best = np.inf
    last = 0
    for s in range(symmetry_count):
        S = symmetries[s]
        a00 = R[0, 0] - (G[0, 0] * S[0, 0] + G[0, 1] * S[1, 0] + G[0, 2] * S[2, 0])
        a01 = R[0, 1] - (G[0, 0] * S[0, 1] + G[0, 1] * S[1, 1] + G[0, 2] * S[2, 1])
        a02 = R[0, 2] - (G[0, 0] * S[0, 2] + G[0, 1] * S[1, 2] + G[0, 2] * S[2, 2])
        a03 = t_est[0] - (G[0, 0] * S[0, 3] + G[0, 1] * S[1, 3] + G[0, 2] * S[2, 3] + t_gt[0])
        a10 = R[1, 0] - (G[1, 0] * S[0, 0] + G[1, 1] * S[1, 0] + G[1, 2] * S[2, 0])
        a11 = R[1, 1] - (G[1, 0] * S[0, 1] + G[1, 1] * S[1, 1] + G[1, 2] * S[2, 1])
        a12 = R[1, 2] - (G[1, 0] * S[0, 2] + G[1, 1] * S[1, 2] + G[1, 2] * S[2, 2])
        a13 = t_est[1] - (G[1, 0] * S[0, 3] + G[1, 1] * S[1, 3] + G[1, 2] * S[2, 3] + t_gt[1])
        a20 = R[2, 0] - (G[2, 0] * S[0, 0] + G[2, 1] * S[1, 0] + G[2, 2] * S[2, 0])
        a21 = R[2, 1] - (G[2, 0] * S[0, 1] + G[2, 1] * S[1, 1] + G[2, 2] * S[2, 1])
        a22 = R[2, 2] - (G[2, 0] * S[0, 2] + G[2, 1] * S[1, 2] + G[2, 2] * S[2, 2])
        a23 = t_est[2] - (G[2, 0] * S[0, 3] + G[2, 1] * S[1, 3] + G[2, 2] * S[2, 3] + t_gt[2])
        x, y, z = points[0, last], points[1, last], points[2, last]
        dx = a00 * x + a01 * y + a02 * z + a03
        dy = a10 * x + a11 * y + a12 * z + a13
        dz = a20 * x + a21 * y + a22 * z + a23
        if dx * dx + dy * dy + dz * dz >= best:
            continue
        for n in range(count):
            x, y, z = points[0, n], points[1, n], points[2, n]
            dx = a00 * x + a01 * y + a02 * z + a03
            dy = a10 * x + a11 * y + a12 * z + a13
            dz = a20 * x + a21 * y + a22 * z + a23
            squares[n] = dx * dx + dy * dy + dz * dz
        largest = -1.0
        for n in range(count):
            if squares[n] > largest:
                largest = squares[n]
                last = n
        best = min(best, largest)
    return np.sqrt(best)  # type: ignore[no-any-return]


@kernel("f8", "f8*", "i8", "f8*", "f8*", "f8*", "f8*", "f8*", "f8*", "i8", "f8*", "f8*")
def _mspd(
    points_: Any, count: int, K_: Any, R_est_: Any, t_est: Any, R_gt_: Any, t_gt: Any, symmetries_: Any,
    symmetry_count: int, scratch_: Any, work: Any,
) -> float:  # fmt: skip # pragma: no cover - compiled
    points, symmetries = carray(points_, (3, count)), carray(symmetries_, (symmetry_count, 4, 4))
    R_est, R_gt, K = carray(R_est_, (3, 3)), carray(R_gt_, (3, 3)), carray(K_, (3, 3))
    scratch, M = carray(scratch_, (3, count)), carray(work, (3, 4))  # scratch: u and v of the estimate, squares
    best = np.inf
    last = 0
    for s in range(-1, symmetry_count):  # first the estimate itself, then the ground truth under each symmetry
        for k in range(4):
            for i in range(3):
                if s < 0:
                    M[i, k] = R_est[i, k] if k < 3 else t_est[i]
                else:
                    M[i, k] = t_gt[i] if k == 3 else 0.0
                    for m in range(3):
                        M[i, k] += R_gt[i, m] * symmetries[s, m, k]
            x, y, z = M[0, k], M[1, k], M[2, k]
            M[0, k], M[1, k] = K[0, 0] * x + K[0, 1] * y + K[0, 2] * z, K[1, 1] * y + K[1, 2] * z
        a00, a01, a02, a03 = M[0, 0], M[0, 1], M[0, 2], M[0, 3]
        a10, a11, a12, a13 = M[1, 0], M[1, 1], M[1, 2], M[1, 3]
        a20, a21, a22, a23 = M[2, 0], M[2, 1], M[2, 2], M[2, 3]
        if s < 0:
            for n in range(count):
                x, y, z = points[0, n], points[1, n], points[2, n]
                depth = a20 * x + a21 * y + a22 * z + a23
                scratch[0, n] = (a00 * x + a01 * y + a02 * z + a03) / depth
                scratch[1, n] = (a10 * x + a11 * y + a12 * z + a13) / depth
            continue
        x, y, z = points[0, last], points[1, last], points[2, last]
        depth = a20 * x + a21 * y + a22 * z + a23
        du = (a00 * x + a01 * y + a02 * z + a03) / depth - scratch[0, last]
        dv = (a10 * x + a11 * y + a12 * z + a13) / depth - scratch[1, last]
        if du * du + dv * dv >= best:
            continue
        for n in range(count):
            x, y, z = points[0, n], points[1, n], points[2, n]
            depth = a20 * x + a21 * y + a22 * z + a23
            du = (a00 * x + a01 * y + a02 * z + a03) / depth - scratch[0, n]
            dv = (a10 * x + a11 * y + a12 * z + a13) / depth - scratch[1, n]
            scratch[2, n] = du * du + dv * dv
        largest = -1.0
        for n in range(count):
            if not scratch[2, n] <= largest:  # also takes nan, which makes the error infinite
                largest = np.inf if np.isnan(scratch[2, n]) else scratch[2, n]
                last = n
        best = min(best, largest)
    return np.sqrt(best)  # type: ignore[no-any-return]


@kernel(
    "void", "f4*", "i8", "i8", "i8", "i8", "f4*", "i8", "i8", "i8", "i8", "f4*", "i8", "i8", "f8*", "f8", "f8",
    "f8*", "i8", "f8*", "i8*", "i8*",
)  # fmt: skip
def _surface_counts(
    est_: Any, eh: int, ew: int, ex: int, ey: int, gt_: Any, gh: int, gw: int, gx: int, gy: int,
    test_: Any, height: int, width: int, K_: Any, delta: float, unit: float,
    taus: Any, steps: int, squares: Any, reached: Any, counts: Any,
) -> None:  # fmt: skip # pragma: no cover - compiled
    est, gt, test = carray(est_, (eh, ew)), carray(gt_, (gh, gw)), carray(test_, (height, width))
    K = carray(K_, (3, 3))
    common, joint, common_all, joint_all = 0, 0, 0, 0
    left, right = min(ex, gx), max(ex + ew, gx + gw)
    for i in range(left, right):
        squares[i - left] = ((i - K[0, 2]) / K[0, 0]) ** 2
    tolerance = np.float32(delta)
    for j in range(min(ey, gy), max(ey + eh, gy + gh)):
        in_est, in_gt = 0 <= j - ey < eh, 0 <= j - gy < gh
        row = ((j - K[1, 2]) / K[1, 1]) ** 2 + 1.0
        for i in range(left, right):
            e = est[j - ey, i - ex] if in_est and 0 <= i - ex < ew else np.float32(0)
            g = gt[j - gy, i - gx] if in_gt and 0 <= i - gx < gw else np.float32(0)
            if not (e > 0 or g > 0):
                continue
            joint_all += 1
            factor = np.sqrt(squares[i - left] + row)
            dist_e, dist_g = e * factor, g * factor
            t = test[j, i]
            dist_t = np.float32(t * factor)
            see_g = g > 0 and (t == 0 or np.float32(np.float32(dist_g) - dist_t) <= tolerance)
            see_e = e > 0 and (see_g or t == 0 or np.float32(np.float32(dist_e) - dist_t) <= tolerance)
            if e > 0 and g > 0:
                common_all += 1
            if see_e or see_g:
                joint += 1
            if see_e and see_g:
                common += 1
                distance = abs(dist_g - dist_e) / unit
                k = 0
                while k < steps and distance >= taus[k]:
                    k += 1
                reached[k] += 1
    above = 0
    for n in range(steps):
        k = steps - 1 - n
        above += reached[k + 1]
        counts[k] = above
    counts[steps] = common
    counts[steps + 1] = joint
    counts[steps + 2] = common_all
    counts[steps + 3] = joint_all


@kernel("void", "f8*", "i8", "i8", "i8", "f8*", "i8", "u1*", "i4*")
def _match(
    errors_: Any, kinds: int, estimates: int, truths: int, thresholds_: Any, steps: int, valid: Any, matched_: Any
) -> None:  # pragma: no cover - compiled
    errors, thresholds = carray(errors_, (kinds, estimates, truths)), carray(thresholds_, (kinds, steps))
    matched = carray(matched_, (kinds, steps, truths))
    for k in range(kinds):
        for t in range(steps):
            for e in range(estimates):
                best = -1
                for g in range(truths):
                    if valid[g] != 0 and matched[k, t, g] < 0 and (best < 0 or errors[k, e, g] < errors[k, e, best]):
                        best = g
                if best >= 0 and errors[k, e, best] < thresholds[k, t]:
                    matched[k, t, best] = e
