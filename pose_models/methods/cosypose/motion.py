"""The motion of an object that moves its points to where they are seen: Gauss-Newton on reprojection errors."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional

from pose_models.methods.cosypose.poses import cross_matrix, rotation_from_6d

LARGEST_DEPTH_CHANGE = 0.6  # natural logarithm
LARGEST_STEP = 3.0  # standard deviations
DOUBT = 2.0  # of a squared error that the weights call usual
RIDGE = 0.01  # of a fit's squared lengths


@dataclasses.dataclass(frozen=True)
class Motion:
    """How objects move: rotations R (B, 3, 3) in camera axes, and steps (B, 6), sums of (v, k, w) / spread."""

    R: Tensor
    steps: Tensor

    def detach(self) -> Motion:
        """The same without gradients."""
        return Motion(self.R.detach(), self.steps.detach())


@dataclasses.dataclass(frozen=True)
class Problem:
    """Objects whose motion is sought: how they lie before it, and how far they are thought to move.

    offsets: (B, N, 3) mm, points relative to the object's origin, in camera axes. t: (B, 3) mm, that origin.
    focal: (B, 2) px. spread: (6,) standard deviations of v (2, px), k (natural logarithm of depth) and w (3, rad).
    """

    offsets: Tensor
    t: Tensor
    focal: Tensor
    spread: Tensor

    def start(self, R: Tensor | None = None) -> Motion:
        """No motion, or rotations R (B, 3, 3) that others count from."""
        eye = torch.eye(3, dtype=self.t.dtype, device=self.t.device).expand(len(self.t), 3, 3)
        return Motion(eye if R is None else R, torch.zeros_like(self.t).repeat(1, 2))

    def moved(self, motion: Motion) -> tuple[Tensor, Tensor]:
        """Offsets (B, N, 3) and origins (B, 3) mm after a motion."""
        scaled = motion.steps * self.spread
        depth = self.t[:, 2:] * torch.exp(scaled[:, 2:3])
        slopes = self.t[:, :2] / self.t[:, 2:] + scaled[:, :2] / self.focal
        return self.offsets @ motion.R.transpose(1, 2), torch.cat([slopes * depth, depth], dim=1)

    def projected(self, motion: Motion) -> Tensor:
        """Points (B, N, 2) px after a motion, relative to the principal point."""
        slope = _projected(*self.moved(motion))[0]
        return slope * self.focal[:, None]


def solved(problem: Problem, motion: Motion, targets: Tensor, weights: Tensor, passes: int = 5) -> Motion:
    """The motion that explains where points are seen, from another one that is near it.

    Rotation w (rad), shift v (px) and log depth change k minimise the weighted squared distances of the moved points
    from their targets plus a prior |(v, k, w) / spread|^2. The rotation is linearised anew in every pass: turning by
    15 degrees shrinks what is seen as much as moving away by 5 cm does, which a single linear step takes for depth.
    Points far from their targets weigh less (Cauchy), as wrong matches do not come alone; the sum of weights stays.

    Args:
        targets: (B, N, 2) px, relative to the principal point. weights: (B, N) 1 / px^2.
    """
    spread, count = problem.spread, len(problem.t)
    bound = LARGEST_DEPTH_CHANGE / spread[2]
    prior = torch.eye(6, dtype=targets.dtype, device=targets.device)
    R, steps = motion.R, motion.steps
    for _ in range(passes):
        errors, J = _errors(*problem.moved(Motion(R, steps)), problem.focal, targets)
        J = J * spread
        robust = weights / (1 + DOUBT * weights * (errors**2).reshape(count, 2, -1).sum(dim=1))
        robust = robust * (weights.sum(dim=1) / robust.sum(dim=1).clamp(min=1e-9))[:, None]
        weighted = (J * robust.repeat(1, 2)[..., None]).transpose(1, 2)
        step = torch.linalg.solve(weighted @ J + prior, weighted @ errors[..., None] - steps[..., None])[..., 0]
        step = step.clamp(-LARGEST_STEP, LARGEST_STEP)
        steps = steps + step
        steps = torch.cat([steps[:, :2], steps[:, 2:3].clamp(-bound, bound), steps[:, 3:]], dim=1)
        R = rotation_from_vector(step[:, 3:] * spread[3:]) @ R
    return Motion(R, steps)


def output_of(problem: Problem, motion: Motion) -> Tensor:
    """A motion as the output (B, 9) of a pose network (cosypose.md section 3.4)."""
    scaled = motion.steps * problem.spread
    return torch.cat([motion.R[:, :, 0], motion.R[:, :, 1], scaled[:, :2], torch.exp(scaled[:, 2:3])], dim=1)


def fitted_rotation(offsets: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """The rotations (B, 3, 3) of scaled orthographic projections that fit, however large they are.

    Args:
        offsets: (B, N, 3) of any unit. targets: (B, N, 2). weights: (B, N).
    """
    one = torch.ones_like(offsets[..., :1])
    rows = torch.cat([offsets / offsets.norm(dim=2).mean(dim=1)[:, None, None].clamp(min=1e-6), one], dim=2)
    weighted = (rows * (weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-6))[..., None]).transpose(1, 2)
    ridge = torch.diag(rows.new_tensor([RIDGE, RIDGE, RIDGE, 1e-6]))
    x, y = torch.linalg.solve(weighted @ rows + ridge, weighted @ targets)[:, :3].unbind(dim=2)
    x, y = functional.normalize(x, dim=1, eps=1e-6), functional.normalize(y, dim=1, eps=1e-6)
    # The orthogonal pair nearest to both: half-way between the diagonals.
    along, across = functional.normalize(x + y, dim=1, eps=1e-6), x - y
    across = functional.normalize(across - (across * along).sum(dim=1, keepdim=True) * along, dim=1, eps=1e-6)
    return rotation_from_6d(torch.cat([along + across, along - across], dim=1)).transpose(1, 2)


def _projected(turned: Tensor, moved: Tensor) -> tuple[Tensor, Tensor]:
    """Slopes (B, N, 2) of points, and the depths (B, N) they are divided by."""
    points = turned + moved[:, None]
    near = moved[:, None, 2] / 10  # no point comes closer than that: steps may be wild while a network learns
    z = torch.maximum(points[..., 2], near)
    return points[..., :2] / z[..., None], z


def _errors(turned: Tensor, moved: Tensor, focal: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Errors (B, 2N) px, all of x first, and the derivatives (B, 2N, 6) of the projections by (v, k, w)."""
    slope, z = _projected(turned, moved)
    X, Y, Z = turned.unbind(dim=2)
    zero = torch.zeros_like(X)
    # How a point moves with w: w x (X, Y, Z).
    turns = (torch.stack([zero, Z, -Y], dim=2), torch.stack([-Z, zero, X], dim=2), torch.stack([Y, -X, zero], dim=2))
    rows, errors = [], []
    for axis in range(2):
        f, s = focal[:, None, axis], slope[..., axis]
        shift = (moved[:, None, 2] / z).expand_as(X)
        depth = f * (moved[:, None, axis] - s * moved[:, None, 2]) / z
        turn = f[..., None] * (turns[axis] - s[..., None] * turns[2]) / z[..., None]
        by_shift = [shift, zero] if axis == 0 else [zero, shift]
        rows.append(torch.cat([torch.stack([*by_shift, depth], dim=2), turn], dim=2))
        errors.append(targets[..., axis] - f * s)
    return torch.cat(errors, dim=1), torch.cat(rows, dim=1)


def rotation_from_vector(w: Tensor) -> Tensor:
    """Rotations (B, 3, 3) about axes and by angles w (B, 3) rad."""
    angle = torch.sqrt((w**2).sum(dim=1) + 1e-12)[:, None, None]
    cross = cross_matrix(w)
    identity = torch.eye(3, dtype=w.dtype, device=w.device)
    return identity + torch.sin(angle) / angle * cross + (1 - torch.cos(angle)) / angle**2 * (cross @ cross)
