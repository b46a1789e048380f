"""Reader of the classic BOP layout (bop.md section 2): models, splits, scenes, images, ground truth, targets.

JSON files are read once per scene and checked when they are read; images when they are asked for. Lengths are
millimetres, depth is already multiplied by the image's `depth_scale`. Everything wrong raises `InputError` with the
file and the record.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_models.files import InputError, read_json
from pose_models.geometry.transforms import from_rotation_translation

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Camera:
    """Camera of one image: K (3, 3) with the dataset's own pixel convention, depth_scale mm per depth unit."""

    K: Array
    depth_scale: float
    T_cam_world: Array | None = None


@dataclasses.dataclass(frozen=True)
class Instance:
    """One annotated object instance: `gt_id` is its position in the image's list; T_cam_obj (4, 4), mm."""

    gt_id: int
    obj_id: int
    T_cam_obj: Array


@dataclasses.dataclass(frozen=True)
class InstanceInfo:
    """Visibility of one instance; boxes are (x, y, w, h) with w, h = max - min (no +1), -1 where nothing is visible."""

    px_count_all: int
    px_count_valid: int
    px_count_visib: int
    visib_fract: float
    bbox_obj: tuple[int, int, int, int]
    bbox_visib: tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True)
class Target:
    """One localisation target: `inst_count` instances of an object in an image."""

    scene_id: int
    im_id: int
    obj_id: int
    inst_count: int


class BopScene:
    """One scene folder `<split>/<scene id>/`."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise InputError(f"{self.path}: scene folder not found")
        digits = self.path.name.rpartition("_")[2]  # `000001`, or `shard_0001` of generated images
        if not digits.isdigit():
            raise InputError(f"{self.path}: a scene folder's name must be a number")
        self.scene_id = int(digits)

    @functools.cached_property
    def cameras(self) -> dict[int, Camera]:
        """Camera by image id."""
        file = self.path / "scene_camera.json"
        return {int(key): _camera(file, key, value) for key, value in read_json(file).items()}

    @functools.cached_property
    def ground_truth(self) -> dict[int, list[Instance]]:
        """Instances by image id, in file order."""
        file = self.path / "scene_gt.json"
        return {int(key): _instances(file, key, value) for key, value in read_json(file).items()}

    @functools.cached_property
    def ground_truth_info(self) -> dict[int, list[InstanceInfo]]:
        """Visibility by image id, parallel to `ground_truth`."""
        file = self.path / "scene_gt_info.json"
        infos = {int(key): _infos(file, key, value) for key, value in read_json(file).items()}
        for im_id, instances in self.ground_truth.items():
            if len(infos.get(im_id, [])) != len(instances):
                raise InputError(f"{file}: image {im_id} has not as many entries as scene_gt.json; make the file again")
        return infos

    @functools.cached_property
    def image_ids(self) -> list[int]:
        """All image ids, ascending."""
        return sorted(self.cameras)

    def camera(self, im_id: int) -> Camera:
        """Camera of an image.

        Raises:
            InputError: the image has no entry in scene_camera.json.
        """
        try:
            return self.cameras[im_id]
        except KeyError:
            raise InputError(f"{self.path / 'scene_camera.json'}: no entry for image {im_id}") from None

    def rgb_path(self, im_id: int) -> Path:
        """Path of the colour (or grey) image."""
        for folder, suffix in (("rgb", "png"), ("rgb", "jpg"), ("gray", "tif"), ("gray", "png"), ("gray", "jpg")):
            path = self.path / folder / f"{im_id:06d}.{suffix}"
            if path.exists():
                return path
        raise InputError(f"{self.path}: image {im_id} not found in rgb/ or gray/")

    def rgb(self, im_id: int) -> NDArray[np.uint8]:
        """Colour image (H, W, 3) uint8 RGB; grey images are replicated to three channels."""
        image = read_image(self.rgb_path(im_id), cv2.IMREAD_COLOR)
        return np.ascontiguousarray(image[..., ::-1]).astype(np.uint8, copy=False)

    def depth(self, im_id: int) -> NDArray[np.float32]:
        """Depth image (H, W) float32 mm along z, 0 where nothing was measured."""
        folder = self.path / "depth"
        path = next((p for p in (folder / f"{im_id:06d}.{s}" for s in ("png", "tif")) if p.exists()), None)
        if path is None:
            raise InputError(f"{folder}: depth image {im_id:06d} not found")
        raw = read_image(path, cv2.IMREAD_UNCHANGED)
        return raw.astype(np.float32) * np.float32(self.camera(im_id).depth_scale)

    def has_depth(self, im_id: int) -> bool:
        """Whether a depth image exists."""
        return any((self.path / "depth" / f"{im_id:06d}.{suffix}").exists() for suffix in ("png", "tif"))

    def mask(self, im_id: int, gt_id: int, visible: bool = True) -> NDArray[np.bool_]:
        """Mask (H, W) of an instance: its visible part, or its whole silhouette inside the image."""
        folder = "mask_visib" if visible else "mask"
        return read_image(self.path / folder / f"{im_id:06d}_{gt_id:06d}.png", cv2.IMREAD_GRAYSCALE) > 0


class BopDataset:
    """A dataset folder in classic BOP layout."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise InputError(f"{self.root}: dataset folder not found")

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.root.name

    def scene_ids(self, split: str) -> list[int]:
        """Ids of the scenes of a split folder (such as `test` or `train_pbr`), ascending."""
        folder = self.root / split
        if not folder.is_dir():
            raise InputError(f"{folder}: split folder not found")
        return sorted(int(path.name) for path in folder.iterdir() if path.is_dir() and path.name.isdigit())

    def scene(self, split: str, scene_id: int) -> BopScene:
        """One scene of a split."""
        return BopScene(self.root / split / f"{scene_id:06d}")

    def models_info(self, folder: str = "models") -> dict[int, dict[str, Any]]:
        """Entries of `<folder>/models_info.json` by object id, ascending (diameter and sizes in mm, symmetries)."""
        return read_models_info(self.root / folder)

    def model_path(self, obj_id: int, folder: str = "models") -> Path:
        """Path of an object's mesh."""
        return self.root / folder / f"obj_{obj_id:06d}.ply"

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


def read_image(path: Path, flags: int) -> NDArray[Any]:
    """Read an image with OpenCV (BGR order as it comes).

    Raises:
        InputError: the file is missing, truncated or no image.
    """
    if not path.exists():
        raise InputError(f"{path}: file not found")
    content = path.read_bytes()
    if path.suffix == ".png" and not content.rstrip(b"\0").endswith(b"IEND\xaeB`\x82"):
        raise InputError(f"{path}: truncated or unreadable PNG; fetch or make the file again")
    if path.suffix in (".jpg", ".jpeg") and b"\xff\xd9" not in content[-64:]:
        raise InputError(f"{path}: truncated or unreadable JPEG; fetch or make the file again")
    image = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    if image is None:
        raise InputError(f"{path}: unreadable image; fetch or make the file again")
    return np.asarray(image)


def _numbers(file: Path, record: str, entry: Mapping[str, Any], key: str, count: int) -> Array:
    try:
        values = np.asarray(entry[key], dtype=np.float64).reshape(-1)
    except KeyError:
        raise InputError(f"{file}: {record} has no key '{key}'") from None
    except (TypeError, ValueError):
        raise InputError(f"{file}: {record}: '{key}' is not a list of numbers") from None
    if len(values) != count or not np.isfinite(values).all():
        raise InputError(f"{file}: {record}: '{key}' must be {count} finite numbers")
    return values


def _camera(file: Path, key: str, entry: Mapping[str, Any]) -> Camera:
    record = f"image {key}"
    K = _numbers(file, record, entry, "cam_K", 9).reshape(3, 3)
    T_cam_world = None
    if "cam_R_w2c" in entry:
        R = _numbers(file, record, entry, "cam_R_w2c", 9).reshape(3, 3)
        T_cam_world = from_rotation_translation(R, _numbers(file, record, entry, "cam_t_w2c", 3))
    return Camera(K=K, depth_scale=float(entry.get("depth_scale", 1.0)), T_cam_world=T_cam_world)


def _instances(file: Path, key: str, entries: Any) -> list[Instance]:
    instances = []
    for gt_id, entry in enumerate(entries):
        record = f"image {key}, instance {gt_id}"
        if "obj_id" not in entry:
            raise InputError(f"{file}: {record} has no key 'obj_id'")
        R = _numbers(file, record, entry, "cam_R_m2c", 9).reshape(3, 3)
        t = _numbers(file, record, entry, "cam_t_m2c", 3)
        instances.append(Instance(gt_id, int(entry["obj_id"]), from_rotation_translation(R, t)))
    return instances


def _infos(file: Path, key: str, entries: Any) -> list[InstanceInfo]:
    infos = []
    for gt_id, entry in enumerate(entries):
        missing = [f.name for f in dataclasses.fields(InstanceInfo) if f.name not in entry]
        if missing:
            raise InputError(f"{file}: image {key}, instance {gt_id} has no key '{missing[0]}'")
        infos.append(
            InstanceInfo(
                px_count_all=int(entry["px_count_all"]),
                px_count_valid=int(entry["px_count_valid"]),
                px_count_visib=int(entry["px_count_visib"]),
                visib_fract=float(entry["visib_fract"]),
                bbox_obj=tuple(entry["bbox_obj"]),
                bbox_visib=tuple(entry["bbox_visib"]),
            )
        )
    return infos
