"""Settings of the Mask R-CNN detector; the defaults are those of CosyPose (cosypose.md sections 7, 11, 13 and 16)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pose_models.settings import Settings
from pose_models.training.config import TrainSettings

REPEATS = {
    "tless": {"train_pbr": 4, "train_primesense": 1},
    "tudl": {"train_pbr": 10, "train_real": 1},
    "ycbv": {"train_pbr": 20, "train_synt": 1, "train_real": 3},
}


class NetworkSettings(Settings):
    """The network and what it starts from."""

    backbone: Literal["resnet50", "small"] = Field("resnet50", description="`small`: for minutes on a few CPU cores")
    channels: int = Field(256, ge=8, description="channels of the feature pyramid and of the mask head")
    box_width: int = Field(1024, ge=8, description="width of the box head")
    anchor_sizes: tuple[int, int, int, int, int] = Field(
        (32, 64, 128, 256, 512), description="side of the anchors at each level of the pyramid, px; ratios 0.5, 1, 2"
    )
    proposals: int = Field(2000, ge=10, description="most region proposals of an image in training; half of it later")
    roi_samples: int = Field(512, ge=1, description="boxes per image that the heads learn from")
    weights: str | None = Field(
        None,
        description="file of torchvision's weights to start from: its Mask R-CNN (COCO; what fits is taken, box and "
        "mask predictors are not) or its ResNet-50 (ImageNet); null: random weights, nothing is downloaded",
    )
    trainable_layers: int | None = Field(
        None, ge=0, le=5, description="backbone stages that learn, from the top; null: 3 with weights, all without"
    )
    norm: Literal["auto", "frozen", "group"] = Field(
        "auto", description="`frozen` batch norm needs weights; `auto`: frozen with weights, by groups without"
    )


class ImageSettings(Settings):
    """Training images (cosypose.md section 7)."""

    size: tuple[int, int] | None = Field(
        None, description="width and height of training images and the detector's inner scale; null: the first image's"
    )
    background: float = Field(0.3, ge=0, le=1, description="share of images whose background becomes a photograph")
    photos: str | None = Field(
        None, description="folder of those photographs; null: data/voc2012 where it is, else the backgrounds stay"
    )
    filters: float = Field(0.8, ge=0, le=1, description="share of images that go through the chain of filters")
    blur: float = Field(
        1.0, ge=0, le=1, description="share of those that are blurred (configured as 0.4 for the release)"
    )
    grey: float = Field(0.0, ge=0, le=1, description="share of those that lose their colours, for grey test images")
    min_box_px: int = Field(50, ge=1, description="least area of an instance's visible box to learn from")
    repeats: dict[str, dict[str, int]] = Field(
        REPEATS, description="how often the images of a folder are seen in a round, by dataset and folder; else once"
    )


class DetectorTraining(TrainSettings):
    """Length and pace of the training."""

    steps: int = Field(46_800, ge=0, description="optimiser steps: 600 times 5000 images")
    batch_size: int = Field(64, ge=1, description="images per step, over all GPUs together")
    warmup_steps: int = Field(3900, ge=0, description="steps of linear warm-up of the learning rate")
    schedule: Literal["drop"] = Field("drop", description="to a tenth at each of `drop_at`")
    drop_at: tuple[float, ...] = Field(  # type: ignore[assignment]
        (5 / 12, 3 / 4), description="shares of the steps: epochs 250 and 450 of 600"
    )
    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="optimiser; SGD's momentum is 0.9")  # type: ignore[assignment]
    lr_per_image: float = Field(0.000625, gt=0, description="learning rate is this times the batch size")
    weight_decay: float = Field(1e-4, ge=0, description="weight decay")
    chunk_steps: int = Field(390, ge=1, description="steps between checkpoints (and validations)")


class DetectSettings(Settings):
    """What becomes of the network's boxes."""

    min_score: float = Field(0.05, ge=0, le=1, description="least score of a detection")
    max_overlap: float = Field(0.5, gt=0, le=1, description="IoU from which the weaker of two boxes of an object goes")
    per_image: int = Field(100, ge=1, description="most detections of an image")
    mask_threshold: float = Field(0.8, gt=0, lt=1, description="probability from which a pixel is of the mask")


class MaskRcnnSettings(Settings):
    """A detector."""

    network: NetworkSettings = NetworkSettings()
    images: ImageSettings = ImageSettings()
    train: DetectorTraining = DetectorTraining()
    detect: DetectSettings = DetectSettings()


TRAIN_SECTIONS = ("network", "images", "train")
"""Sections that decide the checkpoint."""
