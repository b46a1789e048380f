"""A pose network for few samples: it finds points of the render in the crop and solves for the motion.

The networks of the paper learn from 80 million samples what a shifted, turned or more distant object looks like. Here
that is computed (`motion`), and learnt is only where the render's points lie in the crop: from the same pairs, with
the same loss, and an additional one for every point. What follows is the paper's loop.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from pose_models.methods.cosypose.config import NetworkSettings
from pose_models.methods.cosypose.motion import motion_output
from pose_models.methods.cosypose.network import UNIT_DEPTH, UNIT_ROTATION, UNIT_SHIFT, Comparison
from pose_models.methods.cosypose.poses import transformed

STRIDE = 2  # crop pixels per cell side
POINTS = 96
WIDTHS = (24, 48, 96, 96)
KEY_DIM = 32
EDGES = 3  # channels of `edges`
LEAST_VARIANCE = 2.0  # px^2


@dataclasses.dataclass(frozen=True)
class Matches:
    """Where N points of the render lie in the crop's M cells.

    points: (B, N, 3) mm in the camera frame, at the pose of the render. scores: (B, N, M), logits of a point's cell, and
    of a cell's point. places: (B, N, 2) px, the means over the cells. weights: (B, N) 1 / px^2, 0 for points that are none.
    """

    points: Tensor
    scores: Tensor
    places: Tensor
    weights: Tensor


class MatchingNetwork(nn.Module):
    """Maps comparisons to pose updates (B, 9); without training it changes nothing.

    A point of the render and a cell of the crop have a vector each, their product says how well they match; far cells
    are less likely than near ones. The vectors are made by two U-Nets, which see colours, `edges` and, of the render,
    mask, relief and normals.
    """

    spread: Tensor

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.crop_net = UNet(3 + EDGES, 0, WIDTHS, KEY_DIM)
        self.render_net = UNet(3 + EDGES, 5, WIDTHS, KEY_DIM + 1)
        self.gain = nn.Parameter(torch.tensor(1.0))
        self.reach = nn.Parameter(torch.tensor(math.log(0.15 * settings.width)))  # px, logarithm
        self.trust = nn.Parameter(torch.tensor(-3.0))
        shift = UNIT_SHIFT * settings.width
        spread = torch.tensor([shift, shift, UNIT_DEPTH, *[UNIT_ROTATION] * 3])
        self.register_buffer("spread", spread, persistent=False)

    def forward(self, seen: Comparison) -> Tensor:
        return self.output(seen, self.match(seen))

    def match(self, seen: Comparison) -> Matches:
        """Find points of the render in the crop."""
        crop_cells = self.crop_net(_colors_and_edges(seen.crops))
        depth, height = seen.T[:, 2, 3, None, None], seen.crops.shape[2]
        relief = (seen.drawn.positions[..., 2] - depth) / depth * seen.K_crop[:, :1, :1] / (height / 2)
        mask = seen.drawn.mask.to(relief)
        shape = torch.cat([(relief * mask)[:, None], mask[:, None], seen.drawn.normals.movedim(-1, 1) * mask[:, None]], dim=1)
        render_cells = self.render_net(_colors_and_edges(seen.drawn.images), functional.avg_pool2d(shape, STRIDE))

        pixels, is_point = chosen_pixels(seen.drawn.mask, POINTS)
        width = seen.crops.shape[3]
        rows, columns = pixels // width, pixels % width
        cells = rows // STRIDE * (width // STRIDE) + columns // STRIDE
        keys = render_cells.flatten(2).gather(2, cells[:, None].expand(-1, render_cells.shape[1], -1))
        scores = keys[:, :-1].transpose(1, 2) @ crop_cells.flatten(2) * (self.gain / math.sqrt(KEY_DIM))
        grid = cell_centers(crop_cells.shape[2:], scores)
        here = torch.stack([columns, rows], dim=2).to(scores)
        away = ((here[:, :, None] - grid) ** 2).sum(dim=3)
        scores = scores - away * (0.5 * torch.exp(-2 * self.reach))
        likelihood = scores.softmax(dim=2)
        places = likelihood @ grid
        variance = (likelihood @ (grid**2).sum(dim=1) - (places**2).sum(dim=2)).clamp(min=0)
        weights = is_point * torch.exp(self.trust) * torch.sigmoid(keys[:, -1]) * 4 / (variance + LEAST_VARIANCE)
        points = seen.drawn.positions.flatten(1, 2).gather(1, pixels[..., None].expand(-1, -1, 3))
        return Matches(points, scores, places, weights)

    def output(self, seen: Comparison, matches: Matches) -> Tensor:
        """The pose update (B, 9) that brings the points to their places."""
        t, K = seen.T[:, :3, 3], seen.K_crop
        targets = matches.places - K[:, None, :2, 2]
        focal = torch.stack([K[:, 0, 0], K[:, 1, 1]], dim=1)
        return motion_output(matches.points - t[:, None], t, focal, targets, matches.weights, self.spread)


def matching_loss(matches: Matches, seen: Comparison, T_true: Tensor) -> Tensor:
    """Negative log-likelihood (B,) of the points' true cells plus that of these cells' points; nats, mean over points.

    Points that truly lie outside the crop do not count.

    Args:
        T_true: (B, 4, 4), of equivalent true poses the one nearest to the render's.
    """
    columns, rows = seen.crops.shape[3] // STRIDE, seen.crops.shape[2] // STRIDE
    camera = transformed(T_true @ torch.linalg.inv(seen.T), matches.points) @ seen.K_crop.transpose(1, 2)
    place = camera[..., :2] / camera[..., 2:].clamp(min=1)
    cell = (place - (STRIDE - 1) / 2) / STRIDE
    last = cell.new_tensor([columns - 1, rows - 1])
    is_inside = ((cell >= 0) & (cell <= last)).all(dim=2) & (matches.weights > 0)
    cell = torch.minimum(cell.clamp(min=0), last - 1e-3)
    corner = cell.floor()
    x, y = (cell - corner).unbind(dim=2)
    first = (corner[..., 1] * columns + corner[..., 0]).long()
    shares = {0: (1 - x) * (1 - y), 1: x * (1 - y), columns: (1 - x) * y, columns + 1: x * y}
    true = torch.stack([share * _at(matches.scores, first + step) for step, share in shares.items()]).sum(dim=0)
    nearest = (cell[..., 1].round() * columns + cell[..., 0].round()).long()
    of_cells = matches.scores.gather(2, nearest[:, None].expand(-1, matches.scores.shape[1], -1))  # (B, point, cell)
    found = true - matches.scores.logsumexp(dim=2)
    found = found + of_cells.diagonal(dim1=1, dim2=2) - of_cells.logsumexp(dim=1)
    return -(found * is_inside).sum(dim=1) / is_inside.sum(dim=1).clamp(min=1)


def _at(scores: Tensor, cells: Tensor) -> Tensor:
    """Scores (B, N) of points in cells (B, N), from those in all (B, N, M)."""
    return scores.gather(2, cells[..., None])[..., 0]


def chosen_pixels(mask: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Indices (B, N = count) of pixels evenly spread, in reading order, over masks (B, H, W), and whether they are in it."""
    flat = mask.flatten(1)
    inside = flat.sum(dim=1, keepdim=True)
    steps = (torch.arange(count, device=mask.device) + 0.5) / count
    ranks = (steps * inside).long()
    order = torch.argsort((~flat).to(torch.uint8), dim=1, stable=True)
    return order.gather(1, ranks), (inside > 0).expand(-1, count)


def cell_centers(size: Sequence[int], like: Tensor) -> Tensor:
    """Centres (M, 2) x, y px of the cells of a map (height, width), in reading order."""
    y, x = torch.meshgrid(*(torch.arange(n, device=like.device, dtype=like.dtype) for n in size), indexing="ij")
    return torch.stack([x, y], dim=2).flatten(0, 1) * STRIDE + (STRIDE - 1) / 2


class UNet(nn.Module):
    """Maps (B, inputs, H, W), and (B, extra, H / 2, W / 2) if any, to (B, outputs, H / 2, W / 2)."""

    def __init__(self, inputs: int, extra: int, widths: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.stem = _convolution(inputs, widths[0], kernel=5, stride=2)
        self.first = _convolution(widths[0] + extra, widths[0])
        pairs = list(zip(widths, widths[1:], strict=False))
        self.down = nn.ModuleList(nn.Sequential(_convolution(a, b, stride=2), _Residual(b)) for a, b in pairs)
        kernels = [1, *[3] * (len(pairs) - 1)]
        self.up = nn.ModuleList(_convolution(a + b, a, kernel=k) for k, (a, b) in zip(kernels, pairs, strict=True))
        self.last = nn.Conv2d(widths[0], outputs, 1)

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
        self.first = _convolution(width, width)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(self.first(x)))


def _convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _colors_and_edges(images: Tensor) -> Tensor:
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
