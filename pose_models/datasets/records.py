"""What is annotated about an image: its camera, its object instances, their visibility; and the checks of their JSON.

The checks here are exact and slow: they name file and record. `index.py` parses whole files fast and comes here only
for those in which something is unusual.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models.files import InputError

Array = NDArray[np.float64]
PINHOLE = "pinhole"


@dataclasses.dataclass(frozen=True)
class LensModel:
    """A camera that is not given by a matrix: `name` such as `FISHEYE624`, its parameters in the publisher's order."""

    name: str
    params: tuple[float, ...]
    width: int
    height: int


@dataclasses.dataclass(frozen=True)
class Camera:
    """Camera of one image; depth_scale in mm per depth unit, T_cam_world (4, 4) mm where the world has a meaning.

    pinhole: (3, 3) with the dataset's own pixel convention, None where `lens` describes the camera.
    record: file and image, for messages.
    """

    pinhole: Array | None
    depth_scale: float
    T_cam_world: Array | None = None
    lens: LensModel | None = None
    record: str = ""

    @property
    def K(self) -> Array:
        """Intrinsic matrix (3, 3).

        Raises:
            InputError: the camera is no pinhole camera.
        """
        if self.pinhole is None:
            name = self.lens.name if self.lens else "unknown"
            raise InputError(
                f"{self.record}: the camera model is {name}, and this step needs a pinhole camera; undistort the "
                f"images or choose another sensor"
            )
        return self.pinhole


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


def check_camera(record: str, entry: Any) -> dict[str, Any]:
    """An entry of scene_camera.json with flat lists of finite numbers; `cam_model` or `cam_K`.

    Raises:
        InputError: something is missing or no number; the sentence starts with `record` (file and image).
    """
    entry = _mapping(record, entry)
    checked: dict[str, Any] = {"depth_scale": _number(record, entry, "depth_scale", 1.0)}
    if "cam_model" in entry and "cam_K" not in entry:
        checked["cam_model"] = dict(_mapping(f"{record}: 'cam_model'", entry["cam_model"]))
        lens_of(f"{record}: 'cam_model'", checked["cam_model"])
    else:
        checked["cam_K"] = _numbers(record, entry, "cam_K", 9)
    if "cam_R_w2c" in entry:
        checked["cam_R_w2c"] = _numbers(record, entry, "cam_R_w2c", 9)
        checked["cam_t_w2c"] = _numbers(record, entry, "cam_t_w2c", 3)
    return checked


def check_instance(record: str, entry: Any) -> dict[str, Any]:
    """An entry of scene_gt.json with flat lists of finite numbers; raises as `check_camera`."""
    entry = _mapping(record, entry)
    return {
        "obj_id": _integer(record, entry, "obj_id"),
        "cam_R_m2c": _numbers(record, entry, "cam_R_m2c", 9),
        "cam_t_m2c": _numbers(record, entry, "cam_t_m2c", 3),
    }


def check_info(record: str, entry: Any) -> dict[str, Any]:
    """An entry of scene_gt_info.json; raises as `check_camera`."""
    entry = _mapping(record, entry)
    counts = {key: _integer(record, entry, key) for key in ("px_count_all", "px_count_valid", "px_count_visib")}
    boxes = {key: [round(v) for v in _numbers(record, entry, key, 4)] for key in ("bbox_obj", "bbox_visib")}
    return counts | boxes | {"visib_fract": _number(record, entry, "visib_fract")}


def lens_of(record: str, model: Mapping[str, Any]) -> tuple[list[float] | None, LensModel]:
    """K (9 numbers, row by row) of a `cam_model` that is a pinhole camera, else None; and the model.

    Pinhole parameters are fx fy cx cy; fisheye ones stay in the publisher's order (bop.md section 2.1).
    """
    params = _numbers(record, model, "projection_params", None)
    name = str(model.get("projection_model_type", "")).rpartition(".")[2]
    size = (_integer(record, model, "image_width"), _integer(record, model, "image_height"))
    if name.lower().startswith(PINHOLE):
        if len(params) < 4:
            raise InputError(f"{record}: 'projection_params' of a pinhole camera must start with fx fy cx cy")
        fx, fy, cx, cy = params[:4]
        return [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0], LensModel(name, tuple(params), *size)
    return None, LensModel(name or "unnamed", tuple(params), *size)


def _mapping(record: str, entry: Any) -> Mapping[str, Any]:
    if not isinstance(entry, Mapping):
        raise InputError(f"{record} is no JSON object")
    return entry


def _value(record: str, entry: Mapping[str, Any], key: str) -> Any:
    if key not in entry:
        raise InputError(f"{record} has no key '{key}'")
    return entry[key]


def _numbers(record: str, entry: Mapping[str, Any], key: str, count: int | None) -> list[float]:
    try:
        values = np.asarray(_value(record, entry, key), dtype=np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{record}: '{key}' is not a list of numbers") from None
    if (count is not None and len(values) != count) or not np.isfinite(values).all():
        raise InputError(f"{record}: '{key}' must be {'finite' if count is None else f'{count} finite'} numbers")
    return [float(value) for value in values]


def _number(record: str, entry: Mapping[str, Any], key: str, default: float | None = None) -> float:
    value = entry.get(key, default) if default is not None else _value(record, entry, key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{record}: '{key}' is not a number")
    return float(value)


def _integer(record: str, entry: Mapping[str, Any], key: str) -> int:
    value = _number(record, entry, key)
    if not value.is_integer():
        raise InputError(f"{record}: '{key}' is not a whole number")
    return int(value)
