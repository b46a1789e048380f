"""Pose networks for few samples: they find points of the object in the crop and solve for its motion.

The networks of the paper learn from 80 million samples what a shifted, turned or more distant object looks like. Here
that is computed (`motion`), and learnt is only where the object's points lie in the crop: from the same pairs, with
the same loss, and an additional one for every point. All else is the paper's loop.
"""

from __future__ import annotations

import abc
import dataclasses
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from pose_models.methods.cosypose.config import NetworkSettings
from pose_models.methods.cosypose.features import SEEN, UNet, colors_and_edges, convolution
from pose_models.methods.cosypose.motion import Motion, Problem, fitted_rotation, output_of, solved
from pose_models.methods.cosypose.network import UNIT_DEPTH, UNIT_ROTATION, UNIT_SHIFT, Comparison
from pose_models.methods.cosypose.places import STRIDE, Found, Likelihoods
from pose_models.methods.cosypose.poses import transformed

POINTS = 96
WIDTHS = (24, 48, 96, 96)
KEY_DIM = 32
PASSES = 3  # of the solver in each window
NAME_DIM = 16
KEY_WIDTH = 128
KEY_GAIN = 8.0
ANYWHERE = 1e4  # px
FREQUENCIES = (1.5, 3.0, 6.0, 12.0, 24.0, 48.0)


@dataclasses.dataclass(frozen=True)
class Matches:
    """How well N points of an object match the cells of the crop.

    points: (B, N, 3) mm in the camera frame, at the pose of the render. likelihoods: of a point's cell, and of a cell's
    point. centers: (B, N, 2) px, where points are expected. reach: () px, standard deviation of the way from there.
    found: in windows of that reach. shown: (B, N), logits of whether a point can be seen; minus infinity: no point.
    """

    points: Tensor
    likelihoods: Likelihoods
    centers: Tensor
    reach: Tensor
    found: Found
    shown: Tensor


class MatchingNetwork(nn.Module, abc.ABC):
    """Maps comparisons to pose updates (B, 9).

    A point and a cell have a vector each, whose product says how well they match. What is made of the products is
    computed in single precision even where the networks are not.
    """

    spread: Tensor
    windows = (0.12, 0.07)  # of the crop's width: where points are searched once their motion is roughly known

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.crop_net = UNet(SEEN, 0, WIDTHS, KEY_DIM)
        self.gain = nn.Parameter(torch.tensor(1.0))
        self.trust = nn.Parameter(torch.tensor(-3.0))
        self.evidence = nn.Parameter(torch.tensor([1.0, 0.0]))
        self.drawn_in = nn.Parameter(torch.tensor(0.0))

    def forward(self, seen: Comparison) -> Tensor:
        return self.output(seen, self.match(seen))

    @abc.abstractmethod
    def match(self, seen: Comparison) -> Matches:
        """Find points of the object in the crop."""

    def output(self, seen: Comparison, matches: Matches) -> Tensor:
        """The pose update (B, 9) that brings the points to their places.

        Gradients are those of the last windows' places, with the windows held where they are.
        """
        t, K = seen.T[:, :3, 3], seen.K_crop
        principal = K[:, None, :2, 2]
        with torch.autocast(t.device.type, enabled=False):
            focal = torch.stack([K[:, 0, 0], K[:, 1, 1]], dim=1)
            problem = Problem(matches.points - t[:, None], t, focal, self.spread)
            certain = torch.exp(self.trust) * torch.sigmoid(matches.shown) * 4
            motion, centers, reach = self.search(problem, matches, certain, principal, seen.crops.shape[3])
            found = matches.likelihoods.find(centers, reach)
            motion = solved(problem, motion, found.places - principal, certain * found.weights, PASSES)
            return output_of(problem, self._enlarged(problem, motion, found, certain))

    @torch.no_grad()
    def search(
        self, problem: Problem, matches: Matches, certain: Tensor, principal: Tensor, width: int
    ) -> tuple[Motion, Tensor, Tensor]:
        """A motion found through ever narrower windows, and centers and reach of the next ones, which are around it."""
        centers, reach, found = matches.centers, matches.reach, matches.found
        first = self.first_rotation(problem.offsets, found.places - principal, certain * found.weights)
        motion = problem.start(first)
        for number, share in enumerate(self.windows):
            if number:
                found = matches.likelihoods.find(centers, reach)
            motion = solved(problem, motion, found.places - principal, certain * found.weights, PASSES)
            centers = problem.projected(motion) + principal
            reach = matches.reach.clamp(max=share * width)
        return motion, centers, reach

    def _enlarged(self, problem: Problem, motion: Motion, found: Found, certain: Tensor) -> Motion:
        """A motion brought nearer by what vague places make objects seem smaller.

        Likelihoods end where the object does, so places near its outline are drawn inwards, the more the vaguer they
        are. The share of their standard deviation over the object's radius is learnt.
        """
        with torch.no_grad():
            share = certain * found.weights + 1e-9
            share = (share / share.sum(dim=1, keepdim=True))[..., None]
            projected = problem.projected(motion)
            away = projected - (share * projected).sum(dim=1, keepdim=True)
            radius = (share * away**2).sum(dim=(1, 2)).sqrt().clamp(min=1)
            vague = (share[..., 0] * found.weights.rsqrt()).sum(dim=1) / radius
        nearer = self.drawn_in * vague / self.spread[2]
        return dataclasses.replace(motion, steps=motion.steps - functional.pad(nearer[:, None], (2, 3)))

    def first_rotation(self, offsets: Tensor, targets: Tensor, weights: Tensor) -> Tensor | None:
        """Where the search for the motion begins, as of `Problem.start`."""
        return None

    def _matched(
        self, points: Tensor, keys: Tensor, cells: Tensor, centers: Tensor, reach: Tensor, is_point: Tensor
    ) -> Matches:
        """Points with keys (B, N, C + 1) among cells (B, C, rows, columns); centers, reach as of `Matches`.

        The keys' last number says how much evidence in the crop a point needs to count as shown.
        """
        with torch.autocast(points.device.type, enabled=False):
            keys, cells = keys.to(points), cells.to(points)
            scores = torch.bmm(keys[..., :-1] * (self.gain / math.sqrt(KEY_DIM)), cells.flatten(2))
            likelihoods = Likelihoods(scores.view(*scores.shape[:2], *cells.shape[2:]))
            found = likelihoods.find(centers, reach)
            excess = found.mass - found.window - keys[..., -1]
            shown = (self.evidence[0] * excess + self.evidence[1]).masked_fill(~is_point, -math.inf)
            return Matches(points, likelihoods, centers, reach, found, shown)


class RefinerMatching(MatchingNetwork):
    """Points are pixels of the render, their keys come from it; far cells are less likely than near ones.

    The U-Nets see colours, `edges` and, of the render, mask, relief and normals. Untrained it changes nothing.
    """

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__(settings)
        self.render_net = UNet(SEEN, 5, WIDTHS, KEY_DIM + 1)
        self.reach = nn.Parameter(torch.tensor(math.log(0.15 * settings.width)))  # px, logarithm
        shift = UNIT_SHIFT * settings.width
        spread = torch.tensor([shift, shift, UNIT_DEPTH, *[UNIT_ROTATION] * 3])
        self.register_buffer("spread", spread, persistent=False)

    def match(self, seen: Comparison) -> Matches:
        crop_cells = self.crop_net(colors_and_edges(seen.crops))
        depth, (height, width) = seen.T[:, 2, 3, None, None], seen.crops.shape[2:]
        relief = (seen.drawn.positions[..., 2] - depth) / depth * seen.K_crop[:, :1, :1] / (height / 2)
        mask = seen.drawn.mask.to(relief)[:, None]
        shape = torch.cat([relief[:, None], torch.ones_like(mask), seen.drawn.normals.movedim(-1, 1)], dim=1) * mask
        render_cells = self.render_net(
            colors_and_edges(seen.drawn.images), functional.avg_pool2d(shape, STRIDE, ceil_mode=True)
        )

        pixels, is_point = chosen_pixels(seen.drawn.mask, POINTS)
        rows, columns = pixels // width, pixels % width
        cells = rows // STRIDE * crop_cells.shape[3] + columns // STRIDE
        keys = render_cells.flatten(2).gather(2, cells[:, None].expand(-1, KEY_DIM + 1, -1))
        here = torch.stack([columns, rows], dim=2).to(seen.T)
        points = seen.drawn.positions.flatten(1, 2).gather(1, pixels[..., None].expand(-1, -1, 3))
        return self._matched(points, keys.transpose(1, 2), crop_cells, here, torch.exp(self.reach), is_point)


class CoarseMatching(MatchingNetwork):
    """Points are those of the model, from all sides; their keys come from where they lie on it.

    The render, which shows every object from the same side, says which one it is.
    """

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__(settings)
        self.name_net = nn.Sequential(convolution(SEEN, 24, 5, 2), convolution(24, 32, 3, 2), nn.Flatten())
        cells = math.ceil(settings.height / 4) * math.ceil(settings.width / 4)
        self.name = nn.Linear(32 * cells, NAME_DIM)
        self.key_net = nn.Sequential(
            nn.Linear(3 + 6 * len(FREQUENCIES) + NAME_DIM, KEY_WIDTH),
            nn.ReLU(inplace=True),
            nn.Linear(KEY_WIDTH, KEY_WIDTH),
            nn.ReLU(inplace=True),
            nn.Linear(KEY_WIDTH, KEY_DIM + 1),
        )
        shift = UNIT_SHIFT * settings.width
        spread = torch.tensor([*[10 * shift] * 2, 3 * UNIT_DEPTH, *[UNIT_ROTATION] * 3])
        self.register_buffer("spread", spread, persistent=False)

    def match(self, seen: Comparison) -> Matches:
        crop_cells = self.crop_net(colors_and_edges(seen.crops))
        model = seen.points[:, :POINTS]
        on_object = model / model.norm(dim=2).amax(dim=1)[:, None, None].clamp(min=1e-6)
        waves = (on_object[..., None] * on_object.new_tensor(FREQUENCIES)).flatten(2)
        name = self.name(self.name_net(colors_and_edges(seen.drawn.images)))[:, None].expand(-1, model.shape[1], -1)
        keys = self.key_net(torch.cat([on_object, torch.sin(waves), torch.cos(waves), name], dim=2))
        keys = torch.cat([KEY_GAIN * keys[..., :-1], keys[..., -1:]], dim=2)
        is_point = torch.ones_like(keys[..., 0], dtype=torch.bool)
        middle = model.new_tensor([seen.crops.shape[3] - 1, seen.crops.shape[2] - 1]) / 2
        anywhere = middle.new_tensor(ANYWHERE)
        return self._matched(
            transformed(seen.T, model), keys, crop_cells, middle.expand(*keys.shape[:2], 2), anywhere, is_point
        )

    def first_rotation(self, offsets: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        return fitted_rotation(offsets, targets, weights)


def matching_loss(matches: Matches, seen: Comparison, true_points: Tensor, is_visible: Tensor) -> Tensor:
    """How unlikely the truth is (B,), nats: the cells of visible points, the points of these cells, who is visible.

    Args:
        true_points: (B, N, 3) mm, where the points are in the camera frame, at that of equivalent true poses that is
            nearest to the render's. is_visible: (B, N) whether they can be seen there.
    """
    rows, columns = (-(-size // STRIDE) for size in seen.crops.shape[2:])
    scores = matches.likelihoods.scores
    rows, columns = scores.shape[2:]
    homogeneous = true_points @ seen.K_crop.transpose(1, 2)
    place = homogeneous[..., :2] / homogeneous[..., 2:].clamp(min=1)
    cell = (place - (STRIDE - 1) / 2) / STRIDE
    last = cell.new_tensor([columns - 1, rows - 1])
    is_point = matches.shown > -math.inf
    counts = is_visible & ((cell >= 0) & (cell <= last)).all(dim=2) & is_point
    cell = torch.minimum(cell.clamp(min=0), last - 1e-3)
    corner = cell.floor()
    x, y = (cell - corner).unbind(dim=2)
    first = (corner[..., 1] * columns + corner[..., 0]).long()
    shares = torch.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y], dim=2)
    corners = first[..., None] + torch.tensor([0, 1, columns, columns + 1], device=first.device)
    nearest = cell.round()
    others = (nearest[..., 1] * columns + nearest[..., 0]).long()[:, None].expand(-1, first.shape[1], -1)
    chosen = scores.flatten(2).gather(2, torch.cat([corners, others], dim=2))
    precision = -0.5 * matches.reach**-2
    true = (shares * chosen[..., :4]).sum(dim=2) + precision * ((place - matches.centers) ** 2).sum(dim=2)
    centers = STRIDE * nearest + (STRIDE - 1) / 2
    away = ((matches.centers[:, :, None] - centers[:, None]) ** 2).sum(dim=3)
    of_cells = chosen[..., 4:] + precision * away  # (B, point, cell)
    found = true - matches.found.mass
    found = found + of_cells.diagonal(dim1=1, dim2=2) - of_cells.logsumexp(dim=1)
    loss = -(found * counts).sum(dim=1) / counts.sum(dim=1).clamp(min=1)
    shown = matches.shown.masked_fill(~is_point, 0)
    answers = functional.binary_cross_entropy_with_logits(shown, counts.to(loss), reduction="none") * is_point
    return loss + answers.mean(dim=1)


def chosen_pixels(mask: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Indices (B, N = count) of pixels evenly spread, in reading order, over masks (B, H, W); whether there are any."""
    flat = mask.flatten(1)
    inside = flat.sum(dim=1, keepdim=True)
    steps = (torch.arange(count, device=mask.device) + 0.5) / count
    ranks = (steps * inside).long()
    order = torch.argsort((~flat).to(torch.uint8), dim=1, stable=True)
    return order.gather(1, ranks), (inside > 0).expand(-1, count)
