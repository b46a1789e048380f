"""Facts about datasets that evaluation and training need and that the files do not say (bop.md section 3).

One small YAML file per dataset lies in `catalogue/`; a folder of another name may bring its own as `dataset.yaml`.
What neither says is derived from the dataset's files, so that a custom dataset in BOP layout needs nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import yaml
from pydantic import Field

from pose_models.datasets.archives import Ids, Part
from pose_models.files import InputError, read_json
from pose_models.settings import Settings, did_you_mean, validate

if TYPE_CHECKING:  # reading images needs OpenCV, which a dry run must not load
    from pose_models.datasets.bop import BopDataset

FOLDER = Path(__file__).with_name("catalogue")
OWN_FILE = "dataset.yaml"


class DatasetEntry(Settings):
    """One file of the catalogue; ids may be written as ranges ("1-15 20"). What is None is derived from the files."""

    title: str = Field("", description="the dataset's name as its authors write it")
    format: Literal["bop", "nocs", "symsol", "pvnet", "images"] = Field("bop", description="layout of its files")
    licence: str | None = Field(None, description="licence; None: see the dataset's page")
    citation: str | None = Field(None, description="paper to cite")
    page: str | None = Field(None, description="the dataset's page, where it has no hub repository")
    repository: str | None = Field(None, description="hub repository (a dataset) that holds the archives")
    parts: dict[str, Part] = Field(default_factory=dict, description="what can be fetched, by name")
    default_detections: str | None = Field(None, description="file of default detections in bop-benchmark/bop_extra")
    camera: str = Field("camera.json", description="file of the test sensor's intrinsics")
    objects: Ids | None = Field(None, description="ids of the objects that are evaluated")
    symmetric: Ids | None = Field(None, description="ids for which AD means ADD-S")
    auc_symmetric: Ids | None = Field(
        None, description="the same for the area under the curve of ADD(-S), where papers take other ids"
    )
    image_size: tuple[int, int] | None = Field(None, description="width and height of the evaluated camera, pixels")
    split: str = Field("test", description="folder of the evaluated split")
    test_scenes: Ids | None = Field(None, description="scenes of the evaluated split")
    sensor: str | None = Field(None, description="evaluated sensor of a dataset with several")
    folder: str | None = Field(None, description="dataset in whose folder and archives it lies")
    models: str = Field("models", description="folder of the models from which masks are made")
    training_from: str | None = Field(None, description="dataset whose PBR training images are used")
    train_real: str | None = Field(None, description="folder of the real images that papers train on, where they do")
    delta_mm: float = Field(15.0, description="tolerance of the visibility test")
    pinhole: bool = Field(True, description="whether its cameras are pinhole cameras, which all methods need")
    vsd: bool = Field(True, description="whether VSD is defined for the dataset")
    protocols: tuple[str, ...] = Field(("bop19",), description="protocols that papers report, BOP's first")
    core: bool = Field(False, description="one of the seven datasets of AR_Core")
    public_ground_truth: bool = Field(True, description="whether the test images' ground truth is published")
    estimates_per_image: int = Field(100, description="estimates kept per image in the detection task")
    depth_range_mm: tuple[float, float] | None = Field(None, description="camera distance of the test views")
    elevation_rad: tuple[float, float] | None = Field(None, description="camera elevation of the test views")


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the evaluation of one dataset needs to know; `entry` holds the rest."""

    name: str
    object_ids: tuple[int, ...]
    symmetric_ids: frozenset[int]
    image_width: int
    delta_mm: float
    split: str
    entry: DatasetEntry


def catalogue_names() -> list[str]:
    """Names of the datasets in the catalogue."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def published(name: str) -> DatasetEntry:
    """The entry of a dataset that can be fetched.

    Raises:
        InputError: the catalogue has none of this name, or it has no archives of its own.
    """
    if name not in catalogue_names():
        raise InputError(f"dataset '{name}' is not in the catalogue{did_you_mean(name, catalogue_names())}")
    entry = catalogue_entry(name)
    if not entry.parts:
        raise InputError(f"dataset '{name}' has no archives of its own; it is part of '{entry.folder}'")
    return entry


def default_parts(entry: DatasetEntry, needs: Collection[str] = ("inference", "training")) -> list[str]:
    """Names of the parts that some uses need."""
    return [name for name, part in entry.parts.items() if part.needed_for in needs]


def catalogue_entry(name: str, root: Path | None = None) -> DatasetEntry:
    """The entry of a dataset: its own `dataset.yaml`, else the catalogue's, else one where all is to be derived."""
    own = root / OWN_FILE if root else None
    path = own if own and own.exists() else FOLDER / f"{name}.yaml"
    if not path.exists():
        return DatasetEntry()
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML ({error})") from None
    return validate(DatasetEntry, values, str(path))


def has_truth(root: Path, split: str | None = None) -> bool:
    """Whether a split's ground truth is there or will be when it is fetched; publishers keep that of some test sets.

    Args:
        root: dataset folder; need not be there yet.
        split: split folder; None for the catalogue's.
    """
    entry = catalogue_entry(root.name, root)
    folder = root / (split or entry.split)
    if entry.public_ground_truth or folder.name != entry.split:
        return True
    return any(any(folder.glob(pattern)) for pattern in ("*/scene_gt.json", "*/scene_gt_*.json", "*.gt.json"))


def dataset_facts(dataset: BopDataset, split: str | None = None, models: str = "models_eval") -> Facts:
    """Facts of a dataset folder: from the catalogue, completed from its files.

    Args:
        dataset: the folder; its name is looked up in the catalogue.
        split: split folder; None for the catalogue's.
        models: folder whose models_info.json gives object ids and symmetries where the catalogue does not.
    """
    entry = catalogue_entry(dataset.name, dataset.root)
    chosen = split or entry.split
    if entry.objects is None or entry.symmetric is None:
        infos = dataset.models_info(models)
        derived = [i for i, v in infos.items() if v.get("symmetries_discrete") or v.get("symmetries_continuous")]
    return Facts(
        name=dataset.name,
        object_ids=tuple(infos) if entry.objects is None else entry.objects,
        symmetric_ids=frozenset(derived if entry.symmetric is None else entry.symmetric),
        image_width=entry.image_size[0] if entry.image_size else _image_width(dataset, chosen),
        delta_mm=entry.delta_mm,
        split=chosen,
        entry=entry,
    )


def _image_width(dataset: BopDataset, split: str) -> int:
    """Width of the test images: from camera.json, else from the first image of the split."""
    camera = dataset.root / "camera.json"
    if camera.exists():
        width = read_json(camera).get("width")
        if width:
            return int(width)
    for scene_id in dataset.scene_ids(split):
        scene = dataset.scene(split, scene_id)
        if scene.image_ids:
            return scene.image_size(scene.image_ids[0])[0]
    raise InputError(f"{camera}: not found, and {dataset.root / split} has no image to learn the image width from")
