"""The training loop of all methods on Lightning: chunks, checkpoints, exact resume, CSV and wandb logs.

Training is cut into chunks of `chunk_steps` steps. A chunk is one Lightning epoch: it ends with a validation and a
checkpoint `last.ckpt`, and its data depend on the global step alone. So a killed training continues from its last
chunk and, on a CPU, ends with the very weights of an undisturbed one.

Several processes share each batch, so that a run's settings mean the same on one GPU and on eight.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import cv2
import lightning
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pose_models.files import InputError, exclusive
from pose_models.memory import keep_freed_memory
from pose_models.training.callbacks import (
    LastCheckpoint,
    LearningRates,
    MetricsCsv,
    ProgressLine,
    ValidationPictures,
)
from pose_models.training.checkpoints import forget_other_training
from pose_models.training.config import TrainSettings
from pose_models.training.processes import follow_main, is_main

log = logging.getLogger(__name__)


class Items(Protocol):
    """Training samples by number: the same number always gives the same sample."""

    def sample(self, number: int) -> dict[str, Tensor]:
        """Training sample `number` (0 <= number < steps * batch_size)."""
        ...

    def valid_sample(self, number: int) -> dict[str, Tensor]:
        """Validation sample `number` (0 <= number < valid_count)."""
        ...

    @property
    def valid_count(self) -> int:
        """Number of validation samples."""
        ...


class _Numbers(Dataset[dict[str, Tensor]]):
    """The samples of some numbers, in order."""

    def __init__(self, items: Items, numbers: range, valid: bool) -> None:
        self.numbers = numbers
        self.get = items.valid_sample if valid else items.sample

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.get(self.numbers[index])


class Chunks(lightning.LightningDataModule):
    """Loaders of the chunk that begins at the trainer's global step; each process takes every n-th sample of it."""

    def __init__(self, items: Items, settings: TrainSettings, workers: int, pin_memory: bool = False) -> None:
        super().__init__()
        self.items, self.train_settings, self.workers, self.pin_memory = items, settings, workers, pin_memory

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        settings, trainer = self.train_settings, self.trainer
        step, rank, world = (trainer.global_step, trainer.global_rank, trainer.world_size) if trainer else (0, 0, 1)
        stop, batch = min(step + settings.chunk_steps, settings.steps), settings.batch_size
        return self._loader(range(step * batch + rank, stop * batch, world), batch // world, valid=False)

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        numbers = range(rank, self.items.valid_count, world)
        return self._loader(numbers, self.train_settings.batch_size // world, valid=True)

    def _loader(self, numbers: range, batch: int, valid: bool) -> DataLoader[dict[str, Tensor]]:
        cv2.setNumThreads(0)  # before the fork: a loading process that ended OpenCV's threads would hang
        return DataLoader(
            _Numbers(self.items, numbers, valid),
            batch_size=batch,
            num_workers=self.workers,
            worker_init_fn=_single_thread,
            pin_memory=self.pin_memory,
            prefetch_factor=4 if self.workers else None,  # batches per worker: covers the spread of crop times
        )


def _single_thread(_: int) -> None:
    torch.set_num_threads(1)


def train_to(
    out: Path, module: lightning.LightningModule, items: Items, settings: TrainSettings, key: Any,
    save: Callable[[], None], device: str, workers: int, processes: int = 1,
) -> None:  # fmt: skip
    """Train `module` and let `save` write `out`; what a killed training has done is continued, if it was the same.

    Args:
        out: checkpoint; metrics.csv, the state to resume from and wandb's files lie beside it in `train/`.
        module, items, settings, device, workers, processes: as in `fit`.
        key: everything that decides the result; the state of a training with another key is dropped.
        save: writes `out` from the trained module.

    Raises:
        InputError: as in `fit`.
    """
    folder = out.parent / "train"
    if is_main():
        with exclusive(folder / "last.ckpt"):
            forget_other_training(folder, key)
            fit(module, items, settings, folder, device, workers, processes)
            save()
            (folder / "last.ckpt").unlink(missing_ok=True)  # a training asked for again starts anew
    else:
        follow_main()
        fit(module, items, settings, folder, device, workers, processes)


def fit(
    module: lightning.LightningModule,
    items: Items,
    settings: TrainSettings,
    folder: Path,
    device: str,
    workers: int,
    processes: int = 1,
) -> None:
    """Train `module` in place; continue from `folder/last.ckpt` if it is there.

    Args:
        module: logs `train/...` and `valid/...` values and names its optimiser and schedule.
        items: samples by number.
        settings: length, batch size, precision, seeds.
        folder: holds last.ckpt, metrics.csv and wandb's files.
        device: `cpu` or `cuda`.
        workers: data loading processes (of each process); they do not change the result.
        processes: processes of this machine that share each batch; on CUDA each has a GPU of its own. The sum is that
            of one process up to rounding; batch norms see the whole batch on CUDA, their process's part on a CPU.

    Raises:
        InputError: last.ckpt belongs to another training or is unreadable, or the batch cannot be shared.
    """
    folder.mkdir(parents=True, exist_ok=True)
    last = folder / "last.ckpt"
    if device == "cpu":
        keep_freed_memory()
    for name, count in (("train.batch_size", settings.batch_size), ("validation samples", items.valid_count)):
        if count and (count < processes or (name == "train.batch_size" and count % processes)):
            raise InputError(f"{name}: {count} cannot be dealt out to {processes} processes; change one of the two")
    warnings.filterwarnings("ignore", module="lightning")
    for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    own_valid_count = len(range(int(os.environ.get("LOCAL_RANK", "0")), items.valid_count, processes))
    trainer = lightning.Trainer(
        accelerator=device,
        devices=processes,
        strategy="ddp_find_unused_parameters_true" if processes > 1 else "auto",
        sync_batchnorm=processes > 1 and device == "cuda",  # torch has none for the CPU
        use_distributed_sampler=False,  # `Chunks` deals the samples out
        plugins=[LightningEnvironment()],  # under SLURM, srun's own variables would hide all GPUs but one
        precision=settings.precision,
        max_steps=settings.steps,
        reload_dataloaders_every_n_epochs=1,
        callbacks=[
            LearningRates(),
            MetricsCsv(folder / "metrics.csv", 20, own_valid_count),
            ValidationPictures(folder),
            LastCheckpoint(last),
            ProgressLine(),
        ],
        logger=_wandb_logger(settings, folder) if is_main() else False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=1.0 if items.valid_count else 0,
        log_every_n_steps=20,
    )
    if trainer.world_size != processes:
        raise InputError(f"training got {trainer.world_size} processes where {processes} were asked for")
    resume = last if last.exists() else None
    if resume and is_main():
        log.info("continuing from %s", last)
    data = Chunks(items, settings, workers, pin_memory=device == "cuda")
    try:
        trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    except (RuntimeError, KeyError) as error:
        if resume and ("state_dict" in str(error) or "param" in str(error) or "zip" in str(error)):
            raise InputError(f"{last}: belongs to other settings or is damaged; delete it to train anew") from error
        raise


def _wandb_logger(settings: TrainSettings, folder: Path) -> Any:
    if settings.wandb == "disabled":
        return False
    from lightning.pytorch.loggers import WandbLogger

    return WandbLogger(project="bopflow", save_dir=str(folder), offline=settings.wandb == "offline")
