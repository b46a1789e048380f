"""The key network: a SIREN that maps surface points to keys (surfemb.md section 7.2)."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor, nn

from pose_models.methods.surfemb.config import NetworkSettings

INNER_OMEGA = 30.0


@dataclasses.dataclass(frozen=True)
class Sphere:
    """Minimum bounding sphere of an object: center (3,) mm, radius mm. Networks see (x - center) / radius."""

    center: tuple[float, float, float]
    radius: float


class SineLayer(nn.Module):
    """sin(omega (W x + b)); the first layer of a SIREN is initialised differently from the others."""

    def __init__(self, inputs: int, outputs: int, omega: float, first: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.omega = omega
        bound = 1 / inputs if first else math.sqrt(6 / inputs) / INNER_OMEGA
        nn.init.uniform_(self.linear.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.omega * self.linear(x))


class KeyNetwork(nn.Module):
    """Keys of surface points of one object.

    `forward` maps points (..., 3), normalised by the object's bounding sphere, to keys (..., embedding_dim).
    """

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        width, omega = settings.key_width, settings.key_omega
        last = nn.Linear(width, settings.embedding_dim)
        bound = settings.key_gain * math.sqrt(6 / width) / INNER_OMEGA
        nn.init.uniform_(last.weight, -bound, bound)
        hidden = [SineLayer(width, width, INNER_OMEGA) for _ in range(settings.key_hidden_layers)]
        self.net = nn.Sequential(SineLayer(3, width, omega, first=True), *hidden, last)

    def forward(self, points: Tensor) -> Tensor:
        result: Tensor = self.net(points)
        return result
