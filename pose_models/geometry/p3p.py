"""The perspective-three-point problem for many triples at once, on any device.

Lambda twist (Persson and Nordberg, "Lambda Twist: An Accurate Fast Robust Perspective Three Point (P3P) Solver",
ECCV 2018): the distances along the three viewing rays are where two conics meet; a degenerate conic of their pencil,
found by one cubic, splits into two lines and each gives up to two solutions. The distances are then polished by
Gauss-Newton steps on the three side lengths.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

POLISH_STEPS = 4


def solve_p3p(points: Tensor, rays: Tensor) -> tuple[Tensor, Tensor]:
    """All poses that put three points onto three viewing rays.

    Args:
        points: (N, 3, 3) float64 object points, mm. rays: (N, 3, 3) viewing rays in the camera frame, of any length.

    Returns:
        Poses (N, 4, 3, 4) [R | t] that map object to camera, and (N, 4) which of them are solutions: real, in front of
        the camera, finite. Collinear or coincident points have none. What is no solution is left undefined.
    """
    y = rays / rays.norm(dim=-1, keepdim=True)
    a = torch.stack([_squared(points[:, i] - points[:, j]) for i, j in ((0, 1), (0, 2), (1, 2))], dim=-1)
    b = -2 * torch.stack([(y[:, i] * y[:, j]).sum(-1) for i, j in ((0, 1), (0, 2), (1, 2))], dim=-1)
    distances = _polish(_distances(a, b), a, b)
    seen = distances[..., None] * y[:, None]
    R = _frame(seen) @ _frame(points)[:, None].mT
    t = seen[..., 0, :] - (R @ points[:, None, 0, :, None])[..., 0]
    poses = torch.cat([R, t[..., None]], dim=-1)
    valid = (distances > 0).all(dim=-1) & torch.isfinite(poses).flatten(2).all(dim=-1)
    return poses, valid


def _squared(x: Tensor) -> Tensor:
    return (x * x).sum(-1)


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """Distances (N, 4, 3) along the rays, nan where none; a: squared sides 12, 13, 23 (N, 3); b: -2 cosines (N, 3)."""
    a12, a13, a23 = a.unbind(-1)
    b12, b13, b23 = b.unbind(-1)
    g = _pencil_root(a, b)
    conic = torch.stack(
        [a23 * (1 - g), a23 * b12 / 2, -a23 * b13 * g / 2, a23 - a12 + a13 * g, b23 * (a13 * g - a12) / 2,
         g * (a13 - a23) - a12], dim=-1)  # fmt: skip
    v0, v1, ratio = _split(conic)
    found = []
    for sign in (1.0, -1.0):  # the two lines: l1 = w0 l2 + w1 l3
        s = sign * ratio
        scale = 1 / (s * v1[:, 0] - v0[:, 0])
        w0, w1 = (v0[:, 1] - s * v1[:, 1]) * scale, (v0[:, 2] - s * v1[:, 2]) * scale
        # Put into the other conic: p tau^2 + q tau + r = 0 for tau = l3 / l2.
        p = (a13 - a12) * w1 * w1 - a12 * b13 * w1 - a12
        q = a13 * b12 * w1 - a12 * b13 * w0 - 2 * w0 * w1 * (a12 - a13)
        r = (a13 - a12) * w0 * w0 + a13 * b12 * w0 + a13
        root = torch.sqrt(q * q - 4 * p * r)
        half = -(q + torch.where(q >= 0, root, -root)) / 2  # no cancellation
        for tau in (half / p, r / half):
            l2 = torch.sqrt(a23 / (tau * (b23 + tau) + 1))
            found.append(torch.stack([w0 * l2 + w1 * tau * l2, l2, tau * l2], dim=-1))
    return torch.stack(found, dim=1)


def _pencil_root(a: Tensor, b: Tensor) -> Tensor:
    """A real root g (N,) of det(D1 + g D2) = 0: of three, an outer one, where the cubic is steeper."""
    a12, a13, a23 = a.unbind(-1)
    c12, c13, c23 = (-b / 2).unbind(-1)
    s12, s13, s23 = (1 - c * c for c in (c12, c13, c23))
    blob = c12 * c23 * c13 - 1
    p3 = a13 * (a23 * s13 - a13 * s23)
    p2 = 2 * blob * a23 * a13 + a13 * (2 * a12 + a13) * s23 + a23 * (a23 - a12) * s13
    p1 = a23 * (a13 - a23) * s12 - a12 * a12 * s23 - 2 * a12 * (blob * a23 + a13 * s23)
    p0 = a12 * (a12 * s23 - a23 * s12)
    k2, k1, k0 = p2 / p3, p1 / p3, p0 / p3
    shift = k2 / 3
    p, q = k1 - k2 * shift, 2 * shift**3 - shift * k1 + k0  # x^3 + p x + q with x = g + shift
    discriminant = q * q / 4 + p * p * p / 27
    root = torch.sqrt(discriminant.clamp_min(0))
    big = -q / 2 - torch.where(q >= 0, root, -root)
    u = torch.sign(big) * big.abs() ** (1 / 3)
    single = torch.where(u == 0, torch.zeros_like(u), u - p / (3 * u))
    radius = 2 * torch.sqrt((-p / 3).clamp_min(0))
    cosine = (3 * q / (p * radius)).clamp(-1, 1)
    angle = torch.arccos(cosine) / 3
    outer = torch.stack([radius * torch.cos(angle), radius * torch.cos(angle + 2 * math.pi / 3)])
    steep = (3 * outer * outer + p).argmax(dim=0)
    x = torch.where(discriminant > 0, single, outer.gather(0, steep[None])[0])
    for _ in range(2):
        slope = 3 * x * x + p
        x = x - torch.where(slope == 0, torch.zeros_like(x), (x * x * x + p * x + q) / slope)
    return x - shift


def _split(conic: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The lines of a degenerate conic (N, 6: upper triangle): eigenvectors (N, 3) twice, sqrt(-l1 / l0) (N,)."""
    m00, m01, m02, m11, m12, m22 = conic.unbind(-1)
    trace = m00 + m11 + m22
    minors = m00 * m11 - m01 * m01 + m00 * m22 - m02 * m02 + m11 * m22 - m12 * m12
    root = torch.sqrt((trace * trace - 4 * minors).clamp_min(0))
    high = (trace + torch.where(trace >= 0, root, -root)) / 2
    low = minors / high
    matrix = torch.stack([m00, m01, m02, m01, m11, m12, m02, m12, m22], dim=-1).reshape(-1, 3, 3)
    ratio = torch.sqrt((-low / high).clamp_min(0))
    return _eigenvector(matrix, high), _eigenvector(matrix, low), ratio


def _eigenvector(matrix: Tensor, value: Tensor) -> Tensor:
    """Unit eigenvector (N, 3) of symmetric matrices (N, 3, 3): the longest cross product of two rows of M - value I."""
    rows = matrix - value[:, None, None] * torch.eye(3, dtype=matrix.dtype, device=matrix.device)
    crosses = torch.linalg.cross(rows, rows.roll(1, dims=1))
    longest = crosses.norm(dim=-1).nan_to_num().argmax(dim=1)
    vector = crosses[torch.arange(len(rows), device=rows.device), longest]
    result: Tensor = vector / vector.norm(dim=-1, keepdim=True)
    return result


def _polish(distances: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Gauss-Newton on l_i^2 + l_j^2 + b_ij l_i l_j = a_ij; a step that makes the residual larger is not taken."""
    sides, cosines = a[:, None], b[:, None]
    residual = _residual(distances, sides, cosines)
    for _ in range(POLISH_STEPS):
        l1, l2, l3 = distances.unbind(-1)
        b12, b13, b23 = cosines.unbind(-1)
        # Rows of the Jacobian: (d12, e12, 0), (d13, 0, e13), (0, d23, e23).
        d12, e12 = 2 * l1 + b12 * l2, 2 * l2 + b12 * l1
        d13, e13 = 2 * l1 + b13 * l3, 2 * l3 + b13 * l1
        d23, e23 = 2 * l2 + b23 * l3, 2 * l3 + b23 * l2
        r12, r13, r23 = residual.unbind(-1)
        determinant = -d12 * e13 * d23 - e12 * d13 * e23
        step = torch.stack(
            [-e13 * d23 * r12 - e12 * e23 * r13 + e12 * e13 * r23,
             -d13 * e23 * r12 + d12 * e23 * r13 - d12 * e13 * r23,
             d13 * d23 * r12 - d12 * d23 * r13 - e12 * d13 * r23], dim=-1) / determinant[..., None]  # fmt: skip
        moved = distances - step
        after = _residual(moved, sides, cosines)
        better = (after.abs().sum(-1) < residual.abs().sum(-1))[..., None]
        distances, residual = torch.where(better, moved, distances), torch.where(better, after, residual)
    return distances


def _residual(distances: Tensor, sides: Tensor, cosines: Tensor) -> Tensor:
    l1, l2, l3 = distances.unbind(-1)
    pairs = torch.stack([l1 * l2, l1 * l3, l2 * l3], dim=-1)
    squares = torch.stack([l1 * l1 + l2 * l2, l1 * l1 + l3 * l3, l2 * l2 + l3 * l3], dim=-1)
    return squares + cosines * pairs - sides


def _frame(points: Tensor) -> Tensor:
    """Orthonormal frame (..., 3, 3), columns, of three points (..., 3, 3); nan for collinear ones."""
    first, second = points[..., 1, :] - points[..., 0, :], points[..., 2, :] - points[..., 0, :]
    x = first / first.norm(dim=-1, keepdim=True)
    normal = torch.linalg.cross(first, second)
    z = normal / normal.norm(dim=-1, keepdim=True)
    return torch.stack([x, torch.linalg.cross(z, x), z], dim=-1)
