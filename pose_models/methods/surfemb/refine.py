"""Refinement: local maximisation of the correspondence log-likelihood of the visible surface (surfemb.md 11.8).

The visible points come from a render at the starting pose and stay fixed. The published release renders through pixel
centres, so that every point starts exactly on the pixel lattice, where bilinear interpolation has a kink and BFGS often
stops at once; by default the render is shifted by a fraction of a pixel, and a result that is not better than the start
is refused. `faithful` restores both defects.

`Objective` is the readable form, in torch; by default a compiled loop in float64 computes the same value and gradient,
on the CPU: a BFGS step costs about a millisecond there, less than the launches of its kernels on a GPU.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional

from pose_models.compiled import carray, contiguous, kernel
from pose_models.methods.surfemb.correlation import log_sum_exp

Array = NDArray[np.float64]
Function = Callable[[Array], tuple[float, Array]]
LATTICE_SHIFT = (0.25, 0.30)


@dataclasses.dataclass(frozen=True)
class Objective:
    """f(r, t) = -1/2 mean_a [k_a . q(u_a) - d(u_a)] with u_a the projection of visible point a.

    query_image: (1, E + 1, H, H), the queries and the log-denominator d. points: (N, 3) mm. keys: (N, E).
    K: (3, 3) of the crop.
    """

    query_image: Tensor
    points: Tensor
    keys: Tensor
    K: Tensor

    def __call__(self, R: Tensor, t: Tensor) -> Tensor:
        """Value at a rotation (3, 3) and translation (3,) mm; differentiable."""
        camera = self.points @ R.T + t
        uvw = camera @ self.K.T
        pixels = uvw[:, :2] / uvw[:, 2:]
        size = self.query_image.shape[-1]
        grid = (pixels + 0.5) * (2 / size) - 1
        sampled = functional.grid_sample(
            self.query_image, grid[None, None], mode="bilinear", padding_mode="border", align_corners=False
        )[0, :, 0]
        return -0.5 * ((sampled[:-1].T * self.keys).sum(dim=1) - sampled[-1]).mean()


def make_objective(
    queries: Tensor, surface_keys: Tensor, points: ArrayLike, visible_keys: Tensor, K: ArrayLike
) -> Objective:
    """Build the objective of one crop.

    Args:
        queries: (H, H, E). surface_keys: (m, E), the denominator. points: (N, 3) mm, visible at the start.
        visible_keys: (N, E), exactly at those points. K: (3, 3) of the crop.
    """
    side = queries.shape[0]
    denominator = log_sum_exp(queries.flatten(0, 1), surface_keys).reshape(side, side, 1)
    image = torch.cat([queries, denominator], dim=-1).permute(2, 0, 1)[None].contiguous()
    visible, intrinsics = (torch.as_tensor(np.asarray(values)).to(image) for values in (points, K))
    return Objective(image, visible, visible_keys, intrinsics)


def rotation_matrix(rotation_vector: Tensor) -> Tensor:
    """Rodrigues' formula (3,) rad -> (3, 3), with finite gradients at zero."""
    squared = (rotation_vector * rotation_vector).sum()
    small = squared < 1e-8
    angle = torch.sqrt(torch.where(small, torch.ones_like(squared), squared))
    sine = torch.where(small, 1 - squared / 6, torch.sin(angle) / angle)
    cosine = torch.where(small, 0.5 - squared / 24, (1 - torch.cos(angle)) / (angle * angle))
    x, y, z = rotation_vector
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)
    eye = torch.eye(3, dtype=rotation_vector.dtype, device=rotation_vector.device)
    return eye + sine * cross + cosine * (cross @ cross)


def refine_pose(
    objective: Objective, R: ArrayLike, t: ArrayLike, steps: int, center: ArrayLike, size_mm: float, faithful: bool
) -> tuple[Array, Array, float, float]:
    """Minimise the objective by BFGS from (R, t).

    Args:
        R: (3, 3); t: (3,) mm: the start. steps: BFGS iterations at most.
        center: (3,) mm, the object's centre, about which rotations turn. size_mm: its radius, the unit of sideways
            moves. Both only condition the problem. faithful: the release's variables (rotation vector and t as they
            are), float32, and no safeguard.

    Returns:
        R (3, 3), t (3,) mm, value before, value after. Without `faithful` the start is kept when the result is not
        better, not finite, or behind the camera.
    """
    R, t = np.asarray(R, dtype=np.float64), np.asarray(t, dtype=np.float64).reshape(3)
    if faithful:
        start, function = np.concatenate([_rotation_vector(R), t]), _plain(objective)
    else:
        chart = Chart(R, t, np.asarray(center, dtype=np.float64), size_mm)
        start, function = np.zeros(6), chart.function(objective)
    before = function(start)[0]
    found = minimize(function, start, jac=True, method="BFGS", options={"maxiter": steps})
    if faithful:
        return _rotation(found.x[:3]), found.x[3:], before, float(found.fun)
    R_found, t_found = chart.pose(found.x)
    better = np.isfinite(found.fun) and found.fun < before and t_found[2] > 0
    return (R_found, t_found, before, float(found.fun)) if better else (R, t, before, before)


def _plain(objective: Objective) -> Function:
    """The objective of a rotation vector and a translation, differentiated by torch."""

    def function(x: Array) -> tuple[float, Array]:
        variables = torch.tensor(x).to(objective.points).requires_grad_()
        value = objective(rotation_matrix(variables[:3]), variables[3:])
        (gradient,) = torch.autograd.grad(value, variables)
        return value.item(), gradient.cpu().numpy().astype(np.float64)

    return function


@dataclasses.dataclass(frozen=True)
class Chart:
    """Poses about a start by six numbers of order one.

    x[:3] turns about the object's centre (rotation vector, rad), x[3:] moves the centre: sideways in object sizes,
    along z in shares of its distance. R (3, 3), t (3,), center (3,) mm; size_mm.
    """

    R: Array
    t: Array
    center: Array
    size_mm: float

    @property
    def _scale(self) -> Array:
        return np.array([self.size_mm, self.size_mm, self.R[2] @ self.center + self.t[2]])

    def pose(self, x: Array) -> tuple[Array, Array]:
        """R (3, 3) and t (3,) mm at x (6,)."""
        R = _rotation(x[:3]) @ self.R
        return R, self.R @ self.center + self.t + x[3:] * self._scale - R @ self.center

    def function(self, objective: Objective) -> Function:
        """The objective and its gradient (6,) as a function of x (6,)."""
        compiled = CompiledObjective(objective)

        def function(x: Array) -> tuple[float, Array]:
            R, t = self.pose(x)
            value, G, g = compiled(R, t)
            # Turning by a small w about the centre moves a point X by w x R (X - c).
            M = R @ (G - np.outer(g, self.center)).T
            torque = np.array([M[1, 2] - M[2, 1], M[2, 0] - M[0, 2], M[0, 1] - M[1, 0]])
            return value, np.concatenate([_left_jacobian(x[:3]).T @ torque, g * self._scale])

        return function


class CompiledObjective:
    """`Objective` in float64 on the CPU, with its gradient."""

    def __init__(self, objective: Objective) -> None:
        image = objective.query_image[0].permute(1, 2, 0).contiguous().cpu().numpy()
        self.image = np.ascontiguousarray(image, dtype=np.float32)
        self.points = contiguous(objective.points.cpu().numpy())
        self.keys = np.ascontiguousarray(objective.keys.detach().cpu().numpy(), dtype=np.float32)
        self.K = contiguous(objective.K.cpu().numpy())

    def __call__(self, R: Array, t: Array) -> tuple[float, Array, Array]:
        """Value; sum of g X^T (3, 3) and sum of g (3,), g the gradient with respect to each point in the camera."""
        out = np.empty(13)
        size, channels = self.image.shape[1:]
        surface = self.points, len(self.points), self.keys, channels - 1
        _objective(*surface, self.image, size, contiguous(self.K @ R), contiguous(self.K @ t), self.K, out)
        return float(out[0]), out[1:10].reshape(3, 3), out[10:]


@kernel("void", "f8*", "i8", "f4*", "i8", "f4*", "i8", "f8*", "f8*", "f8*", "f8*")
def _objective(  # type: ignore[no-untyped-def]
    points, count, keys, width, image, size, matrix, vector, intrinsics, out
):
    """out: value, sum of g X^T (9), sum of g (3); matrix = K R, vector = K t."""
    X, key_of = carray(points, (count, 3)), carray(keys, (count, width))
    pixel = carray(image, (size, size, width + 1))
    A, b, K, result = carray(matrix, (3, 3)), carray(vector, (3,)), carray(intrinsics, (3, 3)), carray(out, (13,))
    result[:] = 0.0
    last = size - 1.0
    for n in range(count):
        x, y, z = X[n, 0], X[n, 1], X[n, 2]
        w = A[2, 0] * x + A[2, 1] * y + A[2, 2] * z + b[2]
        u = (A[0, 0] * x + A[0, 1] * y + A[0, 2] * z + b[0]) / w
        v = (A[1, 0] * x + A[1, 1] * y + A[1, 2] * z + b[1]) / w
        inside_u, inside_v = (u > 0) & (u < last), (v > 0) & (v < last)
        cu = min(u, last) if u > 0 else 0.0  # the border goes on outside; nan counts as 0
        cv = min(v, last) if v > 0 else 0.0
        left, top = min(int(cu), size - 2), min(int(cv), size - 2)
        fu, fv = cu - left, cv - top
        value, du, dv = 0.0, 0.0, 0.0
        for channel in range(width + 1):
            factor = np.float64(key_of[n, channel]) if channel < width else -1.0
            p00, p01 = pixel[top, left, channel], pixel[top, left + 1, channel]
            p10, p11 = pixel[top + 1, left, channel], pixel[top + 1, left + 1, channel]
            upper, lower = p00 + fu * (p01 - p00), p10 + fu * (p11 - p10)
            value += factor * (upper + fv * (lower - upper))
            du += factor * ((1 - fv) * (p01 - p00) + fv * (p11 - p10))
            dv += factor * (lower - upper)
        result[0] += value
        du = du / w if inside_u else 0.0
        dv = dv / w if inside_v else 0.0
        for row in range(3):
            g = du * (K[0, row] - u * K[2, row]) + dv * (K[1, row] - v * K[2, row])
            result[1 + 3 * row] += g * x
            result[2 + 3 * row] += g * y
            result[3 + 3 * row] += g * z
            result[10 + row] += g
    for entry in range(13):
        result[entry] *= -0.5 / count


def _rotation(rotation_vector: Array) -> Array:
    return rotation_matrix(torch.from_numpy(rotation_vector)).numpy()


def _rotation_vector(R: Array) -> Array:
    import cv2

    return np.asarray(cv2.Rodrigues(R)[0][:, 0], dtype=np.float64)


def _left_jacobian(rotation_vector: Array) -> Array:
    """J (3, 3) with exp(r + dr) = exp(J dr) exp(r) to first order."""
    angle = float(np.linalg.norm(rotation_vector))
    x, y, z = rotation_vector
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    if angle < 1e-4:
        return np.asarray(np.eye(3) + cross / 2 + cross @ cross / 6)
    return np.asarray(
        np.eye(3) + (1 - np.cos(angle)) / angle**2 * cross + (angle - np.sin(angle)) / angle**3 * (cross @ cross)
    )
