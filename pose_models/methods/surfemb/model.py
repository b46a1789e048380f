"""SurfEmb as a LightningModule, and its checkpoints.

A checkpoint carries everything inference needs: settings, object ids and their bounding spheres, weights. Objects
are indexed by their position in the ascending list of object ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pose_models.files import InputError
from pose_models.methods.surfemb.config import SurfEmbSettings
from pose_models.methods.surfemb.data import from_network
from pose_models.methods.surfemb.keys import KeyNetwork, Sphere
from pose_models.methods.surfemb.losses import correspondence_loss, mask_loss, sample_queries
from pose_models.methods.surfemb.network import QueryNetwork
from pose_models.methods.surfemb.pictures import key_colors, query_colors, strip
from pose_models.settings import validate
from pose_models.training import checkpoints
from pose_models.training.module import LossModule
from pose_models.training.optimizers import configured

FAMILY = "surfemb"
PICTURED = 2  # validation samples in a picture


class SurfEmbModule(LossModule):
    """Query network of all objects and one key network per object."""

    def __init__(
        self, settings: SurfEmbSettings, spheres: Mapping[int, Sphere], pretrained: bool | None = None
    ) -> None:
        super().__init__()
        self.settings = settings
        self.object_ids = sorted(spheres)
        self.spheres = dict(spheres)
        network = settings.network
        self.query_network = QueryNetwork(network, len(self.object_ids), pretrained)
        self.key_networks = nn.ModuleList(KeyNetwork(network) for _ in self.object_ids)

    def object_index(self, obj_id: int) -> int:
        """Position of an object in this model.

        Raises:
            InputError: the model was not trained on the object.
        """
        if obj_id not in self.spheres:
            raise InputError(f"object {obj_id} is not among the checkpoint's objects {self.object_ids}")
        return self.object_ids.index(obj_id)

    def keys(self, points: Tensor, object_index: Tensor) -> Tensor:
        """Keys (B, P, E) of normalised points (B, P, 3), one object per item (B,)."""
        result: list[Tensor] = []
        order = []
        for index in torch.unique(object_index).tolist():
            members = torch.nonzero(object_index == index)[:, 0]
            result.append(self.key_networks[index](points[members]))
            order.append(members)
        return torch.cat(result)[torch.argsort(torch.cat(order))]

    def losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Losses of a batch as `data.py` makes it.

        Mixed precision is for the image network alone: sines of 30 times a sum, and logarithms of sums over a thousand
        exponentials, need float32.
        """
        index = batch["object_index"]
        images = batch["image"].to(memory_format=torch.channels_last)
        output = self.query_network(images, index).float()
        with torch.autocast(output.device.type, enabled=False):
            logits, queries = output[:, 0], output[:, 1:]
            positives = batch["positives"].shape[1]
            keys = self.keys(torch.cat([batch["positives"], batch["negatives"]], dim=1), index)
            sampled = sample_queries(queries, batch["pixels_yx"])
            nce = correspondence_loss(sampled, keys[:, :positives], keys[:, positives:])
            mask = mask_loss(logits, batch["mask"])
        return {"loss": nce + mask, "nce_loss": nce, "mask_loss": mask}

    @torch.no_grad()
    def validation_picture(self, batch: Mapping[str, Tensor]) -> NDArray[np.uint8]:
        """Crop, mask probability, queries and keys (at the true coordinates), one row for each of the first samples."""
        batch = {name: value[:PICTURED] for name, value in batch.items()}
        index, coordinates = batch["object_index"], batch["coordinates"]
        output = self.query_network(batch["image"].to(memory_format=torch.channels_last), index).float()
        keys = self.keys(coordinates.flatten(1, 2), index).reshape(*coordinates.shape[:3], -1).cpu().numpy()
        means = self.keys(batch["negatives"], index).mean(dim=1).cpu().numpy()
        masks = batch["mask"].cpu().numpy() > 0
        probabilities, queries = torch.sigmoid(output[:, 0]).cpu().numpy(), output[:, 1:].permute(0, 2, 3, 1).cpu()
        rows = [
            strip(from_network(image), probabilities[n], query_colors(queries[n].numpy()),
                  key_colors(keys[n], masks[n], means[n]))
            for n, image in enumerate(batch["image"])
        ]  # fmt: skip
        return np.concatenate(rows)

    def configure_optimizers(self) -> Any:
        loss = self.settings.loss
        groups = [
            {"params": self.query_network.parameters(), "lr": loss.lr_image, "name": "image"},
            {"params": self.key_networks.parameters(), "lr": loss.lr_key, "name": "key"},
        ]
        return configured(groups, self.settings.train)


def save_model(path: str | Path, model: SurfEmbModule) -> None:
    """Write what inference needs, whole or not at all."""
    spheres = {obj_id: [*sphere.center, sphere.radius] for obj_id, sphere in model.spheres.items()}
    checkpoints.save_model(path, FAMILY, model.settings, model, spheres=spheres)


def load_model(path: str | Path) -> SurfEmbModule:
    """Read a checkpoint written by `save_model`.

    Raises:
        InputError: missing, unreadable, or another method's checkpoint.
    """
    content = checkpoints.load_checkpoint(path, FAMILY)
    settings = validate(SurfEmbSettings, content["settings"], str(path))
    spheres = {int(key): Sphere(tuple(values[:3]), float(values[3])) for key, values in content["spheres"].items()}
    return checkpoints.with_weights(SurfEmbModule(settings, spheres, pretrained=False), content, path)


def spheres_of(object_ids: Sequence[int], centers: Sequence[Any], radii: Sequence[float]) -> dict[int, Sphere]:
    """Bounding spheres by object id from centers (N, 3) mm and radii (N,) mm."""
    rows = zip(object_ids, centers, radii, strict=True)
    return {obj_id: Sphere((float(c[0]), float(c[1]), float(c[2])), float(r)) for obj_id, c, r in rows}
