"""Sums over all pairs of queries and keys, in one pass that holds a few megabytes of them at a time.

A crop has some 5,500 cells and an object some 73,000 surface points: 4e8 pairs, 10 GFLOP of products and as many
exponentials, 1.6 GB where they are all kept. Here every product is made once: blocks of rows and columns go through
the cache and leave the rows' log-sum-exp and, for sampling, the weight of every `GROUP` consecutive points.
"""

from __future__ import annotations

import torch
from torch import Tensor

GROUP = 128  # points per stored weight; a draw looks at one group's points again
_ROWS, _GROUPS = 256, 4  # of a block on a CPU: half a megabyte of products, within the cache
_GPU_ROWS, _GPU_GROUPS = 2048, 128  # 134 MB: few launches


def log_sum_exp(queries: Tensor, keys: Tensor) -> Tensor:
    """log sum_k exp(q . k), (n,), of queries (n, E) and keys (m, E)."""
    return torch.cat([_rows(queries[rows], keys, None)[0] for rows in _row_blocks(queries)])


def group_weights(queries: Tensor, keys: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Normalisation of the softmax of queries (n, E) over keys (m, E), and its mass by groups of points.

    Returns:
        log-sum-exp (n,), and sum of p(point | query) ** alpha over each group of `GROUP` points: (n, ceil(m / GROUP)).
    """
    parts = [_rows(queries[rows], keys, alpha) for rows in _row_blocks(queries)]
    return torch.cat([log_norm for log_norm, _ in parts]), torch.cat([weight for _, weight in parts])


def _row_blocks(queries: Tensor) -> list[slice]:
    step = _ROWS if queries.device.type == "cpu" else _GPU_ROWS
    return [slice(start, start + step) for start in range(0, len(queries), step)]


def _rows(queries: Tensor, keys: Tensor, alpha: float | None) -> tuple[Tensor, Tensor]:
    """Log-sum-exp (r,) and, where alpha is given, group weights (r, groups) of a block of rows."""
    groups = _GROUPS if queries.device.type == "cpu" else _GPU_GROUPS
    floor = -50.0 if alpha is None else -min(50.0, 80.0 / alpha)
    highest, masses, weights = [], [], []
    for start in range(0, len(keys), groups * GROUP):
        products = queries @ keys[start : start + groups * GROUP].T
        top = products.amax(dim=1, keepdim=True)
        # At most 1: nothing overflows, whatever the queries; and no denormal numbers, which are slow.
        probability = products.sub_(top).clamp_min_(floor).exp_()
        highest.append(top[:, 0])
        masses.append(probability.sum(dim=1))
        if alpha is not None:
            weights.append(_by_group(_power(probability, alpha)))
    top = torch.stack(highest, dim=1)
    log_norm = torch.logsumexp(top + torch.stack(masses, dim=1).log(), dim=1)
    if alpha is None:
        return log_norm, log_norm
    scale = torch.exp(alpha * (top - log_norm[:, None]))
    return log_norm, torch.cat([weight * scale[:, [i]] for i, weight in enumerate(weights)], dim=1)


def _power(values: Tensor, alpha: float) -> Tensor:
    """values ** alpha; the paper's exponent without a logarithm."""
    return values.sqrt().mul_(values) if alpha == 1.5 else values**alpha


def _by_group(values: Tensor) -> Tensor:
    """Sums (r, groups) of `GROUP` consecutive columns of (r, points); the last group may be smaller."""
    missing = -values.shape[1] % GROUP
    padded = torch.nn.functional.pad(values, (0, missing)) if missing else values
    return padded.reshape(len(values), -1, GROUP).sum(dim=2)
