"""Down-sampled maps of one crop that poses are sampled from and scored with (surfemb.md sections 11.3 and 11.4).

The distribution over (cell, surface point) pairs is never held as one matrix: `correlation` leaves the weight of every
cell and group of points, and only the groups that are drawn are looked at again.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional

from pose_models.geometry.cameras import resize_intrinsics
from pose_models.methods.surfemb.correlation import GROUP, group_weights, log_sum_exp

DRAWS_AT_ONCE = 1024


@dataclasses.dataclass(frozen=True)
class Maps:
    """Maps of a crop with side // downsample cells per side; cells are row-major, their centres integers.

    K: (3, 3) intrinsics of the cells.
    mask_prob: (n,) probability that a cell lies on the object.
    log_mask, log_background: (n,) log-probabilities for scoring.
    queries: (n, E) queries that correspondences are drawn with.
    log_norm: (n,) log-sum-exp of their products with all keys.
    group_weights: (n, groups) unnormalised weight (mask_prob * p(point | cell)) ** alpha of each group of points.
    alpha: the exponent that sharpens the distribution.
    sources: (n, S, E + 1): queries whose best log-probability scores a cell (its neighbourhood), each extended by
        minus its log-sum-exp; -inf in that entry where the neighbourhood leaves the crop.
    """

    K: NDArray[np.float64]
    side: int
    mask_prob: Tensor
    log_mask: Tensor
    log_background: Tensor
    queries: Tensor
    log_norm: Tensor
    group_weights: Tensor
    alpha: float
    sources: Tensor


def make_maps(
    mask_logits: Tensor, queries: Tensor, keys: Tensor, K: ArrayLike, downsample: int,
    max_pool: bool = True, average_queries: bool = True, alpha: float = 1.5,
) -> Maps:  # fmt: skip
    """Reduce a crop's network output to cells.

    Args:
        mask_logits: (H, H). queries: (H, H, E). keys: (m, E) of the surface samples. K: (3, 3) of the crop.
        downsample: crop pixels per cell; a remainder at the right and bottom is dropped. alpha: exponent of sampling.
        max_pool: score a cell by the best of its 3x3 neighbours. average_queries: average the queries inside a cell;
            else draw with its centre pixel and score with its best pixel.
    """
    side = mask_logits.shape[0] // downsample
    logits = mask_logits[None, None, : side * downsample, : side * downsample]
    image = queries[: side * downsample, : side * downsample]
    cells = image.reshape(side, downsample, side, downsample, -1).permute(0, 2, 1, 3, 4).flatten(2, 3)
    if average_queries:
        drawn, scored = cells.mean(dim=2).flatten(0, 1), cells.mean(dim=2, keepdim=True)
    else:
        offset = downsample // 2
        drawn, scored = cells[:, :, offset * downsample + offset].flatten(0, 1), cells
    log_norm, weight = group_weights(drawn, keys, alpha)
    mask_prob = torch.sigmoid(functional.avg_pool2d(logits, downsample)).flatten()
    norms = log_norm if average_queries else log_sum_exp(scored.flatten(0, 2), keys)
    extended = torch.cat([scored, -norms.reshape(*scored.shape[:3], 1)], dim=-1)
    pooled = [_block_max(functional.logsigmoid(sign * logits), downsample, max_pool) for sign in (1, -1)]
    return Maps(
        K=resize_intrinsics(K, 1 / downsample, 1 / downsample),
        side=side,
        mask_prob=mask_prob,
        log_mask=pooled[0],
        log_background=pooled[1],
        queries=drawn,
        log_norm=log_norm,
        group_weights=weight.mul_(mask_prob[:, None] ** alpha),
        alpha=alpha,
        sources=_neighbourhoods(extended) if max_pool else extended.flatten(0, 1),
    )


def _block_max(values: Tensor, downsample: int, max_pool: bool) -> Tensor:
    values = functional.max_pool2d(values, downsample)
    return (functional.max_pool2d(values, 3, stride=1, padding=1) if max_pool else values).flatten()


def _neighbourhoods(extended: Tensor) -> Tensor:
    """Gather the sources (h, w, S, E + 1) of every cell's 3x3 neighbours: (h * w, 9 S, E + 1)."""
    height, width = extended.shape[:2]
    padded = extended.new_zeros(height + 2, width + 2, *extended.shape[2:])
    padded[..., -1] = -torch.inf
    padded[1:-1, 1:-1] = extended
    shifted = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return torch.cat(shifted, dim=2).flatten(0, 1).contiguous()


def sample_correspondences(maps: Maps, keys: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Draw (cell, point) pairs from the joint distribution by inverting its cumulative sum.

    Args:
        keys: (m, E). uniforms: (...,) float64 in [0, 1).

    Returns:
        Cell and point indices, each shaped like `uniforms`. Two levels, first a group of points of a cell, then the
        point, give the same index as the flat cumulative sum over all pairs, without its loss of small masses.
    """
    groups = maps.group_weights.shape[1]
    mass = maps.group_weights.flatten()
    cumulative = mass.cumsum(0, dtype=torch.float64)
    target = uniforms.flatten().double() * cumulative[-1]
    slot = torch.searchsorted(cumulative, target).clamp_(max=len(mass) - 1)
    share = ((target - (cumulative[slot] - mass[slot])) / mass[slot].double().clamp_min(1e-300)).clamp_(0, 1)
    cell, group = slot // groups, slot % groups
    padded = functional.pad(keys, (0, 0, 0, groups * GROUP - len(keys))).reshape(groups, GROUP, -1)
    size = torch.full((groups,), GROUP, device=keys.device)
    size[-1] = len(keys) - (groups - 1) * GROUP
    point = torch.empty_like(cell)
    for rows in torch.split(torch.arange(len(slot), device=keys.device), DRAWS_AT_ONCE):
        products = (padded[group[rows]] @ maps.queries[cell[rows]][:, :, None])[..., 0]
        log_weight = maps.alpha * (products - maps.log_norm[cell[rows]][:, None])
        log_weight -= log_weight.amax(dim=1, keepdim=True)
        inside = torch.arange(GROUP, device=keys.device) < size[group[rows]][:, None]
        within = (log_weight.exp_() * inside).cumsum(dim=1, dtype=torch.float64)
        found = (within < share[rows][:, None] * within[:, -1:]).sum(dim=1)
        point[rows] = group[rows] * GROUP + torch.minimum(found, size[group[rows]] - 1)
    return cell.reshape(uniforms.shape), point.reshape(uniforms.shape)
