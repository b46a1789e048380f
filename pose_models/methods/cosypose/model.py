"""CosyPose as a LightningModule, and its checkpoints.

A checkpoint carries settings, object ids and weights; meshes and symmetries come from the folder of models. Coarse
network and refiner are trained at once, on the same samples: they share nothing but these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pose_models.meshes.mesh import Mesh
from pose_models.methods.cosypose.config import CosyPoseSettings, NetworkSettings, Stage
from pose_models.methods.cosypose.losses import disentangled_loss, plain_loss, symmetric_distance
from pose_models.methods.cosypose.matching import (
    CoarseMatching,
    Matches,
    MatchingNetwork,
    RefinerMatching,
    matching_loss,
)
from pose_models.methods.cosypose.network import Comparer, Comparison, PoseNetwork, sampled
from pose_models.methods.cosypose.objects import ObjectTable
from pose_models.methods.cosypose.pictures import comparison_picture
from pose_models.methods.cosypose.poses import transformed
from pose_models.settings import validate
from pose_models.training import checkpoints
from pose_models.training.module import LossModule
from pose_models.training.optimizers import configured

FAMILY = "cosypose"


class CosyPoseModule(LossModule):
    """The networks of all stages, by name."""

    def __init__(self, settings: CosyPoseSettings, object_ids: Sequence[int]) -> None:
        super().__init__()
        self.settings, self.object_ids = settings, sorted(object_ids)
        self.networks = nn.ModuleDict({stage: _network(stage, settings.network) for stage in settings.network.stages})
        self._world: tuple[Mapping[int, Mesh], ObjectTable] | None = None
        self._comparer: Comparer | None = None

    def show(self, meshes: Mapping[int, Mesh], table: ObjectTable) -> None:
        """Say what the objects look like; needed to train."""
        self._world, self._comparer = (meshes, table), None

    @property
    def comparer(self) -> Comparer:
        """Objects on the module's device, prepared when they are first needed."""
        if self._world is None:
            raise RuntimeError("CosyPoseModule.show has to come first")
        if self._comparer is None or self._comparer.device.type != self.device.type:
            self._comparer = Comparer(*self._world, self.settings.network, self.device)
        return self._comparer

    def loss(self, stage: Stage, batch: Mapping[str, Tensor]) -> Tensor:
        """Loss (B,) in metres of one network on a batch as `data.py` makes it."""
        comparer, index, T = self.comparer, batch["object_index"], batch[f"start_{stage}"]
        everyone = torch.arange(len(index), device=index.device)
        with torch.autocast(index.device.type, enabled=False):
            seen = comparer.compare(batch["image"], everyone, batch["K"], index, T)
        return self.judged(seen, *self.answer(stage, seen), batch)

    def answer(self, stage: Stage, seen: Comparison) -> tuple[Tensor, Matches | None]:
        """A network's output, and what it comes from where the network matches points."""
        network = self.networks[stage]
        if not isinstance(network, MatchingNetwork):
            return network(seen), None
        matches = network.match(seen)
        return network.output(seen, matches), matches

    def judged(self, seen: Comparison, output: Tensor, matches: Matches | None, batch: Mapping[str, Tensor]) -> Tensor:
        """Loss (B,) in metres of an answer."""
        index, points, settings = batch["object_index"], batch["points"], self.settings.loss
        with torch.autocast(index.device.type, enabled=False):
            possible = batch["T_cam_obj"][:, None] @ self.comparer.symmetries[index]
            judge = disentangled_loss if settings.kind == "disentangled" else plain_loss
            loss = judge(output.to(seen.T), possible, seen.T, seen.K_crop, points)
            if matches is None:
                return loss
            everyone = torch.arange(len(index), device=index.device)
            nearest = possible[everyone, symmetric_distance(possible, seen.T, points)[1]]
            true_points = transformed(nearest @ torch.linalg.inv(seen.T), matches.points)
            visible = self.comparer.faces_camera(index, nearest, seen.K_crop, true_points)
            visible = visible & sampled(batch["visible"], true_points, batch["K"])
            return loss + settings.matches * matching_loss(matches, seen, true_points, visible)

    def losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Mean loss of each network, and their sum."""
        each = {f"{stage}_loss": self.loss(stage, batch).mean() for stage in self.settings.network.stages}
        return {"loss": torch.stack(list(each.values())).sum(), **each}

    def validation_picture(self, batch: Mapping[str, Tensor]) -> NDArray[np.uint8]:
        """What the networks see and answer; see `pictures.comparison_picture`."""
        return comparison_picture(self.networks, self.comparer, batch)

    def configure_optimizers(self) -> Any:
        return configured([{"params": self.parameters(), "lr": self.settings.loss.lr}], self.settings.train)

    def clip_networks(self) -> dict[str, Tensor]:
        """Clip the gradient of each network by itself; the norms it had, by stage."""
        limit = self.settings.loss.clip
        return {s: nn.utils.clip_grad_norm_(_parameters(network), limit) for s, network in self.networks.items()}

    def configure_gradient_clipping(self, *_arguments: Any, **_options: Any) -> None:
        """Called by the trainer before each step."""
        for stage, norm in self.clip_networks().items():
            self.log(f"train/{stage}_gradient_norm", norm)


def _network(stage: Stage, settings: NetworkSettings) -> nn.Module:
    if settings.backbone != "matching":
        return PoseNetwork(settings)
    return CoarseMatching(settings) if stage == "coarse" else RefinerMatching(settings)


def _parameters(network: nn.Module) -> Iterator[nn.Parameter]:
    return network.parameters()


def save_model(path: str | Path, model: CosyPoseModule) -> None:
    """Write what inference needs, whole or not at all."""
    checkpoints.save_model(path, FAMILY, model.settings, model, object_ids=model.object_ids)


def load_model(path: str | Path) -> CosyPoseModule:
    """Read a checkpoint written by `save_model`.

    Raises:
        InputError: missing, unreadable, or another method's checkpoint.
    """
    content = checkpoints.load_checkpoint(path, FAMILY)
    model = CosyPoseModule(validate(CosyPoseSettings, content["settings"], str(path)), content["object_ids"])
    return checkpoints.with_weights(model, content, path)
