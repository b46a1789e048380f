"""What config.yaml may say, and what follows from it for the graph.

The models below are the only description of the configuration: config.yaml and its JSON schema are generated from
them. The functions answer the questions that rules ask (which objects, which scenes, which settings decide which
stage) from the settings and a few small files, without torch, so that a dry run takes seconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, Field, model_validator

from pose_models.datasets.catalogue import catalogue_entry, catalogue_names, published
from pose_models.datasets.choice import Choice
from pose_models.files import InputError, json_digest, read_json
from pose_models.methods.registry import FAMILIES
from pose_models.settings import Settings, did_you_mean, flatten, validate
from pose_models.synthesis.blender_config import BLENDER_PRESETS, BlenderLook, BlenderSettings
from pose_models.synthesis.config import PRESETS, Look, SceneSettings
from pose_models.synthesis.photos_config import PhotosDescription

NAME = r"[a-z0-9][a-z0-9_-]*"
DEMO_OBJECTS = (1, 2, 3)
DETECTION_FILES = r"\.json(?:\.gz)?|\.pkl|\.pth(?:\.tar)?|\.pt|\.npz"
STAGE_FOLDERS = (
    *("meshes", "surface", "symmetries", "keypoints", "synthetic", "detections", "comparisons"),
    *("logs", "benchmarks"),
)
Protocol = Literal["bop19", "bop24", "coco", "classic", "ycbv-auc", "silhouette"]


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
        description="where boxes come from: `simulated` (jittered ground truth), `default` (those that BOP gives out) "
        "or a file or folder of a detector's results (formats: import_detections.py --help)",
    )
    protocols: tuple[Protocol, ...] = Field(
        ("bop19",), min_length=1, description="how estimates are scored; the first one gives <run>/scores.json"
    )
    seed: int = Field(0, ge=0, description="seed of everything random that is made for this dataset")

    def detection_source(self, name: str) -> str:
        """Name of the detections file under results/<name>/detections/: `simulated`, `default`, or the given file's.

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


class Run(Settings):
    """A named run: a family of methods and the settings that differ from the paper's."""

    family: str = Field(description="method: " + ", ".join(sorted(FAMILIES)))
    real_images: bool = Field(False, description="train on real images too, where the dataset has any")
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
        if self.family not in FAMILIES:
            raise InputError(f"family: '{self.family}' is not known{did_you_mean(self.family, FAMILIES)}")
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


DEFAULT_DATASETS: dict[str, Dataset] = {"demo": DemoDataset(), "real": PhotosDataset()}
DEFAULT_RUNS = {
    "surfemb": Run(family="surfemb"),
    "surfemb-real": Run(family="surfemb", real_images=True),
    "surfemb-rgbd": Run(family="surfemb", set={"infer": {"depth": True}}),
    "surfemb-real-rgbd": Run(family="surfemb", real_images=True, set={"infer": {"depth": True}}),
    "surfemb-shared-decoder": Run(family="surfemb", set={"network": {"separate_decoders": False}}),
    "surfemb-faithful": Run(family="surfemb", set={"infer": {"faithful": True}}),
    "surfemb-small": Run(family="surfemb", set=_small()),
    "surfemb-small-augmented": Run(family="surfemb", set=_small(augment=True, steps=2500)),
    "surfemb-untrained": Run(family="surfemb", set=_small(steps=0)),
}


class WorkflowSettings(Settings):
    """What to run: datasets, methods, hardware."""

    gpus: int = Field(
        1,
        ge=0,
        description="GPUs that each training asks for (inference: at most one); a machine without any runs on its CPU "
        "all the same, a cluster without any needs 0, and 0 leaves the GPUs of a machine unused",
    )
    train_threads: int = Field(
        8, ge=1, description="CPU cores that each training asks for; locally at most all there are"
    )
    evaluator: Literal["builtin", "bop_toolkit"] = Field(
        "builtin", description="who computes the scores; `bop_toolkit` is the reference, where you have installed it"
    )
    data_mirror: str | None = Field(
        None, description="folder that holds archives of datasets (in itself or in <name>/), for use without internet"
    )
    keep_archives: bool = Field(True, description="whether downloaded archives stay when they have been unpacked")
    complete_tables: bool = Field(
        False, description="whether results/tables/<paper>.html computes the scores that are missing, or names them only"
    )
    datasets: dict[str, Annotated[Dataset, Field(discriminator="source")]] = Field(
        DEFAULT_DATASETS,
        min_length=1,
        description="datasets by name: `snakemake results/<name>/report.html` makes one, `snakemake` the first one",
    )
    runs: dict[str, Run] = Field(
        DEFAULT_RUNS, description="named runs: a family of methods plus the settings that differ from the paper's"
    )

    @model_validator(mode="after")
    def _names_are_known(self) -> WorkflowSettings:
        for kind, names in (("datasets", self.datasets), ("runs", self.runs)):
            for name in names:
                taken = STAGE_FOLDERS if kind == "runs" else ("tables",)
                if not re.fullmatch(NAME, name) or name in taken:
                    raise ValueError(f"{kind}.{name}: choose another name (a-z, 0-9, - and _; no folder of a stage)")
        for name, run in self.runs.items():
            try:
                run.settings()
            except InputError as error:
                raise ValueError(f"runs.{name}.{error}") from None
        for name, dataset in self.datasets.items():
            _check_scene_settings(name, dataset)
            try:
                dataset.detection_source(name)
            except InputError as error:
                raise ValueError(str(error)) from None
            if isinstance(dataset, CatalogueDataset):
                try:
                    dataset.choice(name).check()
                except InputError as error:
                    raise ValueError(f"datasets.{name}: {error}") from None
            for run_name in dataset.runs:
                if run_name not in self.runs:
                    raise ValueError(
                        f"datasets.{name}.runs: '{run_name}' is not known{did_you_mean(run_name, self.runs)}"
                    )
        return self

    def dataset(self, name: str) -> Dataset:
        """A dataset's entry.

        Raises:
            InputError: there is none of this name.
        """
        if name in self.datasets:
            return self.datasets[name]
        if name in catalogue_names():
            published(name)
            return CatalogueDataset()
        raise InputError(f"dataset '{name}' is not known{did_you_mean(name, [*self.datasets, *catalogue_names()])}")

    @property
    def dataset_names(self) -> list[str]:
        """Names of all datasets: those of config.yaml, then the catalogue's."""
        others = [name for name in catalogue_names() if name not in self.datasets and catalogue_entry(name).parts]
        return [*self.datasets, *others]

    def training_settings(self, run: str) -> dict[str, Any]:
        """What decides a run's checkpoint: its family and that family's settings of training, defaults included."""
        sections = FAMILIES[self.runs[run].family].train_sections
        settings = self.runs[run].settings().model_dump(mode="json")
        given = {"checkpoint": self.runs[run].checkpoint} if self.runs[run].checkpoint else {}
        return {"family": self.runs[run].family, **given, **{k: v for k, v in settings.items() if k in sections}}

    def training_digest(self, run: str) -> str:
        """Digest of `training_settings`: a training is repeated when it changes."""
        return json_digest(self.training_settings(run))

    def training_overrides(self, run: str) -> list[str]:
        """`key=value` strings for `train.py --set`."""
        sections = FAMILIES[self.runs[run].family].train_sections
        return flatten({k: v for k, v in self.runs[run].set.items() if k in sections})

    def inference_digest(self, run: str) -> str:
        """Digest of all settings of a run: inference is repeated when it changes."""
        return json_digest({"family": self.runs[run].family, **self.runs[run].settings().model_dump(mode="json")})

    def inference_overrides(self, run: str) -> list[str]:
        """`key=value` strings for `infer.py --set`; with those of training, for the checkpoint has to fit."""
        return flatten(self.runs[run].set)

    def real_images(self, dataset: str) -> str | None:
        """Folder of a dataset's real training scenes, None if it has none."""
        entry = self.dataset(dataset)
        if isinstance(entry, CatalogueDataset):
            return published(dataset).train_real
        return entry.train_real if isinstance(entry, FolderDataset) else None

    def uses_real_images(self, dataset: str, run: str) -> bool:
        """Whether a run is trained on real images of a dataset."""
        return self.runs[run].real_images and self.real_images(dataset) is not None

    def runs_of(self, dataset: str) -> list[str]:
        """Runs of a dataset, without those that differ from another one by real images which the dataset has not."""
        runs = self.dataset(dataset).runs
        plain = {self.inference_digest(run) for run in runs if not self.runs[run].real_images}
        has_real = self.real_images(dataset) is not None
        return [r for r in runs if has_real or not self.runs[r].real_images or self.inference_digest(r) not in plain]

    def checkpoint_run(self, dataset: str, run: str) -> str:
        """The run whose checkpoint `run` uses: the first one of the dataset that would be trained the same way."""

        def training(name: str) -> tuple[str, bool]:
            return self.training_digest(name), self.uses_real_images(dataset, name)

        return next((name for name in self.dataset(dataset).runs if training(name) == training(run)), run)


def load(config: Mapping[str, Any]) -> WorkflowSettings:
    """Validate the configuration that Snakemake has read and merged.

    Raises:
        InputError: one sentence that names the key and the nearest valid name.
    """
    return validate(WorkflowSettings, config, "config.yaml")


def scene_settings(look: Look, overrides: Mapping[str, Any]) -> SceneSettings:
    """All settings of a scene folder: a named look and what differs from it.

    Raises:
        InputError: an override is not known or has the wrong type.
    """
    return validate(SceneSettings, {**PRESETS[look], **overrides}, "set")


def objects(settings: WorkflowSettings, name: str) -> list[int]:
    """Object ids of a dataset, known before anything is made.

    Raises:
        InputError: the dataset is not known, or the files that name its objects are missing.
    """
    entry = settings.dataset(name)
    if isinstance(entry, DemoDataset):
        return list(DEMO_OBJECTS)
    if isinstance(entry, PhotosDataset):
        return sorted(photos_of(entry, name).models)
    if isinstance(entry, CatalogueDataset):
        known = published(name)
        if known.format != "bop" or known.objects is None:
            raise InputError(
                f"dataset '{name}' is not in BOP format, and what is made under results/ starts from BOP datasets; "
                f"`snakemake data/{name}` fetches it"
            )
        return list(known.objects)
    info = Path("data", name, models_folder(name), "models_info.json")
    if not info.exists():
        raise InputError(f"{info}: file not found; put the BOP dataset '{name}' (models, test images) into data/{name}")
    return sorted(int(key) for key in read_json(info))


def models_folder(name: str) -> str:
    """Folder of a dataset's CAD models; the catalogue or the dataset's own file names another one than `models`."""
    return catalogue_entry(name, Path("data", name)).models


def camera_file(name: str) -> str:
    """File of the intrinsics of a dataset's test sensor."""
    return catalogue_entry(name, Path("data", name)).camera


def test_split(settings: WorkflowSettings, name: str) -> str:
    """Folder of a dataset's test scenes."""
    entry = settings.dataset(name)
    return entry.choice(name).test_split if isinstance(entry, CatalogueDataset) else getattr(entry, "split", "test")


def _check_scene_settings(name: str, entry: Dataset) -> None:
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
