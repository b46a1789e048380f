"""What config.yaml may say, and what follows from it for the graph.

The models of `datasets`, `runs` and `settings` are the only description of the configuration: config.yaml and its JSON
schema are generated from them. The functions answer the questions that rules ask (which objects, which scenes, which
settings decide which stage) from the settings and a few small files, without torch, so that a dry run takes seconds.
"""

from __future__ import annotations

from pathlib import Path

from pose_models.datasets.catalogue import catalogue_entry, published
from pose_models.files import InputError, read_json
from pose_models.workflow.datasets import (
    DEMO_OBJECTS,
    CatalogueDataset,
    DemoDataset,
    FolderDataset,
    PhotosDataset,
    SyntheticImages,
    photos_of,
    scene_settings,
)
from pose_models.workflow.runs import DEFAULT_RUNS, STAGES
from pose_models.workflow.settings import WorkflowSettings, load

__all__ = [
    "DEFAULT_RUNS",
    "DEMO_OBJECTS",
    "STAGES",
    "CatalogueDataset",
    "DemoDataset",
    "FolderDataset",
    "PhotosDataset",
    "SyntheticImages",
    "WorkflowSettings",
    "camera_file",
    "load",
    "models_folder",
    "objects",
    "photos_of",
    "scene_settings",
    "test_split",
]


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
        if not catalogue_entry(name, Path("data", name)).pinhole:
            raise InputError(
                f"the cameras of dataset '{name}' are fisheye cameras, and methods need pinhole cameras; "
                f"`snakemake data/{name}` fetches it: undistort its images into a BOP dataset of your own"
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
