"""Reader of the NOCS data (ssc6d.md section 2): CAMERA and Real images, object models, published ground truth.

Images are read when they are asked for. Depth is millimetres; similarity transforms `sRT` (4, 4) map normalised object
coordinates to the camera frame in metres, as published. Everything wrong raises `InputError` with file and record.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_models.datasets.image_files import read_image
from pose_models.datasets.pickles import load_arrays
from pose_models.files import InputError

Array = NDArray[np.float64]
CATEGORIES = {1: "bottle", 2: "bowl", 3: "camera", 4: "can", 5: "laptop", 6: "mug"}
SYNSETS = {1: "02876657", 2: "02880940", 3: "02942699", 4: "02946921", 5: "03642806", 6: "03797390"}
SUBSETS = ("CAMERA/train", "CAMERA/val", "Real/train", "Real/test")
BACKGROUND = 255
INVALID_DEPTH = 32001  # how CAMERA's three-channel depth marks "nothing measured"
_INTRINSICS = {"CAMERA": (577.5, 577.5, 319.5, 239.5), "Real": (591.0125, 590.16775, 322.525, 244.11084)}
_GT_NAMES = {"CAMERA/val": ("val", ("val",)), "Real/test": ("real_test", ("test", "real_test"))}
_KINDS = ("color", "depth", "mask", "coord")


@dataclasses.dataclass(frozen=True)
class NocsInstance:
    """A line of an image's meta file: id in the mask, category (0: distractor), model (CAMERA: synset and id)."""

    instance_id: int
    class_id: int
    model: str
    synset: str | None = None


@dataclasses.dataclass(frozen=True)
class NocsTruth:
    """Published ground truth of an image: class_ids (n,), boxes y1 x1 y2 x2 (n, 4), sRT (n, 4, 4) metres, sizes (n, 3).

    handle_visible: (n,) False only for mugs whose handle is hidden.
    """

    class_ids: NDArray[np.int64]
    boxes: NDArray[np.int64]
    sRT: Array
    sizes: Array
    handle_visible: NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class NocsImage:
    """One image: subset such as `Real/test`, folder such as `scene_1` or `00012`, name such as `0003`."""

    root: Path
    subset: str
    folder: str
    name: str

    @property
    def K(self) -> Array:
        """Intrinsic matrix (3, 3); all images of a subset have the same."""
        fx, fy, cx, cy = _INTRINSICS[self.subset.partition("/")[0]]
        return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])

    def path(self, kind: str) -> Path:
        """Path of the image's `color`, `depth`, `mask` or `coord` picture."""
        return self.root / self.subset / self.folder / f"{self.name}_{kind}.png"

    @property
    def missing(self) -> list[str]:
        """Files that are not there; the published data lacks some (3,792 images of CAMERA/val)."""
        paths = [*(self.path(kind) for kind in _KINDS), self._meta]
        return [path.name for path in paths if not path.exists()]

    def rgb(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB."""
        image = read_image(self.path("color"), cv2.IMREAD_COLOR)
        return np.ascontiguousarray(image[..., ::-1]).astype(np.uint8, copy=False)

    def depth(self) -> NDArray[np.uint16]:
        """(H, W) uint16 mm along z, 0 where nothing was measured."""
        path = self.path("depth")
        try:
            return decode_depth(read_image(path, cv2.IMREAD_UNCHANGED))
        except InputError as error:
            raise InputError(f"{path}: {error}" if str(path) not in str(error) else str(error)) from None

    def cleaned_depth(self) -> NDArray[np.uint16]:
        """As `depth`, cleaned of what does not belong to the objects (`Real/depth/`, ssc6d.md section 4.8)."""
        world, _, split = self.subset.partition("/")
        path = self.root / world / "depth" / split / self.folder / f"{self.name}_depth.png"
        return decode_depth(read_image(path, cv2.IMREAD_UNCHANGED))

    def instance_ids(self) -> NDArray[np.uint8]:
        """(H, W) uint8: the instance of every pixel, 255 = background."""
        mask = read_image(self.path("mask"), cv2.IMREAD_UNCHANGED)
        return np.ascontiguousarray(mask if mask.ndim == 2 else mask[..., 2]).astype(np.uint8, copy=False)

    def coordinates(self) -> NDArray[np.float32]:
        """(H, W, 3) float32 in [-0.5, 0.5]: centred NOCS coordinates p_n; meaningless on the background."""
        image = read_image(self.path("coord"), cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32) / np.float32(255)
        image[..., 2] = 1 - image[..., 2]
        return np.ascontiguousarray(image - np.float32(0.5))

    @functools.cached_property
    def instances(self) -> tuple[NocsInstance, ...]:
        """Instances of the meta file, in file order; distractors have class 0."""
        if not self._meta.exists():
            raise InputError(f"{self._meta}: file not found")
        lines = self._meta.read_text(encoding="utf-8").splitlines()
        return tuple(
            _meta_line(f"{self._meta}: line {n}", line.split()) for n, line in enumerate(lines, 1) if line.strip()
        )

    @property
    def _meta(self) -> Path:
        return self.root / self.subset / self.folder / f"{self.name}_meta.txt"

    def truth(self) -> NocsTruth:
        """Published ground truth of CAMERA/val and Real/test, from `gts/` or the result files, which hold it too.

        Raises:
            InputError: the subset has none, the file is missing or holds something else.
        """
        if self.subset not in _GT_NAMES:
            raise InputError(
                f"{self.root / self.subset}: no ground truth is published; it is made from coord and depth"
            )
        folder, shorts = _GT_NAMES[self.subset]
        names = [f"results_{short}_{self.folder}_{self.name}.pkl" for short in shorts]
        candidates = [self.root / place / folder / n for place in ("gts", "results/nocs_results") for n in names]
        path = next((path for path in candidates if path.exists()), None)
        if path is None:
            raise InputError(f"{candidates[0]}: file not found; fetch the part 'gts' of the dataset")
        return read_truth(path)


class NocsDataset:
    """The folder that holds CAMERA/, Real/, obj_models/ and gts/ (any of them may be absent)."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise InputError(f"{self.root}: dataset folder not found")

    def images(self, subset: str) -> Iterator[NocsImage]:
        """Images of a subset (`SUBSETS`) in order of folder and name, also those that lack a file (`missing`)."""
        folder = self._subset(subset)
        for place in sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: _natural(path.name)):
            names = {path.name.partition("_")[0] for path in place.iterdir() if re.match(r"\d+_[a-z]+\.", path.name)}
            for name in sorted(names):
                yield NocsImage(self.root, subset, place.name, name)

    def image(self, subset: str, folder: str, name: str) -> NocsImage:
        """One image, by the names that lists such as `train/00012/0003` use."""
        image = NocsImage(self.root, subset, folder, name)
        if not self._subset(subset).joinpath(folder).is_dir():
            raise InputError(f"{self.root / subset / folder}: folder not found")
        return image

    def model_path(self, subset: str, instance: NocsInstance) -> Path:
        """Mesh of an instance: obj_models/<split>/<synset>/<id>/model.obj, or obj_models/real_<split>/<name>.obj."""
        world, _, split = subset.partition("/")
        if world == "Real":
            return self.root / "obj_models" / f"real_{split}" / f"{instance.model}.obj"
        return self.root / "obj_models" / split / str(instance.synset) / instance.model / "model.obj"

    def box_mm(self, subset: str, instance: NocsInstance) -> Array:
        """Sides (3,) mm of a scanned object's box, from the text file beside its mesh (Real only)."""
        path = self.model_path(subset, instance).with_suffix(".txt")
        try:
            sides = np.array(path.read_text().split(), dtype=np.float64)
        except FileNotFoundError:
            raise InputError(f"{path}: file not found") from None
        except ValueError:
            sides = np.zeros(0)
        if sides.shape != (3,) or not (np.isfinite(sides) & (sides > 0)).all():
            raise InputError(f"{path}: must hold the three sides of the box in metres")
        return sides * 1000

    def _subset(self, subset: str) -> Path:
        if subset not in SUBSETS:
            raise InputError(f"'{subset}': NOCS has the subsets {', '.join(SUBSETS)}")
        folder = self.root / subset
        if not folder.is_dir():
            raise InputError(f"{folder}: folder not found")
        return folder


def decode_depth(image: NDArray[Any]) -> NDArray[np.uint16]:
    """Depth in mm (ssc6d.md section 3.3).

    Args:
        image: (H, W) uint16 as it is, or (H, W, 3) uint8 BGR of CAMERA: 256 G + R, 32001 means nothing was measured.

    Raises:
        InputError: an image of another kind.
    """
    if image.ndim == 2 and image.dtype == np.uint16:
        return np.asarray(image)
    if image.ndim == 3 and image.shape[2] >= 3 and image.dtype == np.uint8:
        depth = (image[..., 1].astype(np.uint16) << 8) | image[..., 2]
        return np.where(depth == INVALID_DEPTH, np.uint16(0), depth)
    raise InputError(f"a depth image is uint16 or has three uint8 channels, this one is {image.dtype} {image.shape}")


def read_truth(path: str | Path) -> NocsTruth:
    """Ground-truth part of a NOCS result pickle, read without running anything that it names.

    Raises:
        InputError: a key is missing or its array has another shape.
    """
    content = load_arrays(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds no dictionary; fetch the file again")
    count = len(np.atleast_1d(content.get("gt_class_ids", ())))
    shapes = {"gt_class_ids": (count,), "gt_bboxes": (count, 4), "gt_RTs": (count, 4, 4), "gt_scales": (count, 3),
              "gt_handle_visibility": (count,)}  # fmt: skip
    values = {}
    for key, shape in shapes.items():
        if key not in content and key != "gt_handle_visibility":
            raise InputError(f"{path}: has no key '{key}'; fetch the file again")
        value = np.asarray(content.get(key, np.ones(count)), dtype=np.float64)
        if value.size != np.prod(shape) or not np.isfinite(value).all():
            raise InputError(f"{path}: '{key}' must be finite numbers of shape {shape}, it has {value.shape}")
        values[key] = value.reshape(shape)
    return NocsTruth(
        class_ids=values["gt_class_ids"].astype(np.int64),
        boxes=values["gt_bboxes"].astype(np.int64),
        sRT=values["gt_RTs"],
        sizes=values["gt_scales"],
        handle_visible=values["gt_handle_visibility"] > 0,
    )


@functools.cache
def removed_models() -> frozenset[tuple[str, str]]:
    """(synset, model id) of the 330 meshes that are left out of shape training; ids without leading zeros."""
    lines = Path(__file__).with_name("nocs_removed_models.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split() for line in lines if not line.startswith("#"))
    return frozenset((synset, model_id.lstrip("0")) for synset, model_id in pairs)


def is_removed(synset: str, model_id: str) -> bool:
    """Whether a mesh is left out of shape training (ssc6d.md section 5.4); leading zeros of the id do not matter."""
    return (synset, model_id.lstrip("0")) in removed_models()


def _meta_line(record: str, words: list[str]) -> NocsInstance:
    """`id class name` (Real) or `id class synset model_id` (CAMERA)."""
    if len(words) not in (3, 4) or not (words[0].isdigit() and words[1].isdigit()):
        raise InputError(f"{record}: must be 'id class name' or 'id class synset model_id'")
    class_id = int(words[1])
    if class_id and class_id not in CATEGORIES:
        raise InputError(f"{record}: class {class_id} is none of NOCS's")
    return NocsInstance(int(words[0]), class_id, words[-1], words[2] if len(words) == 4 else None)


def _natural(name: str) -> tuple[str, int]:
    digits = re.search(r"\d+$", name)
    return (name[: digits.start()], int(digits[0])) if digits else (name, -1)
