"""Compiled inner loops of the evaluation: MSSD, MSPD, the visible surface discrepancy and greedy matching.

Typed functions around each loop are what other modules call. `python -m pose_models.evaluation.kernels` compiles all
loops ahead of use; otherwise the first call does it (some seconds, once per checkout).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models.compiled import carray, compile_all, contiguous, kernel

Array = NDArray[np.float64]
Depth = NDArray[np.float32]


def mssd(points: Array, R_est: Array, t_est: Array, R_gt: Array, t_gt: Array, symmetries: Array) -> float:
    """Smallest, over symmetries (S, 4, 4), of the largest distance in mm of points (N, 3) between two poses."""
    poses = contiguous(R_est), contiguous(t_est), contiguous(R_gt), contiguous(t_gt)
    return float(_mssd(contiguous(points), len(points), *poses, contiguous(symmetries), len(symmetries), np.empty(9)))


def mspd(points: Array, K: Array, R_est: Array, t_est: Array, R_gt: Array, t_gt: Array, symmetries: Array) -> float:
    """Smallest, over symmetries (S, 4, 4), of the largest pixel distance of points (N, 3); K upper-triangular."""
    poses = contiguous(R_est), contiguous(t_est), contiguous(R_gt), contiguous(t_gt)
    scratch = np.empty((len(points), 2)), np.empty(12)
    return float(
        _mspd(contiguous(points), len(points), contiguous(K), *poses, contiguous(symmetries), len(symmetries), *scratch)
    )


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


@kernel("f8", "f8*", "i8", "f8*", "f8*", "f8*", "f8*", "f8*", "i8", "f8*")
def _mssd(
    points_: Any, count: int, R_est_: Any, t_est: Any, R_gt_: Any, t_gt: Any, symmetries_: Any, symmetry_count: int,
    work: Any,
) -> float:  # fmt: skip # pragma: no cover - compiled
    points, symmetries = carray(points_, (count, 3)), carray(symmetries_, (symmetry_count, 4, 4))
    R_est, R_gt, A = carray(R_est_, (3, 3)), carray(R_gt_, (3, 3)), carray(work, (3, 3))
    best = np.inf
    last = 0  # the farthest point under the symmetry before is likely far again: it ends most loops at once
    for s in range(symmetry_count):
        bx, by, bz = t_est[0] - t_gt[0], t_est[1] - t_gt[1], t_est[2] - t_gt[2]
        for m in range(3):
            bx -= R_gt[0, m] * symmetries[s, m, 3]
            by -= R_gt[1, m] * symmetries[s, m, 3]
            bz -= R_gt[2, m] * symmetries[s, m, 3]
        for i in range(3):
            for k in range(3):
                A[i, k] = R_est[i, k]
                for m in range(3):
                    A[i, k] -= R_gt[i, m] * symmetries[s, m, k]
        largest = -1.0
        farthest = last
        for n in range(-1, count):
            p = last if n < 0 else n
            x, y, z = points[p, 0], points[p, 1], points[p, 2]
            dx = A[0, 0] * x + A[0, 1] * y + A[0, 2] * z + bx
            dy = A[1, 0] * x + A[1, 1] * y + A[1, 2] * z + by
            dz = A[2, 0] * x + A[2, 1] * y + A[2, 2] * z + bz
            square = dx * dx + dy * dy + dz * dz
            if square > largest:
                largest = square
                farthest = p
                if square >= best:
                    break
        last = farthest
        best = min(best, largest)
    return np.sqrt(best)  # type: ignore[no-any-return]


@kernel("f8", "f8*", "i8", "f8*", "f8*", "f8*", "f8*", "f8*", "f8*", "i8", "f8*", "f8*")
def _mspd(
    points_: Any, count: int, K_: Any, R_est_: Any, t_est: Any, R_gt_: Any, t_gt: Any, symmetries_: Any,
    symmetry_count: int, uv_: Any, work: Any,
) -> float:  # fmt: skip # pragma: no cover - compiled
    points, symmetries = carray(points_, (count, 3)), carray(symmetries_, (symmetry_count, 4, 4))
    R_est, R_gt, K = carray(R_est_, (3, 3)), carray(R_gt_, (3, 3)), carray(K_, (3, 3))
    uv, M = carray(uv_, (count, 2)), carray(work, (3, 4))
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
    for s in range(symmetry_count):
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


if __name__ == "__main__":
    from pose_models.render import rasterize

    print(f"compiled for {rasterize.__name__} and evaluation: " + ", ".join(compile_all()))
