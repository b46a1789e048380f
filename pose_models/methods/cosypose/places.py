"""Where points lie in a crop: likelihoods over its cells, read through windows around where the points are expected."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

STRIDE = 2  # crop pixels per cell side
LEAST_VARIANCE = 2.0  # px^2, of a place that is certain
LEAST_SHARE = 0.25  # of a way, that a window is thought to leave of it
LEAST_KNOWN = 0.02  # of what a window alone would say: what a point at least weighs
TINY = 1e-30


@dataclasses.dataclass(frozen=True)
class Found:
    """Where N points seem to lie: places (B, N, 2) px, weights (B, N) 1 / px^2.

    mass: (B, N), logarithm of the likelihood in a point's window. window: (B, N), the same if all scores were zero.
    """

    places: Tensor
    weights: Tensor
    mass: Tensor
    window: Tensor


class Likelihoods:
    """How likely N points lie in each cell of a crop, from scores (B, N, rows, columns), their logarithms."""

    def __init__(self, scores: Tensor) -> None:
        self.scores = scores
        self._top = scores.detach().amax(dim=(2, 3), keepdim=True)
        self._values = torch.exp(scores - self._top)

    def find(self, centers: Tensor, reach: Tensor) -> Found:
        """Read them through Gaussian windows at centers (B, N, 2) px; reach: () px, their standard deviation.

        Mean and variance there are of the product of likelihood and window. The window is divided out again, as if both
        were normal: it says where to look, not what is there. What is as likely everywhere then weighs next to nothing.
        """
        x, y = cell_centers(self.scores.shape[2:], centers)
        dx, dy = x - centers[..., :1], y - centers[..., 1:]
        along, across = torch.exp(-0.5 * (dx / reach) ** 2), torch.exp(-0.5 * (dy / reach) ** 2)
        # Windows are products of one along x and one along y: so are the sums, and no cell has to be written again.
        powers_x = torch.stack([along, along * dx, along * dx**2], dim=3).flatten(0, 1)
        powers_y = torch.stack([across, across * dy, across * dy**2], dim=2).flatten(0, 1)
        moments = torch.bmm(powers_y, torch.bmm(self._values.flatten(0, 1), powers_x)).view(*centers.shape[:2], 3, 3)
        mass = moments[..., 0, 0].clamp(min=TINY)
        mean = torch.stack([moments[..., 0, 1], moments[..., 1, 0]], dim=2) / mass[..., None]
        variance = (moments[..., 0, 2] + moments[..., 2, 0]) / mass - (mean**2).sum(dim=2)
        variance = variance.clamp(min=STRIDE**2 / 12) / 2
        left = 1 - variance / reach**2
        known = left.clamp(min=LEAST_KNOWN)
        weights = known / (variance + LEAST_VARIANCE * known)
        places = centers + mean / left.clamp(min=LEAST_SHARE)[..., None]
        window = (along.sum(dim=2) * across.sum(dim=2)).clamp(min=TINY)
        return Found(places, weights, torch.log(mass) + self._top[..., 0, 0], torch.log(window))


def cell_centers(size: torch.Size | tuple[int, int], like: Tensor) -> tuple[Tensor, Tensor]:
    """x (columns,) and y (rows,) px of the cells of a map (rows, columns)."""
    x, y = (STRIDE * torch.arange(n).to(like) + (STRIDE - 1) / 2 for n in (size[1], size[0]))
    return x, y
