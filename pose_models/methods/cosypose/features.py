"""What the matching networks see, and the U-Net that makes vectors of it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

SEEN = 6  # channels of `colors_and_edges`


class UNet(nn.Module):
    """Maps (B, inputs, H, W), and (B, extra, H / 2, W / 2) if any, to (B, outputs, H / 2, W / 2)."""

    def __init__(self, inputs: int, extra: int, widths: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.stem = convolution(inputs, widths[0], kernel=5, stride=2)
        self.first = convolution(widths[0] + extra, widths[0])
        pairs = list(itertools.pairwise(widths))
        self.down = nn.ModuleList(nn.Sequential(convolution(a, b, stride=2), _Residual(b)) for a, b in pairs)
        kernels = [1, *[3] * (len(pairs) - 1)]
        self.up = nn.ModuleList(convolution(a + b, a, kernel=k) for k, (a, b) in zip(kernels, pairs, strict=True))
        self.last = nn.Conv2d(widths[0], outputs, 1)
        self.to(memory_format=torch.channels_last)  # what a CPU's convolutions would convert to

    def forward(self, images: Tensor, extra: Tensor | None = None) -> Tensor:
        x = self.stem(images)
        levels = [self.first(x if extra is None else torch.cat([x, extra], dim=1))]
        for down in self.down:
            levels.append(down(levels[-1]))
        x = levels.pop()
        for up in reversed(self.up):
            finer = levels.pop()
            x = up(torch.cat([functional.interpolate(x, size=finer.shape[2:], mode="nearest"), finer], dim=1))
        result: Tensor = self.last(x)
        return result


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = convolution(width, width)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(self.first(x)))


def convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def colors_and_edges(images: Tensor) -> Tensor:
    return torch.cat([(images - 0.45) / 0.25, edges(images)], dim=1)


def edges(images: Tensor) -> Tensor:
    """Directions and strength (B, 3, H, W) of the edges in images (B, C, H, W), relative to those around.

    Directions are cosine and sine of twice the angle, times the strength: light beside dark is the same as dark beside
    light, and colours whose edges agree add up. A crop and its render agree in little else.
    """
    padded = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    dx = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    dy = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    strength = torch.sqrt(dx**2 + dy**2)
    safe = strength + 1e-3
    found = torch.stack([(dx**2 - dy**2) / safe, 2 * dx * dy / safe, strength], dim=1).sum(dim=2)
    around = functional.avg_pool2d(found[:, 2:], 9, stride=1, padding=4)
    return found / (around + 0.05)
