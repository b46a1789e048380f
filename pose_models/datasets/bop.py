"""A BOP dataset (bop.md section 2): models, splits, scenes, targets, whichever layout its images are in.

A split folder holds one folder per scene (classic), image-wise files, or tar shards of those; `BopDataset.scene` gives
the same kind of object for each. Lengths are millimetres. Everything wrong raises `InputError` with file and record.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pose_models.datasets import index
from pose_models.datasets.catalogue import catalogue_entry
from pose_models.datasets.image_files import read_image
from pose_models.datasets.imagewise import ImagewiseScene, ImagewiseSplit
from pose_models.datasets.records import Camera, Instance, InstanceInfo, Target
from pose_models.datasets.scene import BopScene
from pose_models.files import InputError, read_json

__all__ = ["BopDataset", "BopScene", "Camera", "Instance", "InstanceInfo", "Target", "models_in", "prepare_scenes",
           "read_image", "read_models_info"]  # fmt: skip


class BopDataset:
    """A dataset folder in BOP layout."""

    def __init__(self, root: str | Path, sensor: str | None = None) -> None:
        """Open a dataset folder.

        Args:
            root: the folder.
            sensor: whose images and annotations are read where there are several sensors (bop.md section 2.5); None for
                the one that the catalogue or the folder's dataset.yaml says is evaluated.
        """
        self.root, self.sensor = Path(root), sensor
        if not self.root.is_dir():
            raise InputError(f"{self.root}: dataset folder not found")
        self._imagewise = functools.cache(ImagewiseSplit)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.root.name

    def scene_ids(self, split: str) -> list[int]:
        """Ids of the scenes of a split folder (such as `test` or `train_pbr`), ascending."""
        folder = self.root / split
        if not folder.is_dir():
            raise InputError(f"{folder}: split folder not found")
        ids = sorted(int(path.name) for path in folder.iterdir() if path.is_dir() and path.name.isdigit())
        return ids if ids or not ImagewiseSplit.is_one(folder) else self._imagewise(folder).scene_ids

    def scene(self, split: str, scene_id: int) -> BopScene:
        """One scene of a split."""
        folder = self.root / split
        path = folder / f"{scene_id:06d}"
        if path.is_dir() or not folder.is_dir() or not ImagewiseSplit.is_one(folder):
            return BopScene(path, self.sensor)
        return ImagewiseScene(self._imagewise(folder), scene_id)

    @property
    def models(self) -> Path:
        """Folder of the CAD models: `models`, or what the catalogue or the folder's dataset.yaml names (T-LESS)."""
        return self.root / catalogue_entry(self.name, self.root).models

    def models_info(self, folder: str | None = None) -> dict[int, dict[str, Any]]:
        """Entries of `<folder>/models_info.json` by object id, ascending (diameter and sizes in mm, symmetries).

        Args:
            folder: models folder; None for `models`.
        """
        return read_models_info(self.root / folder if folder else self.models)

    def model_path(self, obj_id: int, folder: str | None = None) -> Path:
        """Path of an object's mesh in a models folder; None for `models`."""
        return (self.root / folder if folder else self.models) / f"obj_{obj_id:06d}.ply"

    def targets(self, file: str = "test_targets_bop19.json") -> list[Target]:
        """Localisation targets, in file order."""
        path = self.root / file
        try:
            return [
                Target(*(int(entry[key]) for key in ("scene_id", "im_id", "obj_id", "inst_count")))
                for entry in read_json(path)
            ]
        except KeyError as error:
            raise InputError(f"{path}: an entry has no key {error}") from None


def read_models_info(folder: str | Path) -> dict[int, dict[str, Any]]:
    """Entries of a models folder's `models_info.json` by object id, ascending.

    Raises:
        InputError: the file is missing or an object has no diameter.
    """
    file = Path(folder) / "models_info.json"
    entries = {int(key): value for key, value in read_json(file).items()}
    for obj_id, entry in entries.items():
        if "diameter" not in entry:
            raise InputError(f"{file}: object {obj_id} has no 'diameter'")
    return dict(sorted(entries.items()))


def models_in(folder: str | Path) -> list[int]:
    """Object ids of the `obj_XXXXXX.ply` files of a folder, ascending.

    Raises:
        InputError: there is none.
    """
    ids = sorted(int(path.stem[4:]) for path in Path(folder).glob("obj_*.ply"))
    if not ids:
        raise InputError(f"{folder}: no obj_XXXXXX.ply found")
    return ids


def prepare_scenes(scenes: Iterable[BopScene], workers: int | None = None) -> None:
    """Parse the annotations of many classic scenes at once, ahead of use; does nothing where the cache has them.

    Raises:
        InputError: an annotation is wrong.
    """
    plain = [scene for scene in scenes if not isinstance(scene, ImagewiseScene)]
    index.prepare([(kind, scene.annotation_file(kind)) for kind in index.KINDS for scene in plain], workers)
