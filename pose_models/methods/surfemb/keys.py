"""The key network: a SIREN that maps surface points to keys (surfemb.md section 7.2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

OMEGA = 30.0


class SineLayer(nn.Module):
    """sin(omega (W x + b)); the first layer of a SIREN is initialised differently from the others."""

    def __init__(self, inputs: int, outputs: int, first: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        bound = 1 / inputs if first else math.sqrt(6 / inputs) / OMEGA
        nn.init.uniform_(self.linear.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(OMEGA * self.linear(x))


class KeyNetwork(nn.Module):
    """Keys of surface points of one object.

    `forward` maps points (..., 3), normalised by the object's bounding sphere, to keys (..., embedding_dim).
    `gain` multiplies the initial weights of the last layer: trained ones are about sixty times the paper's initial
    ones, and a small learning rate takes long to grow them.
    """

    def __init__(self, embedding_dim: int, width: int = 256, hidden_layers: int = 2, gain: float = 1.0) -> None:
        super().__init__()
        last = nn.Linear(width, embedding_dim)
        bound = gain * math.sqrt(6 / width) / OMEGA
        nn.init.uniform_(last.weight, -bound, bound)
        hidden = [SineLayer(width, width) for _ in range(hidden_layers)]
        self.net = nn.Sequential(SineLayer(3, width, first=True), *hidden, last)

    def forward(self, points: Tensor) -> Tensor:
        result: Tensor = self.net(points)
        return result
