"""Compiled inner loops of the evaluation: MSSD, MSPD, the visible surface discrepancy and greedy matching.

Typed functions around each loop are what other modules call. `python -m pose_models.evaluation.kernels` compiles all
loops into their cache ahead of use; otherwise the first import does it (some seconds, once per checkout).
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Depth = NDArray[np.float32]


def mssd(points: Array, R_est: Array, t_est: Array, R_gt: Array, t_gt: Array, symmetries: Array) -> float:
    """Smallest, over symmetries (S, 4, 4), of the largest distance in mm of points (N, 3) between two poses."""
    return float(_mssd(points, R_est, t_est, R_gt, t_gt, symmetries))


def mspd(points: Array, K: Array, R_est: Array, t_est: Array, R_gt: Array, t_gt: Array, symmetries: Array) -> float:
    """Smallest, over symmetries (S, 4, 4), of the largest pixel distance of points (N, 3); K upper-triangular."""
    return float(_mspd(points, K, R_est, t_est, R_gt, t_gt, symmetries))


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
        depth_test: (H, W) float32 mm; delta_mm: tolerance of the visibility test.
        unit_mm: length by which surface distances are divided before they are compared with taus (T,), ascending.

    Returns:
        (T + 4,): for every tau the pixels of the common visible part whose distance is >= tau; then the pixels of the
        common visible part, of the joint visible part, of the common silhouette, of the joint silhouette.
    """
    counts = np.zeros(len(taus) + 4, dtype=np.int64)
    _surface_counts(*est, *gt, depth_test, K, delta_mm, unit_mm, taus, counts)
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
    _match(np.ascontiguousarray(errors), thresholds, valid, matched)
    return matched


@numba.njit("f8(f8[:,::1], f8[:,::1], f8[::1], f8[:,::1], f8[::1], f8[:,:,::1])", cache=True, error_model="numpy")
def _mssd(points: Any, R_est: Any, t_est: Any, R_gt: Any, t_gt: Any, symmetries: Any) -> float:  # pragma: no cover
    best = np.inf
    last = 0  # the farthest point under the symmetry before is likely far again: it ends most loops at once
    A = np.empty((3, 3))
    b = np.empty(3)
    for s in range(symmetries.shape[0]):
        for i in range(3):
            b[i] = t_est[i] - t_gt[i]
            for k in range(3):
                b[i] -= R_gt[i, k] * symmetries[s, k, 3]
                A[i, k] = R_est[i, k]
                for m in range(3):
                    A[i, k] -= R_gt[i, m] * symmetries[s, m, k]
        largest = -1.0
        farthest = last
        for n in range(-1, points.shape[0]):
            p = last if n < 0 else n
            x, y, z = points[p, 0], points[p, 1], points[p, 2]
            dx = A[0, 0] * x + A[0, 1] * y + A[0, 2] * z + b[0]
            dy = A[1, 0] * x + A[1, 1] * y + A[1, 2] * z + b[1]
            dz = A[2, 0] * x + A[2, 1] * y + A[2, 2] * z + b[2]
            square = dx * dx + dy * dy + dz * dz
            if square > largest:
                largest = square
                farthest = p
                if square >= best:
                    break
        last = farthest
        best = min(best, largest)
    return np.sqrt(best)


@numba.njit(
    "f8(f8[:,::1], f8[:,::1], f8[:,::1], f8[::1], f8[:,::1], f8[::1], f8[:,:,::1])", cache=True, error_model="numpy"
)
def _mspd(
    points: Any, K: Any, R_est: Any, t_est: Any, R_gt: Any, t_gt: Any, symmetries: Any
) -> float:  # pragma: no cover
    count = points.shape[0]
    uv = np.empty((count, 2))
    fx, skew, cx, fy, cy = K[0, 0], K[0, 1], K[0, 2], K[1, 1], K[1, 2]
    for p in range(count):
        x, y, z = points[p, 0], points[p, 1], points[p, 2]
        zc = R_est[2, 0] * x + R_est[2, 1] * y + R_est[2, 2] * z + t_est[2]
        yc = R_est[1, 0] * x + R_est[1, 1] * y + R_est[1, 2] * z + t_est[1]
        xc = R_est[0, 0] * x + R_est[0, 1] * y + R_est[0, 2] * z + t_est[0]
        uv[p, 0] = (fx * xc + skew * yc) / zc + cx
        uv[p, 1] = fy * yc / zc + cy
    best = np.inf
    last = 0
    M = np.empty((3, 4))
    for s in range(symmetries.shape[0]):
        for i in range(3):
            for k in range(4):
                M[i, k] = t_gt[i] if k == 3 else 0.0
                for m in range(3):
                    M[i, k] += R_gt[i, m] * symmetries[s, m, k]
        largest = -1.0
        farthest = last
        for n in range(-1, count):
            p = last if n < 0 else n
            x, y, z = points[p, 0], points[p, 1], points[p, 2]
            zc = M[2, 0] * x + M[2, 1] * y + M[2, 2] * z + M[2, 3]
            yc = M[1, 0] * x + M[1, 1] * y + M[1, 2] * z + M[1, 3]
            xc = M[0, 0] * x + M[0, 1] * y + M[0, 2] * z + M[0, 3]
            du = (fx * xc + skew * yc) / zc + cx - uv[p, 0]
            dv = fy * yc / zc + cy - uv[p, 1]
            square = du * du + dv * dv
            if not square <= largest:  # also takes nan, which makes the error infinite
                largest = np.inf if np.isnan(square) else square
                farthest = p
                if largest >= best:
                    break
        last = farthest
        best = min(best, largest)
    return np.sqrt(best)


@numba.njit(
    "void(f4[:,::1], i8, i8, f4[:,::1], i8, i8, f4[:,::1], f8[:,::1], f8, f8, f8[::1], i8[::1])",
    cache=True,
    error_model="numpy",
)
def _surface_counts(
    est: Any,
    ex: int,
    ey: int,
    gt: Any,
    gx: int,
    gy: int,
    test: Any,
    K: Any,
    delta: float,
    unit: float,
    taus: Any,
    counts: Any,
) -> None:  # pragma: no cover
    steps = len(taus)
    reached = np.zeros(steps + 1, dtype=np.int64)
    common, joint, common_all, joint_all = 0, 0, 0, 0
    eh, ew = est.shape
    gh, gw = gt.shape
    left, right = min(ex, gx), max(ex + ew, gx + gw)
    squares = np.empty(max(right - left, 0))
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
    for k in range(steps - 1, -1, -1):
        above += reached[k + 1]
        counts[k] = above
    counts[steps], counts[steps + 1], counts[steps + 2], counts[steps + 3] = common, joint, common_all, joint_all


@numba.njit("void(f8[:,:,::1], f8[:,::1], b1[::1], i4[:,:,::1])", cache=True)
def _match(errors: Any, thresholds: Any, valid: Any, matched: Any) -> None:  # pragma: no cover
    for k in range(thresholds.shape[0]):
        for t in range(thresholds.shape[1]):
            for e in range(errors.shape[1]):
                best = -1
                for g in range(errors.shape[2]):
                    if valid[g] and matched[k, t, g] < 0 and (best < 0 or errors[k, e, g] < errors[k, e, best]):
                        best = g
                if best >= 0 and errors[k, e, best] < thresholds[k, t]:
                    matched[k, t, best] = e


if __name__ == "__main__":
    from pose_models.render import rasterize

    print(f"compiled: {__name__} and {rasterize.__name__}")
