"""Refinement: local maximisation of the correspondence log-likelihood of the visible surface (surfemb.md 11.8).

The visible points come from a render at the starting pose and stay fixed. The published release renders through pixel
centres, so that every point starts exactly on the pixel lattice, where bilinear interpolation has a kink and BFGS often
stops at once; by default the render is shifted by a fraction of a pixel, and a result that is not better than the start
is refused. `faithful` restores both defects.
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

from pose_models.methods.surfemb.maps import log_sum_exp

Array = NDArray[np.float64]
PoseOf = Callable[[Tensor], tuple[Tensor, Tensor]]
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
            are) and no safeguard.

    Returns:
        R (3, 3), t (3,) mm, value before, value after. Without `faithful` the start is kept when the result is not
        better, not finite, or behind the camera.
    """
    R, t = np.asarray(R, dtype=np.float64), np.asarray(t, dtype=np.float64).reshape(3)
    dtype, device = objective.points.dtype, objective.points.device
    if faithful:
        import cv2

        start = np.concatenate([cv2.Rodrigues(R)[0][:, 0], t])
        pose_of: PoseOf = _plain_variables
    else:
        start = np.zeros(6)
        pose_of = _conditioned_variables(R, t, np.asarray(center), size_mm)

    def value_and_gradient(x: Array) -> tuple[float, Array]:
        variables = torch.tensor(x, dtype=dtype, device=device, requires_grad=True)
        value = objective(*pose_of(variables))
        (gradient,) = torch.autograd.grad(value, variables)
        return value.item(), gradient.cpu().numpy().astype(np.float64)

    before = value_and_gradient(start)[0]
    found = minimize(value_and_gradient, start, jac=True, method="BFGS", options={"maxiter": steps})
    with torch.no_grad():
        R_found, t_found = (part.numpy() for part in pose_of(torch.tensor(found.x, dtype=torch.float64)))
    better = np.isfinite(found.fun) and found.fun < before and t_found[2] > 0
    if not (faithful or better):
        return R, t, before, before
    return R_found, t_found, before, float(found.fun)


def _plain_variables(x: Tensor) -> tuple[Tensor, Tensor]:
    return rotation_matrix(x[:3]), x[3:]


def _conditioned_variables(R: Array, t: Array, center: Array, size_mm: float) -> PoseOf:
    """Six numbers of order one: turn about the object's centre, sideways moves in sizes, relative change of depth."""
    c0 = R @ center + t
    scale = np.array([size_mm, size_mm, c0[2]])

    def pose_of(x: Tensor) -> tuple[Tensor, Tensor]:
        def tensor(values: Array) -> Tensor:
            return torch.as_tensor(values, dtype=x.dtype, device=x.device)

        turned = rotation_matrix(x[:3]) @ tensor(R)
        translation = tensor(c0) + x[3:] * tensor(scale) - turned @ tensor(center)
        return turned, translation

    return pose_of
