"""Scores of pose hypotheses: mask and correspondence likelihood (surfemb.md section 11.7).

`score_poses` runs compiled loops on a CPU and torch on a GPU; `score_poses_torch` is the readable twin that the tests
hold the loops to.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pose_models.compiled import carray, kernel
from pose_models.methods.surfemb.maps import Maps

_TILE = 2048


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
    P = np.ascontiguousarray(maps.K @ poses, dtype=np.float32)
    background = maps.log_background.numpy()
    gain = np.ascontiguousarray((maps.log_mask - maps.log_background).numpy())
    mask, coordinates = np.empty(len(poses)), np.empty(len(poses))
    depth = np.empty(_TILE, np.float32)
    scratch = np.empty(_TILE, np.int32), depth, depth.view(np.int32), np.empty(maps.side**2 + 1, np.int64)
    surface = np.ascontiguousarray(points.numpy().T), len(points), np.ascontiguousarray(keys.numpy()), keys.shape[1]
    sources = np.ascontiguousarray(maps.sources.numpy())
    _score(P, len(P), *surface, sources, sources.shape[1], maps.side, gain, _TILE, *scratch, mask, coordinates)
    mask = (mask + float(background.sum(dtype=np.float64))) / len(background) / math.log(2)
    return Scores(mask, coordinates / math.log(len(points)))


@kernel("void", "f4*", "i8", "f4*", "i8", "f4*", "i8", "f4*", "i8", "i8", "f4*", "i8", "i4*", "f4*", "i4*", "i8*",
        "f8*", "f8*")  # fmt: skip
def _score(  # type: ignore[no-untyped-def]
    matrices, poses, points, count, keys, width, sources, per_cell, side, gain, tile, cells, depths, depth_bits,
    nearest, mask, coordinates,
):  # fmt: skip
    """For every projection matrix (3, 4): sum of `gain` over covered cells, mean best log-probability over them.

    points (3, count); sources (side * side, per_cell, width + 1). Neither loop over points has branches: projection
    runs in vector registers, into a tile; the nearest point of a cell is the least of (depth, index) packed into one
    integer, for positive float32 numbers are in the order of their bits, and negative ones below all of them. Points
    outside go to a slot after the last cell. depth_bits is the memory of depths.
    """
    projections = carray(matrices, (poses, 12))
    x, y, z = carray(points, (3, count))
    key_of = carray(keys, (count, width))
    source_of = carray(sources, (side * side, per_cell, width + 1))
    gain_of = carray(gain, (side * side,))
    cell_of, depth_of, bits_of = carray(cells, (tile,)), carray(depths, (tile,)), carray(depth_bits, (tile,))
    closest = carray(nearest, (side * side + 1,))
    outside, never = np.int32(side * side), np.int64(0x7FFFFFFFFFFFFFFF)
    mask_of, coordinate_of = carray(mask, (poses,)), carray(coordinates, (poses,))
    for pose in range(poses):
        closest[:] = never
        a, b, c, d, e, f, g, h, i, j, k, l = projections[pose]  # noqa: E741
        for start in range(0, count, tile):
            stop = min(tile, count - start)
            for n in range(stop):
                px, py, pz = x[start + n], y[start + n], z[start + n]
                w = i * px + j * py + k * pz + l
                u = np.rint((a * px + b * py + c * pz + d) / w)
                v = np.rint((e * px + f * py + g * pz + h) / w)
                inside = (u >= 0) & (u < side) & (v >= 0) & (v < side)
                depth_of[n] = w
                cell_of[n] = np.int32(v) * np.int32(side) + np.int32(u) if inside else outside
            for n in range(stop):
                cell = cell_of[n]
                closest[cell] = min(closest[cell], (np.int64(bits_of[n]) << 32) | np.int64(start + n))
        covered, mask_sum, coordinate_sum = 0, 0.0, 0.0
        for cell in range(side * side):
            if closest[cell] > 0 and closest[cell] != never:
                point = closest[cell] & np.int64(0xFFFFFFFF)
                covered += 1
                mask_sum += gain_of[cell]
                best: Any = np.float32(-np.inf)
                for source in range(per_cell):
                    value = source_of[cell, source, width]
                    for channel in range(width):
                        value += source_of[cell, source, channel] * key_of[point, channel]
                    best = max(best, value)
                coordinate_sum += best
        mask_of[pose] = mask_sum
        coordinate_of[pose] = coordinate_sum / covered if covered else -np.inf


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
