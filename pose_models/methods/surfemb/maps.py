"""Down-sampled maps of one crop that poses are sampled from and scored with (surfemb.md sections 11.3 and 11.4).

The distribution over (cell, surface point) pairs is never held as one matrix: rows are computed in blocks, first for
the cells' masses, then again for the cells that were drawn.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional

from pose_models.geometry.cameras import resize_intrinsics

BLOCK_VALUES = 8_000_000


@dataclasses.dataclass(frozen=True)
class Maps:
    """Maps of a crop with side // downsample cells per side; cells are row-major, their centres integers.

    K: (3, 3) intrinsics of the cells.
    mask_prob: (n,) probability that a cell lies on the object.
    log_mask, log_background: (n,) log-probabilities for scoring.
    queries: (n, E) queries that correspondences are drawn with.
    log_norm: (n,) log-sum-exp of their products with all keys.
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
    sources: Tensor


def make_maps(
    mask_logits: Tensor, queries: Tensor, keys: Tensor, K: ArrayLike, downsample: int,
    max_pool: bool = True, average_queries: bool = True,
) -> Maps:  # fmt: skip
    """Reduce a crop's network output to cells.

    Args:
        mask_logits: (H, H). queries: (H, H, E). keys: (m, E) of the surface samples. K: (3, 3) of the crop.
        downsample: crop pixels per cell; a remainder at the right and bottom is dropped.
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
    log_norm = log_sum_exp(drawn, keys)
    norms = log_norm if average_queries else log_sum_exp(scored.flatten(0, 2), keys)
    extended = torch.cat([scored, -norms.reshape(*scored.shape[:3], 1)], dim=-1)
    pooled = [_block_max(functional.logsigmoid(sign * logits), downsample, max_pool) for sign in (1, -1)]
    return Maps(
        K=resize_intrinsics(K, 1 / downsample, 1 / downsample),
        side=side,
        mask_prob=torch.sigmoid(functional.avg_pool2d(logits, downsample)).flatten(),
        log_mask=pooled[0],
        log_background=pooled[1],
        queries=drawn,
        log_norm=log_norm,
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


def _blocks(rows: int, columns: int) -> list[slice]:
    step = max(1, BLOCK_VALUES // max(1, columns))
    return [slice(start, start + step) for start in range(0, rows, step)]


def log_sum_exp(queries: Tensor, keys: Tensor) -> Tensor:
    """log sum_k exp(q . k) (n,) for queries (n, E) and keys (m, E), in blocks of rows."""
    parts = [torch.logsumexp(queries[rows] @ keys.T, dim=1) for rows in _blocks(len(queries), len(keys))]
    return torch.cat(parts)


def weights(maps: Maps, keys: Tensor, alpha: float, cells: Tensor | slice = slice(None)) -> Tensor:
    """Unnormalised weights (n, m) = (mask_prob * p(point | cell)) ** alpha of all or some cells."""
    log_prob = maps.queries[cells] @ keys.T - maps.log_norm[cells][:, None]
    return (maps.mask_prob[cells][:, None] * log_prob.exp_()) ** alpha


def sample_correspondences(maps: Maps, keys: Tensor, uniforms: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Draw (cell, point) pairs from the joint distribution by inverting its cumulative sum.

    Args:
        keys: (m, E). uniforms: (...,) float64 in [0, 1). alpha: exponent.

    Returns:
        Cell and point indices, each shaped like `uniforms`. Two levels, cell then point, give the same index as the
        flat cumulative sum over all pairs, without its loss of small masses.
    """
    blocks = _blocks(len(maps.queries), len(keys))
    masses = torch.cat([weights(maps, keys, alpha, rows).sum(dim=1, dtype=torch.float64) for rows in blocks])
    cumulative = masses.cumsum(0)
    target = uniforms.flatten().double() * cumulative[-1]
    cell = torch.searchsorted(cumulative, target).clamp_(max=len(masses) - 1)
    residual = target - (cumulative[cell] - masses[cell])
    point = torch.empty_like(cell)
    drawn, inverse = torch.unique(cell, return_inverse=True)
    for rows in _blocks(len(drawn), len(keys)):
        row_sums = weights(maps, keys, alpha, drawn[rows]).cumsum(dim=1, dtype=torch.float64)
        here = (inverse >= rows.start) & (inverse < rows.start + len(row_sums))
        row = inverse[here] - rows.start
        # Rows are searched at once by giving row r the interval [r, r + 1).
        offsets = torch.arange(len(row_sums), device=row_sums.device, dtype=torch.float64)[:, None]
        scaled = (row_sums / row_sums[:, -1:].clamp_min(1e-300) + offsets).flatten()
        share = (residual[here] / masses[drawn[rows]][row]).clamp(0, 1 - 1e-12)
        found = torch.searchsorted(scaled, share + row.double())
        point[here] = (found - row * len(keys)).clamp_(0, len(keys) - 1)
    return cell.reshape(uniforms.shape), point.reshape(uniforms.shape)
