"""What the training loop does beside optimising: checkpoints, the metrics file, the progress line."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
from tqdm import tqdm

from pose_models.files import atomic_path, write_text


class LastCheckpoint(lightning.Callback):
    """Write `last.ckpt` whole after every chunk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        with atomic_path(self.path) as temporary:
            trainer.save_checkpoint(temporary)


class MetricsCsv(lightning.Callback):
    """`metrics.csv`: means of the logged values since the last row, one row per `every` steps and validation.

    Rows after the step that a run resumes from are dropped, so the file is that of an undisturbed run.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every
        self.rows: list[dict[str, float]] = []
        self.sums: dict[str, float] = {}
        self.count = 0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self.path.exists():
            with self.path.open(newline="") as stream:
                rows = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(stream)]
            self.rows = [row for row in rows if row["step"] <= trainer.global_step]
        self.start = time.monotonic() - (self.rows[-1]["seconds"] if self.rows else 0.0)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        for name, value in trainer.callback_metrics.items():
            if name.startswith("train/"):
                self.sums[name] = self.sums.get(name, 0.0) + float(value)
        self.count += 1
        if self.count == self.every:
            self._add(trainer.global_step, {name: total / self.count for name, total in self.sums.items()})
            self.sums, self.count = {}, 0

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        values = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("valid/")}
        if values and not trainer.sanity_checking:
            self._add(trainer.global_step, values)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.sums, self.count = {}, 0
        names = ["step", "seconds", *sorted({name for row in self.rows for name in row} - {"step", "seconds"})]
        lines = [",".join(names)] + [",".join(_text(row.get(name)) for name in names) for row in self.rows]
        write_text(self.path, "\n".join(lines) + "\n")

    def _add(self, step: int, values: Mapping[str, float]) -> None:
        self.rows.append({"step": step, "seconds": time.monotonic() - self.start, **values})


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


class ProgressLine(lightning.Callback):
    """One progress line: steps done, rate, time left, loss."""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        interval = 0.5 if sys.stderr.isatty() else 10.0
        total = trainer.max_steps
        self.bar = tqdm(
            total=total, initial=trainer.global_step, desc="training", unit="step", mininterval=interval, maxinterval=60
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
