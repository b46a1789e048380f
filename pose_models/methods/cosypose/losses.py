"""Losses between poses up to symmetry (cosypose.md section 6). Distances in mm, losses in the paper's unit, metres."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from pose_models.methods.cosypose.poses import moved_xy, rotation_of_output, transformed, updated, with_parts

MM_PER_METRE = 1000.0
Norm = Literal["l1", "l2"]


def symmetric_distance(T_possible: Tensor, T: Tensor, points: Tensor, norm: Norm = "l1") -> tuple[Tensor, Tensor]:
    """Distance (B,) of poses (B, 4, 4) to the nearest of several, and which one (B,) that is.

    Mean over points and coordinates of the absolute (l1, mm) or squared (l2, mm^2) difference. The nearest is found
    without gradients, which are those of the distance to it.

    Args:
        T_possible: (B, S, 4, 4), equivalent true poses. points: (B, N, 3) mm.
    """
    with torch.no_grad():
        moved = torch.cat([points, torch.ones_like(points[..., :1])], dim=2).transpose(1, 2)[:, None]
        apart = (T_possible - T[:, None])[:, :, :3] @ moved
        distances = (apart.abs() if norm == "l1" else apart**2).mean(dim=(2, 3))
        nearest = distances.argmin(dim=1)
    chosen = T_possible[torch.arange(len(T), device=T.device), nearest]
    return point_distance(chosen, T, points, norm), nearest


def point_distance(T_true: Tensor, T: Tensor, points: Tensor, norm: Norm = "l1") -> Tensor:
    """Distance (B,) between points (B, N, 3) at two poses (B, 4, 4), as of `symmetric_distance`."""
    apart = transformed(T, points) - transformed(T_true, points)
    return (apart.abs() if norm == "l1" else apart**2).mean(dim=(1, 2))


def disentangled_loss(output: Tensor, T_possible: Tensor, T: Tensor, K_crop: Tensor, points: Tensor) -> Tensor:
    """Loss (B,) in metres: rotation, image plane and depth each judged with the others set to the truth.

    Args:
        output: (B, 9) or (B, 7) of a network that saw the poses T (B, 4, 4).
        T_possible: (B, S, 4, 4), the annotated pose first. K_crop: (B, 3, 3). points: (B, N, 3) mm.
    """
    T_true, t = T_possible[:, 0], T[:, :3, 3]
    R_true, t_true = T_true[:, :3, :3], T_true[:, :3, 3]
    depth = t_true[:, 2:]
    terms = (
        with_parts(rotation_of_output(output) @ T[:, :3, :3], t_true),
        with_parts(R_true, torch.cat([moved_xy(output, t, K_crop) * depth, depth], dim=1)),
        with_parts(R_true, torch.cat([t_true[:, :2], output[:, -1:] * t[:, 2:]], dim=1)),
    )
    return sum((symmetric_distance(T_possible, term, points)[0] for term in terms), T.new_zeros(())) / MM_PER_METRE


def plain_loss(output: Tensor, T_possible: Tensor, T: Tensor, K_crop: Tensor, points: Tensor) -> Tensor:
    """Loss (B,) in metres of the updated pose as a whole, symmetries left out: the paper's ablation."""
    return point_distance(T_possible[:, 0], updated(T, output, K_crop), points) / MM_PER_METRE
