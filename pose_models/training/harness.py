"""The training loop of all methods on Lightning: chunks, checkpoints, exact resume, CSV and wandb logs.

Training is cut into chunks of `chunk_steps` steps. A chunk is one Lightning epoch: it ends with a validation and a
checkpoint `last.ckpt`, and its data depend on the global step alone. So a killed training continues from its last
chunk and, on a CPU, ends with the very weights of an undisturbed one.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any, Protocol

import lightning
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pose_models.files import InputError
from pose_models.training.callbacks import LastCheckpoint, MetricsCsv, ProgressLine
from pose_models.training.config import TrainSettings

log = logging.getLogger(__name__)


class Items(Protocol):
    """Training samples by number: the same number always gives the same sample."""

    def sample(self, number: int) -> dict[str, Tensor]:
        """Training sample `number` (0 <= number < steps * batch_size * processes)."""
        ...

    def valid_sample(self, number: int) -> dict[str, Tensor]:
        """Validation sample `number` (0 <= number < valid_count)."""
        ...

    @property
    def valid_count(self) -> int:
        """Number of validation samples."""
        ...


class _Range(Dataset[dict[str, Tensor]]):
    def __init__(self, items: Items, start: int, stop: int, valid: bool) -> None:
        self.items, self.start, self.stop, self.valid = items, start, stop, valid

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        get = self.items.valid_sample if self.valid else self.items.sample
        return get(self.start + index)


class Chunks(lightning.LightningDataModule):
    """Loaders of the chunk that begins at the trainer's global step."""

    def __init__(self, items: Items, settings: TrainSettings, workers: int) -> None:
        super().__init__()
        self.items, self.train_settings, self.workers = items, settings, workers

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        settings, trainer = self.train_settings, self.trainer
        step, world = (trainer.global_step, trainer.world_size) if trainer else (0, 1)
        stop = min(step + settings.chunk_steps, settings.steps)
        per_step = settings.batch_size * world  # Lightning deals the samples out to the processes
        return self._loader(step * per_step, stop * per_step, valid=False)

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        return self._loader(0, self.items.valid_count, valid=True)

    def _loader(self, start: int, stop: int, valid: bool) -> DataLoader[dict[str, Tensor]]:
        dataset = _Range(self.items, start, stop, valid)
        return DataLoader(
            dataset, batch_size=self.train_settings.batch_size, num_workers=self.workers, worker_init_fn=_single_thread
        )


def _single_thread(_: int) -> None:
    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def fit(
    module: lightning.LightningModule,
    items: Items,
    settings: TrainSettings,
    folder: Path,
    device: str,
    workers: int,
    gpus: int = 1,
) -> None:
    """Train `module` in place; continue from `folder/last.ckpt` if it is there.

    Args:
        module: logs `train/...` and `valid/...` values and names its optimiser and schedule.
        items: samples by number.
        settings: length, batch size, precision, seeds.
        folder: holds last.ckpt, metrics.csv and wandb's files.
        device: `cpu` or `cuda`.
        workers: data loading processes; they do not change the result.
        gpus: GPUs of one node to train on, where device is `cuda`.

    Raises:
        InputError: last.ckpt belongs to another training or is unreadable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    last = folder / "last.ckpt"
    if settings.steps == 0:
        return
    count = gpus if device == "cuda" else 1
    warnings.filterwarnings("ignore", module="lightning")
    for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    trainer = lightning.Trainer(
        accelerator=device,
        devices=count,
        strategy="ddp_find_unused_parameters_true" if count > 1 else "auto",
        plugins=[LightningEnvironment()],  # under SLURM, srun's own variables would hide all GPUs but one
        precision=settings.precision,
        max_steps=settings.steps,
        reload_dataloaders_every_n_epochs=1,
        callbacks=[MetricsCsv(folder / "metrics.csv", every=20), LastCheckpoint(last), ProgressLine()],
        logger=_wandb_logger(settings, folder),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=1.0 if items.valid_count else 0,
        log_every_n_steps=20,
    )
    if trainer.world_size != count:
        raise InputError(f"training got {trainer.world_size} processes where {count} GPUs were asked for")
    resume = last if last.exists() else None
    if resume:
        log.info("continuing from %s", last)
    try:
        trainer.fit(module, datamodule=Chunks(items, settings, workers), ckpt_path=resume, weights_only=True)
    except (RuntimeError, KeyError) as error:
        if resume and ("state_dict" in str(error) or "param" in str(error) or "zip" in str(error)):
            raise InputError(f"{last}: belongs to other settings or is damaged; delete it to train anew") from error
        raise


def _wandb_logger(settings: TrainSettings, folder: Path) -> Any:
    if settings.wandb == "disabled":
        return False
    from lightning.pytorch.loggers import WandbLogger

    return WandbLogger(project="bopflow", save_dir=str(folder), offline=settings.wandb == "offline")
