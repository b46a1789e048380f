"""Settings of the training loop, shared by all methods."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pose_models.settings import Settings


class TrainSettings(Settings):
    """How long, how fast, and how often to look."""

    steps: int = Field(500_000, ge=0, description="optimiser steps; 0 gives an untrained checkpoint")
    batch_size: int = Field(16, ge=1, description="crops per step, over all GPUs together")
    warmup_steps: int = Field(2000, ge=0, description="steps of linear warm-up of the learning rates")
    schedule: Literal["constant", "cosine", "drop"] = Field(
        "constant", description="learning rates after the warm-up; `drop`: to a tenth, once"
    )
    drop_at: float = Field(11 / 14, ge=0, le=1, description="share of the steps before schedule `drop` drops")
    optimizer: Literal["adam", "adamw"] = Field("adam", description="optimiser")
    weight_decay: float = Field(0.0, ge=0, description="weight decay")
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field("32-true", description="numerical precision")
    chunk_steps: int = Field(
        1000, ge=1, description="steps between checkpoints (and validations): a killed training loses at most these"
    )
    valid_items: int = Field(200, ge=0, description="training instances held out to watch the loss")
    seed: int = Field(0, description="seed of weights, order and augmentation")
    wandb: Literal["disabled", "offline", "online"] = Field("offline", description="Weights & Biases logging")
