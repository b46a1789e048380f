"""The methods by name. A sixth method is one new folder and one entry here; no rule changes.

A family's modules are imported when they are needed: naming a family imports neither torch nor its code.
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

from pose_models.files import InputError
from pose_models.settings import Settings, did_you_mean


@dataclasses.dataclass(frozen=True)
class Family:
    """A method family: its folder holds `config.py`, `train.py` (`train`) and `infer.py` (`infer`); where single images
    can be estimated, `api.py` as well.

    train_sections: sections of the settings that decide the checkpoint; a change in one of them retrains. The other
    sections, and these, decide the estimates. estimator_class: a `pose_models.methods.api.PoseEstimator` in `api.py`.
    """

    name: str
    settings_class: str
    train_sections: tuple[str, ...]
    estimator_class: str | None = None

    def settings_model(self) -> type[Settings]:
        """The settings model (imports pydantic only)."""
        model: type[Settings] = getattr(self._module("config"), self.settings_class)
        return model

    def entry(self, stage: str) -> Any:
        """The function that runs a stage, `train` or `infer`."""
        return getattr(self._module(stage), stage)

    def estimator(self) -> Any:
        """The class that estimates poses on single images, None if the family has none."""
        return None if self.estimator_class is None else getattr(self._module("api"), self.estimator_class)

    def _module(self, name: str) -> Any:
        return importlib.import_module(f"pose_models.methods.{self.name}.{name}")


FAMILIES = {
    family.name: family
    for family in (
        Family(
            "surfemb",
            "SurfEmbSettings",
            train_sections=("network", "crop", "loss", "train"),
            estimator_class="SurfEmb",
        ),
        Family(
            "cosypose",
            "CosyPoseSettings",
            train_sections=("network", "data", "loss", "train"),
            estimator_class="CosyPose",
        ),
    )
}


def family(name: str) -> Family:
    """The family of that name.

    Raises:
        InputError: there is none; names the nearest.
    """
    if name not in FAMILIES:
        raise InputError(f"'{name}' is not a known method{did_you_mean(name, FAMILIES)}")
    return FAMILIES[name]
