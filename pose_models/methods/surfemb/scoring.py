"""Scores of pose hypotheses: mask and correspondence likelihood (surfemb.md section 11.7).

`score_poses` runs compiled loops on a CPU and torch on a GPU; `score_poses_torch` is the readable twin that the tests
hold the loops to.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pose_models.methods.surfemb.maps import Maps


@dataclasses.dataclass(frozen=True)
class Scores:
    """Scores (P,) of poses: total = mask + coordinates; 0 is perfect, coordinates = -1 is a uniform distribution."""

    mask: NDArray[np.float64]
    coordinates: NDArray[np.float64]

    @property
    def total(self) -> NDArray[np.float64]:
        """Sum of both parts; -inf where the pose covers no cell."""
        return self.mask + self.coordinates


def score_poses(maps: Maps, keys: Tensor, points: Tensor, poses: NDArray[np.float64]) -> Scores:
    """Score poses (P, 3, 4) of an object with surface samples `points` (m, 3) mm and their `keys` (m, E)."""
    if maps.sources.device.type != "cpu":
        return score_poses_torch(maps, keys, points, poses)
    P = (maps.K @ poses).astype(np.float32)
    background = maps.log_background.numpy()
    mask, coordinates = np.empty(len(poses)), np.empty(len(poses))
    gain = (maps.log_mask - maps.log_background).numpy()
    _score(P, points.numpy(), keys.numpy(), maps.sources.numpy(), maps.side, gain, mask, coordinates)
    mask = (mask + float(background.sum(dtype=np.float64))) / len(background) / math.log(2)
    return Scores(mask, coordinates / math.log(len(points)))


@numba.njit(cache=True, fastmath={"contract", "reassoc", "nsz"}, nogil=True)
def _score(  # type: ignore[no-untyped-def]
    P, points, keys, sources, side, gain, mask, coordinates
):
    """For every projection matrix P: sum of `gain` over covered cells, mean best log-probability over them."""
    depth = np.empty(side * side, np.float32)
    nearest = np.empty(side * side, np.int32)
    width = keys.shape[1]
    for pose in range(len(P)):
        depth[:] = np.inf
        M = P[pose]
        for index in range(len(points)):
            x, y, z = points[index]
            w = M[2, 0] * x + M[2, 1] * y + M[2, 2] * z + M[2, 3]
            if w == 0:
                continue
            u = np.rint((M[0, 0] * x + M[0, 1] * y + M[0, 2] * z + M[0, 3]) / w)
            v = np.rint((M[1, 0] * x + M[1, 1] * y + M[1, 2] * z + M[1, 3]) / w)
            if u >= 0 and u < side and v >= 0 and v < side:
                cell = int(v) * side + int(u)
                if w < depth[cell]:
                    depth[cell] = w
                    nearest[cell] = index
        covered, mask_sum, coordinate_sum = 0, 0.0, 0.0  # sums in float64
        for cell in range(side * side):
            if depth[cell] > 0 and depth[cell] < np.inf:
                covered += 1
                mask_sum += gain[cell]
                key = keys[nearest[cell]]
                best: Any = np.float32(-np.inf)
                for source in range(sources.shape[1]):
                    value = sources[cell, source, width]
                    for channel in range(width):
                        value += sources[cell, source, channel] * key[channel]
                    best = max(best, value)
                coordinate_sum += best
        mask[pose] = mask_sum
        coordinates[pose] = coordinate_sum / covered if covered else -np.inf


def score_poses_torch(maps: Maps, keys: Tensor, points: Tensor, poses: NDArray[np.float64], batch: int = 64) -> Scores:
    """The same scores in plain torch, on any device."""
    mask, coordinates = [], []
    for start in range(0, len(poses), batch):
        cell_of, point_of, pose_of, count = _visible_points(maps, points, poses[start : start + batch])
        per_pose = torch.zeros(count, dtype=torch.float64, device=keys.device)
        covered = per_pose.index_add(0, pose_of, torch.ones_like(pose_of, dtype=torch.float64))
        gain = (maps.log_mask - maps.log_background)[cell_of].double()
        mask_sum = per_pose.index_add(0, pose_of, gain) + maps.log_background.sum(dtype=torch.float64)
        best = per_pose.new_empty(len(cell_of))
        for rows in torch.split(torch.arange(len(cell_of), device=keys.device), 65_536):
            sources, key = maps.sources[cell_of[rows]], keys[point_of[rows]]
            values = (sources[..., :-1] @ key[:, :, None])[..., 0] + sources[..., -1]
            best[rows] = values.max(dim=1).values.double()
        coordinate = per_pose.index_add(0, pose_of, best) / covered
        mask.append(mask_sum / maps.side**2 / math.log(2))
        coordinates.append(torch.where(covered > 0, coordinate, -torch.inf) / math.log(len(points)))
    return Scores(torch.cat(mask).cpu().numpy(), torch.cat(coordinates).cpu().numpy())


def _visible_points(maps: Maps, points: Tensor, poses: NDArray[np.float64]) -> tuple[Tensor, Tensor, Tensor, int]:
    """The nearest point of every covered cell: cell, point and pose indices, and the number of poses."""
    P = torch.from_numpy((maps.K @ poses).astype(np.float32)).to(points.device)
    uvw = points @ P[:, :, :3].transpose(1, 2) + P[:, None, :, 3]
    z = uvw[..., 2]
    cell = torch.round(uvw[..., :2] / z[..., None])
    inside = ((cell >= 0) & (cell < maps.side)).all(dim=-1)
    pose, point = torch.nonzero(inside, as_tuple=True)
    slot = pose * maps.side**2 + (cell[..., 1] * maps.side + cell[..., 0])[inside].long()
    depth = z.new_full((len(poses) * maps.side**2,), torch.inf).scatter_reduce(0, slot, z[inside], "amin")
    nearest = torch.nonzero(z[inside] == depth[slot])[:, 0]
    winner = torch.full_like(depth, len(points), dtype=torch.int64)
    winner = winner.scatter_reduce(0, slot[nearest], point[nearest], "amin")
    covered = torch.nonzero((depth > 0) & torch.isfinite(depth))[:, 0]
    return covered % maps.side**2, winner[covered], covered // maps.side**2, len(poses)
