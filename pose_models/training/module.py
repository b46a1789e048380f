"""What methods' modules share: they have losses, of which every one is logged and their sum is learnt from."""

from __future__ import annotations

from collections.abc import Mapping

import lightning
from torch import Tensor


class LossModule(lightning.LightningModule):
    """A module whose `losses` of a batch are scalars by name; `loss` is what it learns from."""

    def losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Losses of a batch as the method's samples make it."""
        raise TypeError(f"{type(self).__name__} has no losses")

    def training_step(self, batch: Mapping[str, Tensor], _: int) -> Tensor:
        losses = self.losses(batch)
        self.log_dict({f"train/{name}": value.detach() for name, value in losses.items()})
        return losses["loss"]

    def validation_step(self, batch: Mapping[str, Tensor], _: int) -> None:
        losses = self.losses(batch)
        count = len(next(iter(batch.values())))
        self.log_dict({f"valid/{name}": value for name, value in losses.items()}, batch_size=count)
