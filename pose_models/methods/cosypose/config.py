"""Settings of CosyPose; the defaults are those of BOP Challenge 2020 (cosypose.md sections 4 to 7, 11, 13)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pose_models.settings import Settings
from pose_models.training.config import TrainSettings

Stage = Literal["coarse", "refiner"]
Backbone = Literal[
    "efficientnet_b3", "wide_resnet18", "wide_resnet34", "resnet18", "resnet34", "resnet50", "flownet", "matching"
]


class NetworkSettings(Settings):
    """The pose networks: one finds a coarse pose, the other refines poses."""

    stages: tuple[Stage, ...] = Field(
        ("coarse", "refiner"), min_length=1, description="networks that are trained; both see the same samples"
    )
    backbone: Backbone = Field(
        "efficientnet_b3",
        description="image network: the paper's, residual ones, FlowNet; matching: a small one that learns from few "
        "samples, for CPUs",
    )
    rotation: Literal["6d", "quaternion"] = Field("6d", description="how the output names a rotation")
    identity_start: bool = Field(
        False,
        description="outputs count from the one that changes nothing, in units of the training noise: short trainings "
        "learn sooner (the paper: plain outputs of random weights)",
    )
    height: int = Field(240, ge=32, description="height of crops and renders, pixels")
    width: int = Field(320, ge=32, description="width of crops and renders, pixels")
    start: Literal["upright", "fixed"] = Field(
        "upright",
        description="first pose of a detection: upright and as far away as its size says (BOP20), or unturned at one "
        "metre (the paper)",
    )
    render_center: float = Field(
        0.0,
        description="image coordinate at which the renders' pixel 0 is sampled; the release's renders are half a pixel "
        "off the crops: 0.5",
    )
    box_points: int = Field(2000, ge=8, description="vertices that stand for an object when it is cropped")


class DataSettings(Settings):
    """Which images are trained on and how they are changed."""

    height: int | None = Field(None, ge=32, description="height that images are brought to; null: the first image's")
    width: int | None = Field(None, ge=32, description="width that images are brought to; null: the first image's")
    repeats: dict[str, dict[str, int]] = Field(
        {
            "tless": {"train_pbr": 4},
            "tudl": {"train_pbr": 10},
            "ycbv": {"train_pbr": 20, "train_real": 3},
        },
        description="how often a dataset's folders of training images count where several are mixed; others: once",
    )
    min_visib_fract: float = Field(0.0, ge=0, le=1, description="instances less visible than this are not trained on")
    min_visib_px: int = Field(1, ge=1, description="instances with fewer visible pixels are not trained on")
    augment: float = Field(0.8, ge=0, le=1, description="share of images that are blurred, sharpened, brightened, ...")
    blur: float = Field(1.0, ge=0, le=1, description="share of those that are blurred; the release meant 0.4")
    grey: float = Field(0.0, ge=0, le=1, description="share of those that lose their colours, for grey test images")
    turn: float = Field(
        0.0,
        ge=0,
        le=180,
        description="images are turned about the optical axis by at most this, degrees (the paper: 0)",
    )
    background: float = Field(0.3, ge=0, le=1, description="share of images whose background becomes a photograph")
    backgrounds: str = Field(
        "data/voc2012", description="folder of those photographs (Pascal VOC); without it the backgrounds stay"
    )
    faithful: bool = Field(False, description="resize images and intrinsics as the release does, half a pixel off")


class LossSettings(Settings):
    """What the networks learn from."""

    kind: Literal["disentangled", "plain"] = Field(
        "disentangled", description="rotation, image plane and depth judged apart, or the whole pose (ablation)"
    )
    points: int = Field(2600, ge=8, description="vertices of each object that distances are averaged over")
    rotations: int = Field(64, ge=1, description="rotations that stand for a continuous symmetry")
    matches: float = Field(0.05, ge=0, description="backbone matching: weight of a point's likelihood, metres per nat")
    lr: float = Field(3e-4, gt=0, description="learning rate")
    clip: float = Field(0.5, gt=0, description="largest norm of a network's gradient")


class InferSettings(Settings):
    """From boxes to poses."""

    coarse_iterations: int = Field(1, ge=0, description="passes of the coarse network")
    refiner_iterations: int = Field(4, ge=0, description="passes of the refiner")
    batch_size: int = Field(64, ge=1, description="objects of an image at once")


class RefineSettings(Settings):
    """The refiner on estimates of any method."""

    passes: int = Field(4, ge=1, description="passes of the refiner; the paper takes 2 from estimates of PoseCNN")
    batch_size: int = Field(64, ge=1, description="objects of an image at once")


class CosyPoseSettings(Settings):
    """All settings of CosyPose. `network`, `data`, `loss` and `train` decide the checkpoint, `infer` the estimates."""

    network: NetworkSettings = NetworkSettings()
    data: DataSettings = DataSettings()
    loss: LossSettings = LossSettings()
    # 700 epochs of 115,200 samples: 80.64 million, as 32 GPUs with 32 each see them.
    train: TrainSettings = TrainSettings(steps=78_750, batch_size=1024, warmup_steps=5625, schedule="drop")
    infer: InferSettings = InferSettings()
