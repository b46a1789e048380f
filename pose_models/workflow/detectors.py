"""Named detectors: Mask R-CNNs that any dataset may take its detections from."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from pose_models.detections.maskrcnn_config import TRAIN_SECTIONS, MaskRcnnSettings
from pose_models.files import json_digest
from pose_models.settings import Settings, flatten, validate


class Detector(Settings):
    """A named detector: what differs from CosyPose's settings, and what it starts from."""

    real_images: bool = Field(
        False, description="train on real images too; where the dataset has none, the detector it starts from is taken"
    )
    more_images: tuple[str, ...] = Field(
        (), description="further folders of training scenes, such as train_synt, where the dataset has them"
    )
    start: str | None = Field(None, description="name of the detector whose weights the training starts from")
    set: dict[str, Any] = Field(
        default_factory=dict,
        description="settings that differ from CosyPose's (pose_models/detections/maskrcnn_config.py)",
    )
    checkpoint: str | None = Field(
        None,
        description="detector trained or imported elsewhere ({dataset} in its path is the dataset's name); null: "
        "trained here",
    )

    def settings(self) -> MaskRcnnSettings:
        """All settings, defaults included.

        Raises:
            InputError: a key under `set` is not known, or a value has the wrong type.
        """
        return validate(MaskRcnnSettings, self.set, "set")

    def training_overrides(self) -> list[str]:
        """`key=value` strings for `train_detector.py --set`."""
        return flatten({key: value for key, value in self.set.items() if key in TRAIN_SECTIONS})

    def training_digest(self) -> str:
        """Digest of all settings that decide the checkpoint."""
        settings = self.settings().model_dump(mode="json", include=set(TRAIN_SECTIONS))
        return json_digest({**settings, "start": self.start, "real_images": self.real_images})

    def detection_overrides(self) -> list[str]:
        """`key=value` strings for `detect.py --set`."""
        return flatten(self.set.get("detect", {}))

    def detection_digest(self) -> str:
        """Digest of the settings of detection."""
        return self.settings().detect.digest()


SMALL: dict[str, Any] = {
    "network": {
        **{"backbone": "small", "channels": 32, "box_width": 128, "proposals": 300, "roi_samples": 48},
        **{"anchor_sizes": [16, 32, 64, 128, 256]},
    },
    "images": {"size": [160, 120], "background": 0, "filters": 0},
    "train": {
        **{"steps": 8000, "batch_size": 2, "warmup_steps": 20, "optimizer": "adamw", "lr_per_image": 6e-4},
        **{"drop_at": [0.75, 0.92], "chunk_steps": 500, "valid_items": 40},
    },
    "detect": {"mask_threshold": 0.5},
}
"""For minutes of training on a few CPU cores."""

DEFAULT_DETECTORS = {
    "maskrcnn": Detector(),
    "maskrcnn-real": Detector(real_images=True, more_images=("train_synt",), start="maskrcnn"),
    "maskrcnn-small": Detector(set=SMALL),
}
