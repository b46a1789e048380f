"""Poses from images in memory: what a notebook or a robot calls, the same for every method.

    from pose_models.methods.surfemb.api import SurfEmb

    estimator = SurfEmb.from_checkpoint("results/demo/surfemb-small/model.ckpt")
    estimates = estimator.estimate(image, K, boxes, obj_ids)

Images are RGB, boxes pixels, lengths millimetres; pixel centres are at integers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel

from pose_models.datasets.catalogue import catalogue_entry
from pose_models.datasets.estimates import Estimates
from pose_models.files import InputError, read_json
from pose_models.methods.registry import FAMILIES, family
from pose_models.settings import validate
from pose_models.training.checkpoints import family_of

Section = TypeVar("Section", bound=BaseModel)

LEAST_DEPTH_MM = 20.0  # an image whose farthest point is nearer than this is in metres


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The pose of one box.

    obj_id: object id. T_cam_obj: (4, 4), maps object to camera coordinates, mm; nan where no pose was found. score:
    larger is better, comparable within a method, -inf where no pose was found. box_xywh: the box that was given, px.
    times: seconds by stage.
    """

    obj_id: int
    T_cam_obj: NDArray[np.float64]
    score: float
    box_xywh: tuple[float, float, float, float]
    times: Mapping[str, float]

    @property
    def found(self) -> bool:
        """Whether there is a pose."""
        return bool(np.isfinite(self.T_cam_obj).all())

    def as_json(self) -> dict[str, Any]:
        """Plain values; pose and score are null where no pose was found."""
        return {
            "obj_id": self.obj_id,
            "T_cam_obj": self.T_cam_obj.tolist() if self.found else None,
            "score": self.score if self.found else None,
            "bbox": list(self.box_xywh),
            "times": dict(self.times),
        }


def to_result_file(estimates: Sequence[Estimate], scene_id: int = 0, im_id: int = 0) -> Estimates:
    """Rows of a BOP result file for one image; boxes without a pose are left out, the time is that of all boxes."""
    found = [e for e in estimates if e.found]
    T = np.array([e.T_cam_obj for e in found], dtype=np.float64).reshape(-1, 4, 4)
    seconds = sum(sum(e.times.values()) for e in estimates)
    return Estimates(
        scene_id=np.full(len(found), scene_id, dtype=np.int64),
        im_id=np.full(len(found), im_id, dtype=np.int64),
        obj_id=np.array([e.obj_id for e in found], dtype=np.int64),
        score=np.array([e.score for e in found], dtype=np.float64),
        R=T[:, :3, :3],
        t=T[:, :3, 3],
        time=np.full(len(found), seconds, dtype=np.float64),
    )


class Loaded(Protocol):
    """What a method's estimator of whole images has: the model, and the folder of its objects' meshes."""

    model: Any
    models: Path


Whole = TypeVar("Whole", bound=Loaded)


class OfModel(Generic[Whole]):
    """Base of the classes behind `PoseEstimator`: they wrap the method's estimator of whole images."""

    def __init__(self, estimator: Whole) -> None:
        self.estimator = estimator

    @property
    def object_ids(self) -> list[int]:
        """Objects that the model knows, ascending."""
        return list(self.estimator.model.object_ids)

    @property
    def models(self) -> Path:
        """Folder of the meshes."""
        return self.estimator.models


class PoseEstimator(Protocol):
    """What every method's estimator does."""

    @classmethod
    def from_checkpoint(
        cls, path: str | Path, *, models: str | Path | None = None, surface: str | Path | None = None,
        device: str = "auto", settings: Mapping[str, Any] | None = None,
    ) -> Self:  # fmt: skip
        """Read a trained model and what else it needs.

        Args:
            path: `model.ckpt` of train.py.
            models: folder of the meshes the method was trained with, `obj_XXXXXX.ply` (mm) and `models_info.json`.
            surface: folder of surface samples, `obj_XXXXXX.npz`. Where one of both is not given, see `find_folders`.
            device: `auto`, `cpu` or `cuda`.
            settings: settings of inference that differ from the run's, such as `{"refine_steps": 0}`.

        Raises:
            InputError: a file is missing, unreadable or made for something else; a setting is not known.
        """
        ...

    @property
    def object_ids(self) -> list[int]:
        """Objects that the model knows, ascending."""
        ...

    @property
    def models(self) -> Path:
        """Folder of the meshes."""
        ...

    def estimate(
        self, image: ArrayLike, K: ArrayLike, boxes: ArrayLike, obj_ids: Sequence[int], depth: ArrayLike | None = None
    ) -> list[Estimate]:
        """Estimate the pose of the object in each box.

        Args:
            image: (H, W, 3) uint8 RGB.
            K: (3, 3) intrinsics, pixel centres at integers.
            boxes: (N, 4) x, y, width, height px, around the whole object; they may reach out of the image.
            obj_ids: (N,) which object is in each box.
            depth: (H, W) mm along z, 0 where nothing was measured; corrects the distance.

        Returns:
            N estimates in the order of the boxes. The same input gives the same estimates.

        Raises:
            InputError: wrong shape, type or unit, or an object that the model does not know.
        """
        ...


@dataclasses.dataclass(frozen=True)
class View:
    """Checked input of `estimate`.

    image: (H, W, 3) uint8 RGB. K: (3, 3). boxes_xywh: (N, 4) px. obj_ids: (N,). depth: (H, W) float32 mm, or None.
    """

    image: NDArray[np.uint8]
    K: NDArray[np.float64]
    boxes_xywh: NDArray[np.float64]
    obj_ids: list[int]
    depth: NDArray[np.float32] | None

    @property
    def boxes_ltrb(self) -> NDArray[np.float64]:
        """Boxes (N, 4) as left, top, right, bottom px."""
        return np.concatenate([self.boxes_xywh[:, :2], self.boxes_xywh[:, :2] + self.boxes_xywh[:, 2:]], axis=1)


def checked_view(
    image: ArrayLike, K: ArrayLike, boxes: ArrayLike, obj_ids: Sequence[int], depth: ArrayLike | None,
    known: Sequence[int],
) -> View:  # fmt: skip
    """Check the arguments of `estimate` for a model that knows the objects `known`.

    Raises:
        InputError: one sentence that names the argument.
    """
    pixels = np.asarray(image)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise InputError(f"image: expected (H, W, 3) uint8 RGB, got {pixels.shape} {pixels.dtype}")
    matrix = _numbers("K", K)
    if matrix.shape != (3, 3) or not matrix[0, 0] > 0 or not matrix[1, 1] > 0:
        raise InputError("K: expected a (3, 3) intrinsic matrix with focal lengths in pixels")
    rectangles = _numbers("boxes", boxes)
    if rectangles.size == 0:
        rectangles = rectangles.reshape(0, 4)
    if rectangles.ndim != 2 or rectangles.shape[1] != 4 or len(rectangles) != len(obj_ids):
        raise InputError(f"boxes: expected ({len(obj_ids)}, 4), one per object id, got {rectangles.shape}")
    thin = np.flatnonzero((rectangles[:, 2:] < 1).any(axis=1))
    if len(thin):
        raise InputError(
            f"boxes: box {thin[0]} is {rectangles[thin[0], 2:].tolist()} px wide and high; give x, y, w, h"
        )
    unknown = [int(obj_id) for obj_id in obj_ids if int(obj_id) not in known]
    if unknown:
        raise InputError(f"obj_ids: object {unknown[0]} is not among those of the model, {list(known)}")
    return View(pixels, matrix, rectangles, [int(i) for i in obj_ids], _checked_depth(depth, pixels.shape[:2]))


def _numbers(name: str, values: ArrayLike) -> NDArray[np.float64]:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name}: not an array of numbers") from None
    if not np.isfinite(array).all():
        raise InputError(f"{name}: has values that are not finite")
    return array


def _checked_depth(depth: ArrayLike | None, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    if depth is None:
        return None
    array = np.nan_to_num(np.asarray(depth, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    if array.shape != shape:
        raise InputError(f"depth: expected {shape} like the image, got {array.shape}")
    if 0 < array.max() < LEAST_DEPTH_MM:
        raise InputError(f"depth: its largest value is {array.max():.3g}; give millimetres, not metres")
    return array


def find_folders(
    checkpoint: Path, models: str | Path | None = None, surface: str | Path | None = None
) -> tuple[Path, Path]:
    """Folders of meshes and surface samples of a checkpoint: those given, else `models/` and `surface/` beside it, else
    those of the graph's layout, `data/<dataset>/models` and `results/<dataset>/surface`.

    To carry a model elsewhere, copy the checkpoint and both folders into one.

    Raises:
        InputError: a folder is nowhere; names the places.
    """
    results = checkpoint.resolve().parent.parent
    places = [checkpoint.parent / "surface", results / "surface"]
    return find_models(checkpoint, models), _find("surface samples", "surface", surface, places)


def find_models(checkpoint: Path, models: str | Path | None = None) -> Path:
    """The meshes alone, for methods that need no surface samples; see `find_folders`."""
    results = checkpoint.resolve().parent.parent  # results/<dataset>
    data = results.parent.parent / "data" / results.name
    places = [checkpoint.parent / "models", data / catalogue_entry(results.name, data).models]
    return _find("meshes", "models", models, places)


def _find(what: str, option: str, given: str | Path | None, places: Sequence[Path]) -> Path:
    candidates = [Path(given)] if given is not None else list(places)
    found = next((path for path in candidates if path.is_dir()), None)
    if found is None:
        raise InputError(f"no folder of {what} at {' or '.join(map(str, candidates))}; name it with {option}=")
    return found


def inference_settings(checkpoint: Path, own: Section, changes: Mapping[str, Any] | None) -> Section:
    """The `infer` section a checkpoint is used with: the run's, as infer.py left it in `settings.json` beside the
    checkpoint, else the checkpoint's `own`; `changes` on top.

    Raises:
        InputError: a key is not known or has the wrong type.
    """
    file = checkpoint.parent / "settings.json"
    base = read_json(file).get("infer", {}) if file.exists() else own.model_dump(mode="json")
    return validate(type(own), {**base, **(changes or {})}, "settings")


def from_checkpoint(path: str | Path, **arguments: Any) -> PoseEstimator:
    """The estimator of a checkpoint of whichever method; `arguments` as of `PoseEstimator.from_checkpoint`.

    Raises:
        InputError: as there, or its method has no estimator yet.
    """
    chosen = family(family_of(path))
    estimator: type[PoseEstimator] | None = chosen.estimator()
    if estimator is None:
        having = [name for name, other in FAMILIES.items() if other.estimator() is not None]
        raise InputError(f"{path}: {chosen.name} cannot be used on single images yet; {', '.join(having)} can")
    return estimator.from_checkpoint(path, **arguments)
