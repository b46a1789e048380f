"""Optimisers and learning rate schedules as `TrainSettings` names them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from pose_models.training.config import TrainSettings


def configured(groups: Sequence[dict[str, Any]], settings: TrainSettings) -> Any:
    """What a LightningModule's `configure_optimizers` returns.

    Args:
        groups: parameter groups with their learning rates, `{"params": ..., "lr": ...}`.
    """
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    optimizer = kind(list(groups), weight_decay=settings.weight_decay, fused=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_factor(step, settings))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def rate_factor(step: int, settings: TrainSettings) -> float:
    """The learning rates at a step over their highest values."""
    warmup = min(1.0, step / settings.warmup_steps) if settings.warmup_steps else 1.0
    done = min(1.0, step / max(settings.steps, 1))
    if settings.schedule == "cosine":
        return warmup * 0.5 * (1 + math.cos(math.pi * done))
    if settings.schedule == "drop":
        return warmup * (0.1 if done >= settings.drop_at else 1.0)
    return warmup
