"""Named runs: a family of methods, or what follows a method's run, and the settings that differ from the paper's."""

from __future__ import annotations

import dataclasses
from typing import Any

from pydantic import BaseModel, Field

from pose_models.files import InputError
from pose_models.methods.cosypose.config import RefineSettings
from pose_models.methods.registry import FAMILIES
from pose_models.multiview.config import MultiviewSettings
from pose_models.refinement.config import DepthRefinementSettings
from pose_models.settings import Settings, did_you_mean, validate


@dataclasses.dataclass(frozen=True)
class Stage:
    """What works on the estimates of another run: its settings, its program, whether it needs a checkpoint."""

    settings: type[Settings]
    program: str
    is_learnt: bool = False


STAGES = {
    "cosypose-refiner": Stage(RefineSettings, "refine_render.py", is_learnt=True),
    "icp": Stage(DepthRefinementSettings, "refine_depth.py"),
    "multiview": Stage(MultiviewSettings, "multiview.py"),
}


class Run(Settings):
    """A named run: a family of methods and the settings that differ from the paper's."""

    family: str = Field(
        description=f"method: {', '.join(sorted(FAMILIES))}; or what follows a method's run: {', '.join(STAGES)}"
    )
    candidates: str | None = Field(
        None, description="run whose estimates are worked on, where the family is one that follows a method's run"
    )
    start: str | None = Field(
        None, description="run whose weights the training starts from; it is trained first, on the same dataset"
    )
    real_images: bool = Field(
        False,
        description="train on real images too; where the dataset has none, the run it starts from is taken, if any",
    )
    more_images: tuple[str, ...] = Field(
        (), description="further folders of training scenes, such as train_synt, where the dataset has them"
    )
    set: dict[str, Any] = Field(default_factory=dict, description="settings that differ from the paper's defaults")
    checkpoint: str | None = Field(
        None,
        description="checkpoint trained elsewhere ({dataset} in its path is the dataset's name); null: trained here",
    )

    def settings(self) -> BaseModel:
        """All settings of the run, defaults included.

        Raises:
            InputError: the family or a key under `set` is not known, or a value has the wrong type.
        """
        if self.family in STAGES:
            if self.candidates is None:
                raise InputError(f"candidates: name the run whose estimates `{self.family}` works on")
            if self.start is not None:
                raise InputError(f"start: `{self.family}` is not trained; leave the key out")
            if STAGES[self.family].is_learnt != (self.checkpoint is not None):
                advice = "name one, such as results/{dataset}/cosypose-pbr/model.ckpt"
                advice = advice if STAGES[self.family].is_learnt else "there is none; leave the key out"
                raise InputError(f"checkpoint: of `{self.family}`: {advice}")
            return validate(STAGES[self.family].settings, self.set, "set")
        if self.family not in FAMILIES:
            raise InputError(f"family: '{self.family}' is not known{did_you_mean(self.family, [*FAMILIES, *STAGES])}")
        if self.candidates is not None:
            raise InputError(f"candidates: `{self.family}` starts from images; leave the key out")
        if self.start is not None and self.checkpoint is not None:
            raise InputError("start: nothing is trained where a checkpoint is given; leave one of both out")
        return validate(FAMILIES[self.family].settings_model(), self.set, "set")


def _small(augment: bool = False, **train: Any) -> dict[str, Any]:
    """Settings for minutes of training on a few CPU cores: a small network on small crops, fast schedules."""
    schedule = {"optimizer": "adamw", "schedule": "cosine", "warmup_steps": 50, "chunk_steps": 250, "valid_items": 96}
    return {
        "network": {"backbone": "small", "separate_decoders": False, "key_width": 128, "key_gain": 30},
        "crop": {"side": 64, "min_visib_px": 200, "augment": augment},
        "loss": {"positives": 192, "negatives": 320, "lr_image": 1e-3, "lr_key": 3e-4},
        "train": {"steps": 3600, **schedule, **train},
        "infer": {"downsample": 2, "hypotheses": 2000, "scored": 500, "surface_points": 2000},
    }


def _views(count: int, candidates: str, **more: Any) -> Run:
    """Groups of views of a run whose scores are any numbers; RGB estimates differ by more than the paper's 20 mm."""
    settings = {"views": count, "scores": "rank", "match": {"min_score": 0.1, "threshold_mm": 30}, **more}
    return Run(family="multiview", candidates=candidates, set=settings)


def _small_cosypose(**train: Any) -> dict[str, Any]:
    """The same of CosyPose: networks that match points, on small crops of turned images, without photographs."""
    schedule = {"optimizer": "adamw", "schedule": "cosine", "warmup_steps": 50, "chunk_steps": 250, "valid_items": 64}
    return {
        "network": {"backbone": "matching", "height": 48, "width": 64, "box_points": 300},
        "data": {"min_visib_fract": 0.5, "augment": 0, "background": 0, "turn": 180},
        "loss": {"points": 100, "rotations": 32, "lr": 0.003},
        "train": {"steps": 3000, "batch_size": 32, **schedule, **train},
    }


DEFAULT_RUNS = {
    "surfemb": Run(family="surfemb"),
    "surfemb-real": Run(family="surfemb", real_images=True),
    "surfemb-rgbd": Run(family="surfemb", set={"infer": {"depth": True}}),
    "surfemb-real-rgbd": Run(family="surfemb", real_images=True, set={"infer": {"depth": True}}),
    "surfemb-shared-decoder": Run(family="surfemb", set={"network": {"separate_decoders": False}}),
    "surfemb-faithful": Run(family="surfemb", set={"infer": {"faithful": True}}),
    "surfemb-small": Run(family="surfemb", set=_small()),
    "surfemb-small-icp": Run(family="icp", candidates="surfemb-small"),
    "surfemb-small-augmented": Run(family="surfemb", set=_small(augment=True, steps=2500)),
    "surfemb-untrained": Run(family="surfemb", set=_small(steps=0)),
    "surfemb-of-demo": Run(family="surfemb", set=_small(), checkpoint="results/demo/surfemb-small/model.ckpt"),
    "surfemb-of-demo-4view": _views(4, "surfemb-of-demo"),
    "surfemb-of-demo-8view": _views(8, "surfemb-of-demo"),
    "cosypose-pbr": Run(family="cosypose"),
    "cosypose-synt+real": Run(family="cosypose", start="cosypose-pbr", real_images=True, more_images=("train_synt",)),
    "cosypose-pbr-icp": Run(family="icp", candidates="cosypose-pbr"),
    "cosypose-synt+real-icp": Run(family="icp", candidates="cosypose-synt+real"),
    "cosypose-pbr-4view": Run(family="multiview", candidates="cosypose-pbr", set={"views": 4}),
    "cosypose-pbr-8view": Run(family="multiview", candidates="cosypose-pbr", set={"views": 8}),
    "cosypose-synt+real-4view": Run(family="multiview", candidates="cosypose-synt+real", set={"views": 4}),
    "cosypose-synt+real-5view": Run(family="multiview", candidates="cosypose-synt+real", set={"views": 5}),
    "cosypose-synt+real-8view": Run(family="multiview", candidates="cosypose-synt+real", set={"views": 8}),
    "cosypose-eccv": Run(family="cosypose", set={"network": {"start": "fixed"}}),
    "cosypose-small": Run(family="cosypose", set=_small_cosypose()),
    "cosypose-untrained": Run(family="cosypose", set=_small_cosypose(steps=0)),
    "cosypose-of-demo": Run(
        family="cosypose", set=_small_cosypose(), checkpoint="results/demo/cosypose-small/model.ckpt"
    ),
    "cosypose-of-demo-4view": _views(4, "cosypose-of-demo", known_cameras=True),
    "cosypose-of-demo-8view": _views(8, "cosypose-of-demo", known_cameras=True),
}
