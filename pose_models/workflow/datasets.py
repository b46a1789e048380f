"""What config.yaml may say about datasets: where they come from, what is trained on, how they are scored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from pose_models.datasets.catalogue import catalogue_entry
from pose_models.datasets.choice import Choice
from pose_models.files import InputError
from pose_models.settings import Settings, did_you_mean, validate
from pose_models.synthesis.blender_config import BLENDER_PRESETS, BlenderLook, BlenderSettings
from pose_models.synthesis.config import PRESETS, Look, SceneSettings
from pose_models.synthesis.photos_config import PhotosDescription

NAME = r"[a-z0-9][a-z0-9_-]*"
RUN_NAME = r"[a-z0-9][a-z0-9_+-]*"
DEMO_OBJECTS = (1, 2, 3)
DETECTION_FILES = r"\.json(?:\.gz)?|\.pkl|\.pth(?:\.tar)?|\.pt|\.npz"
STAGE_FOLDERS = (
    *("meshes", "surface", "symmetries", "keypoints", "synthetic", "detections", "comparisons"),
    *("logs", "benchmarks"),
)
Protocol = Literal["bop19", "bop24", "coco", "classic", "ycbv-auc", "tless-siso", "tless-vivo", "silhouette"]


GENERATORS: dict[str, tuple[Mapping[Any, Mapping[str, Any]], type[Settings]]] = {
    "raycast": (PRESETS, SceneSettings),
    "blenderproc": (BLENDER_PRESETS, BlenderSettings),
}


class SyntheticImages(Settings):
    """Training images that the graph makes itself."""

    generator: Literal["raycast", "blenderproc"] = Field(
        "raycast",
        description="`raycast`: ray-cast, many images per second; `blenderproc`: path-traced, seconds per image "
        "(`make blender` first)",
    )
    look: Look | BlenderLook | None = Field(
        None,
        description="raycast: light, colours, textures and noise, `random` (domain randomisation, the default), or "
        "another of render_scenes.py; blenderproc: published settings, `bop` (the default), `tless`, `ycbv`, `itodd`",
    )
    shards: int = Field(40, ge=1, description="scene folders, one job each; more shards keep the old ones")
    images: int = Field(50, ge=1, description="images per shard; a job should take about a minute")
    threads: int = Field(4, ge=1, description="processes of a raycast job, at most one per 50 images")
    textures: str | None = Field(
        None, description="folder of texture images (blenderproc: of CC textures); null: procedural ones"
    )
    backgrounds: str | None = Field(
        None,
        description="raycast, floating parts: folder of photographs; null: data/voc2012 where it is, else procedural",
    )
    set: dict[str, Any] = Field(
        default_factory=dict,
        description="scene settings that differ from the look's (--help of render_scenes.py, or of "
        "render_photorealistic.py for blenderproc, lists them)",
    )

    @property
    def look_name(self) -> str:
        """The look, which depends on the generator where none is given."""
        return self.look or {"raycast": "random", "blenderproc": "bop"}[self.generator]

    @property
    def workers(self) -> int:
        """Processes of a raycast job: starting one takes as long as some dozen images."""
        return max(1, min(self.threads, self.images // 50))

    def image_folders(self) -> dict[str, str]:
        """Folders of the user's images by option of the program; none of a kind where procedural ones are used.

        Raises:
            InputError: a folder is not there, or the generator has no use for it.
        """
        if self.generator == "blenderproc" and self.backgrounds is not None:
            raise InputError("config.yaml: synthetic.backgrounds: blenderproc has a room around its scenes; remove it")
        folders = {"textures": self.textures, "backgrounds": self.backgrounds}
        for name, folder in folders.items():
            if folder is not None and not Path(folder).is_dir():
                raise InputError(f"config.yaml: synthetic.{name}: folder {folder} not found")
        if self.generator == "raycast" and self.backgrounds is None and Path("data/voc2012").is_dir():
            folders["backgrounds"] = "data/voc2012"
        return {name: folder for name, folder in folders.items() if folder is not None}

    def scene_settings(self) -> Settings:
        """All settings of the scenes: the look's and what differs from them.

        Raises:
            InputError: the generator has no such look, or a key under `set` is not known or has the wrong type.
        """
        presets, model = GENERATORS[self.generator]
        if self.look_name not in presets:
            raise InputError(
                f"synthetic.look: {self.generator} has no '{self.look}'{did_you_mean(self.look_name, presets)}"
            )
        return validate(model, {**presets[self.look_name], **self.set}, "synthetic.set")


class _Dataset(Settings):
    runs: tuple[str, ...] = Field(("surfemb",), description="methods to compare: names under `runs`")
    detections: str | None = Field(
        "simulated",
        description="where boxes come from: `simulated` (jittered ground truth), `default` (those that BOP gives "
        "out), a name under `detectors`, or a file or folder of a detector's results (import_detections.py --help)",
    )
    protocols: tuple[Protocol, ...] = Field(
        ("bop19",), min_length=1, description="how estimates are scored; the first one gives <run>/scores.json"
    )
    seed: int = Field(0, ge=0, description="seed of everything random that is made for this dataset")

    def detection_source(self, name: str) -> str:
        """Name of the detections file under results/<name>/detections/: `simulated`, `default`, a detector's, a file's.

        Raises:
            InputError: BOP gives out no detections of this dataset.
        """
        if self.detections == "default" and catalogue_entry(name).default_detections is None:
            raise InputError(
                f"datasets.{name}.detections: BOP gives out no default detections of it; choose `simulated` or name "
                "a file"
            )
        return re.sub(rf"({DETECTION_FILES})$", "", Path(self.detections or "simulated").name)

    @model_validator(mode="after")
    def _detections_are_known(self) -> _Dataset:
        if self.detections in (None, "simulated", "default"):
            return self
        file = re.fullmatch(rf"({NAME})({DETECTION_FILES})?", Path(self.detections).name.lower())
        if file is None:
            raise ValueError(
                f"detections: '{self.detections}' is neither 'simulated' nor 'default' nor a file or folder of a "
                "detector's results"
            )
        if file[1] in ("simulated", "default"):
            raise ValueError(f"detections: '{self.detections}': give the file another name, {file[1]} is taken")
        return self


class DemoDataset(_Dataset):
    """A dataset of mechanical parts, made on this machine from fixed seeds (data/<name> in BOP format)."""

    source: Literal["demo"] = Field("demo", description="`demo`: parts and scenes made here; nothing is downloaded")
    runs: tuple[str, ...] = Field(("surfemb-small",), description="methods to compare: names under `runs`")
    train_scenes: int = Field(8, ge=1, description="training scene folders, one job each")
    train_images: int = Field(60, ge=1, description="images per training scene folder")
    test_scenes: int = Field(4, ge=1, description="test scene folders, one job each")
    test_images: int = Field(10, ge=1, description="images per test scene folder")
    set: dict[str, Any] = Field(
        {"instances": [5, 8], "distractors": [0, 2], "bin_size_mm": [250, 310]},
        description="scene settings that differ from the looks `train` and `test`",
    )


class PhotosDataset(_Dataset):
    """Your own photographs with CAD models; training images are made from the models."""

    source: Literal["photos"] = Field(
        "photos", description="`photos`: own photographs and CAD models, imported to BOP format"
    )
    description: str = Field(
        "examples/real.yaml", description="file that names photos, models, intrinsics, reference poses"
    )
    folder: str | None = Field(None, description="folder that the description's file names are relative to")
    runs: tuple[str, ...] = Field(("surfemb-small-augmented",), description="methods to compare: names under `runs`")
    protocols: tuple[Protocol, ...] = Field(
        ("silhouette",), min_length=1, description="how estimates are scored; the first one gives <run>/scores.json"
    )
    synthetic: SyntheticImages = Field(
        SyntheticImages(shards=8, images=60), description="the images that the networks learn from"
    )


class FolderDataset(_Dataset):
    """A dataset in BOP format that already lies in data/<name>."""

    source: Literal["folder"] = Field("folder", description="`folder`: a BOP dataset that already lies in data/<name>")
    split: str = Field("test", description="folder of the test scenes")
    train: str | None = Field(None, description="folder of training scenes, such as train_pbr; null: `synthetic` ones")
    train_real: str | None = Field(None, description="folder of real training scenes, for runs with `real_images`")
    synthetic: SyntheticImages = Field(SyntheticImages(), description="training images, where `train` is null")


class CatalogueDataset(_Dataset):
    """A published dataset of the catalogue, fetched into data/<name> when something needs it."""

    source: Literal["catalogue"] = Field(
        "catalogue",
        description="`catalogue`: a published dataset, fetched when needed; each one is known without an entry here",
    )
    runs: tuple[str, ...] = Field(
        ("surfemb", "surfemb-rgbd", "surfemb-real", "surfemb-real-rgbd"),
        description="methods to compare: names under `runs`",
    )
    split: str | None = Field(None, description="folder of the test scenes; null: the one that papers report")
    test: str | None = Field(
        None, description="part that brings the test scenes; null: the subset of the BOP challenge where there is one"
    )
    train: tuple[str, ...] | None = Field(
        None, description="folders of training scenes; null: train_pbr or the one there is; []: `synthetic` ones"
    )
    scenes: str | None = Field(
        None, description="only these training scenes are unpacked and trained on, such as 0-4; null: all"
    )
    detections: str | None = Field(
        None,
        description="where boxes come from, as above; null: `default` where BOP gives some out, else `simulated`",
    )
    parts: tuple[str, ...] | None = Field(
        None, description="what `snakemake data/<name>` fetches; null: what inference and training need"
    )
    synthetic: SyntheticImages = Field(SyntheticImages(), description="training images, where `train` is []")

    def detection_source(self, name: str) -> str:
        """As for other datasets; without a choice, what BOP gives out, or else boxes made from the ground truth."""
        if self.detections is None:
            return "simulated" if catalogue_entry(name).default_detections is None else "default"
        return super().detection_source(name)

    def choice(self, name: str) -> Choice:
        """What of the dataset is used."""
        return Choice(name, self.split, self.test, self.train, self.scenes, self.parts)


Dataset = DemoDataset | PhotosDataset | FolderDataset | CatalogueDataset


def scene_settings(look: Look, overrides: Mapping[str, Any]) -> SceneSettings:
    """All settings of a scene folder: a named look and what differs from it.

    Raises:
        InputError: an override is not known or has the wrong type.
    """
    return validate(SceneSettings, {**PRESETS[look], **overrides}, "set")


def check_scene_settings(name: str, entry: Dataset) -> None:
    try:
        if isinstance(entry, DemoDataset):
            for look in ("train", "test"):
                scene_settings(look, entry.set)
        else:
            entry.synthetic.scene_settings()
    except InputError as error:
        raise ValueError(f"datasets.{name}.{error}") from None


def photos_of(entry: PhotosDataset, name: str) -> PhotosDescription:
    """The description of a dataset of own photographs.

    Raises:
        InputError: no folder is given, the folder or the description is missing, or the description is wrong.
    """
    if entry.folder is None:
        raise InputError(f"config.yaml: datasets.{name}.folder is not set; name the folder of the photographs")
    for path, kind in ((Path(entry.folder), "folder of the photographs"), (Path(entry.description), "description")):
        if not path.exists():
            raise InputError(f"config.yaml: datasets.{name}: {kind} {path} not found")
    content = yaml.safe_load(Path(entry.description).read_text(encoding="utf-8"))
    return validate(PhotosDescription, content, entry.description)
