"""What the training loop does beside optimising: checkpoints, the metrics file, pictures, the progress line."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import lightning
import numpy as np
import torch
from lightning.pytorch.loggers import WandbLogger
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from pose_models.datasets.image_files import write_png
from pose_models.files import atomic_path, write_text


@runtime_checkable
class Pictured(Protocol):
    """A module that can draw what it makes of validation samples."""

    def validation_picture(self, batch: Any) -> NDArray[np.uint8]:
        """RGB picture (H, W, 3) of the first samples of a batch on the module's device."""
        ...


class ValidationPictures(lightning.Callback):
    """`valid_<step>.png` at every validation, of the same first samples each time, and to the logger where it is on.

    Args:
        folder: where the pictures go.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if batch_idx or not trainer.is_global_zero or not isinstance(pl_module, Pictured):
            return
        picture = pl_module.validation_picture(batch)
        with atomic_path(self.folder / f"valid_{trainer.global_step:07d}.png") as temporary:
            write_png(temporary, picture[..., ::-1])
        if isinstance(trainer.logger, WandbLogger):
            trainer.logger.log_image("valid/picture", [picture], step=trainer.global_step)


class LearningRates(lightning.Callback):
    """Logs `train/lr`, or `train/lr_<name>` of each named parameter group."""

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        for group in trainer.optimizers[0].param_groups:
            pl_module.log(f"train/lr_{group['name']}" if "name" in group else "train/lr", group["lr"])


class LastCheckpoint(lightning.Callback):
    """Write `last.ckpt` whole after every chunk. All processes take part, the main one writes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not trainer.is_global_zero:
            trainer.save_checkpoint(self.path)
            return
        with atomic_path(self.path) as temporary:
            trainer.save_checkpoint(temporary)


class MetricsCsv(lightning.Callback):
    """`metrics.csv`: means of the logged values since the last row, one row per `every` steps and validation.

    Values are those of all processes together. `data_wait` is the share of the time in which the main process waited
    for samples: near 0 the device is busy, otherwise more loading processes help. Rows after the step that a run
    resumes from are dropped, so the file is that of an undisturbed run.

    Args:
        path: the file.
        every: steps per row.
        valid_count: validation samples of this process.
    """

    def __init__(self, path: Path, every: int, valid_count: int) -> None:
        self.path, self.every, self.valid_count = path, every, valid_count
        self.rows: list[dict[str, float]] = []
        self.sums: dict[str, Tensor] = {}
        self.count = 0
        self.waited = 0.0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self.path.exists():
            with self.path.open(newline="") as stream:
                rows = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(stream)]
            self.rows = [row for row in rows if row["step"] <= trainer.global_step]
        self.start = time.monotonic() - (self.rows[-1]["seconds"] if self.rows else 0.0)
        self._start_row()

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.waited += time.monotonic() - self.idle_since

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        for name, value in trainer.callback_metrics.items():
            if name.startswith("train/"):  # summed on the device: reading a value there would wait for every step
                self.sums[name] = self.sums.get(name, torch.zeros_like(value, dtype=torch.float64)) + value
        self.count += 1
        self.idle_since = time.monotonic()
        if self.count == self.every:
            wait = {"data_wait": self.waited / max(time.monotonic() - self.row_start, 1e-9)}
            self._add(trainer.global_step, _means(trainer, self.sums, self.count) | wait)
            self._start_row()

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        values = {k: v.double() * self.valid_count for k, v in trainer.callback_metrics.items() if k[:6] == "valid/"}
        if values and not trainer.sanity_checking:
            self._add(trainer.global_step, _means(trainer, values, self.valid_count))

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._start_row()
        if not trainer.is_global_zero:
            return
        names = ["step", "seconds", *sorted({name for row in self.rows for name in row} - {"step", "seconds"})]
        lines = [",".join(names)] + [",".join(_text(row.get(name)) for name in names) for row in self.rows]
        write_text(self.path, "\n".join(lines) + "\n")

    def _add(self, step: int, values: Mapping[str, float]) -> None:
        self.rows.append({"step": step, "seconds": time.monotonic() - self.start, **values})

    def _start_row(self) -> None:
        self.sums, self.count, self.waited = {}, 0, 0.0
        self.row_start = self.idle_since = time.monotonic()


def _means(trainer: lightning.Trainer, sums: Mapping[str, Tensor], count: int) -> dict[str, float]:
    """Sums over `count` values each, divided; over the values of all processes where there are several."""
    if not sums:
        return {}
    totals = torch.stack([total.double() for total in sums.values()])
    both = trainer.strategy.reduce(torch.cat([totals, totals.new_tensor([count])]), reduce_op="sum")
    return dict(zip(sums, (both[:-1] / both[-1]).tolist(), strict=True))


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


class ProgressLine(lightning.Callback):
    """One progress line: steps done, rate, time left, loss."""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.bar = tqdm(
            total=trainer.max_steps,
            initial=trainer.global_step,
            desc="training",
            unit="step",
            mininterval=0.5 if sys.stderr.isatty() else 10.0,
            maxinterval=60,
            disable=not trainer.is_global_zero,
        )

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx % 20 == 0:
            self.bar.set_postfix_str(f"loss {float(outputs['loss']):.3f}", refresh=False)
        self.bar.update(trainer.global_step - self.bar.n)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.bar.close()

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        if hasattr(self, "bar"):
            self.bar.close()  # or the error's sentence would stand in the middle of the progress line
