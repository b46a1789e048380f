"""2D detections in the BOP COCO results format (bop.md section 5.2): arrays in memory, strict reader, exact writer.

A file is a JSON list (`.json`, or gzip-compressed `.json.gz`) of records with `scene_id`, `image_id`, `category_id`
(the object id), `score`, `bbox` (x, y, w, h in pixels, amodal, COCO convention: w = max - min + 1) and `time` (seconds
for the whole image, -1 where unknown). `segmentation` is optional and kept as it is.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pose_models.files import InputError, write_bytes

TIME_TOLERANCE_S = 0.001
"""Largest difference of the times of one image (bop.md section 5.1)."""


@dataclasses.dataclass(frozen=True)
class Detections:
    """N detections as arrays of equal length.

    scene_id, im_id, obj_id: (N,) int64. score: (N,) float64, larger is better. bbox_xywh: (N, 4) float64 px, amodal,
    nan where a record has a segmentation only. time: (N,) float64 s for the whole image, -1 unknown.
    segmentation: N values as they stood in the file (None where absent), or None if no record has one.
    """

    scene_id: NDArray[np.int64]
    im_id: NDArray[np.int64]
    obj_id: NDArray[np.int64]
    score: NDArray[np.float64]
    bbox_xywh: NDArray[np.float64]
    time: NDArray[np.float64]
    segmentation: tuple[Any, ...] | None = None

    def __post_init__(self) -> None:
        sizes = {len(getattr(self, field.name)) for field in dataclasses.fields(self)[:6]}
        if self.segmentation is not None:
            sizes.add(len(self.segmentation))
        if len(sizes) != 1 or self.bbox_xywh.shape[1:] != (4,):
            raise ValueError(f"arrays of unequal length: {sorted(sizes)}, boxes {self.bbox_xywh.shape}")

    def __len__(self) -> int:
        return len(self.score)

    @property
    def bbox_ltrb(self) -> NDArray[np.float64]:
        """Boxes (N, 4) as left, top, right, bottom px, right = left + width."""
        return np.concatenate([self.bbox_xywh[:, :2], self.bbox_xywh[:, :2] + self.bbox_xywh[:, 2:]], axis=1)

    def select(self, index: ArrayLike) -> Detections:
        """The detections at `index` (positions, or N booleans), in that order."""
        chosen = np.asarray(index)
        positions = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64)
        arrays = {field.name: getattr(self, field.name)[positions] for field in dataclasses.fields(self)[:6]}
        kept = None if self.segmentation is None else tuple(self.segmentation[i] for i in positions)
        return dataclasses.replace(self, **arrays, segmentation=kept)

    def order(self) -> NDArray[np.int64]:
        """Positions (N,) by scene, image, object, score (best first), as they are written; ties keep their order."""
        return np.lexsort((-self.score, self.obj_id, self.im_id, self.scene_id))

    def sorted(self) -> Detections:
        """Ordered as in `order`."""
        return self.select(self.order())


def from_records(records: Sequence[dict[str, Any]]) -> Detections:
    """Arrays from records whose values are known to be right (see `read_detections` for files)."""

    def column(key: str, kind: type) -> NDArray[Any]:
        return np.array([record[key] for record in records], dtype=kind)

    segmentation = tuple(record.get("segmentation") for record in records)
    return Detections(
        scene_id=column("scene_id", np.int64),
        im_id=column("image_id", np.int64),
        obj_id=column("category_id", np.int64),
        score=column("score", np.float64),
        bbox_xywh=np.array([record.get("bbox") or [np.nan] * 4 for record in records], np.float64).reshape(-1, 4),
        time=np.array([record.get("time", -1.0) for record in records], dtype=np.float64),
        segmentation=segmentation if any(s is not None for s in segmentation) else None,
    )


def read_detections(path: str | Path, need_bbox: bool = True) -> Detections:
    """Read a detections file, in file order.

    Args:
        path: `.json` or `.json.gz`.
        need_bbox: refuse records that have a segmentation but no box.

    Raises:
        InputError: naming file, record (0-based position in the list) and reason.
    """
    path = Path(path)
    content = _read_json(path)
    if not isinstance(content, list):
        raise InputError(f"{path}: expected a list of detections (BOP COCO results), got {_kind(content)}")
    if not content:
        raise InputError(f"{path}: the list of detections is empty; run the detector again")
    for index, record in enumerate(content):
        problem = next(_problems(record, need_bbox), None)
        if problem:
            raise InputError(f"{path}: record {index}: {problem}")
    detections = from_records(content)
    _check_times(path, detections)
    return detections


def write_detections(path: str | Path, detections: Detections) -> None:
    """Write detections, sorted by scene, image, object and score, whole or not at all; equal input, equal bytes."""
    path = Path(path)
    ordered = detections.sorted()
    lines = [json.dumps(record) for record in _records(ordered)]
    content = ("[\n" + ",\n".join(lines) + "\n]\n").encode()
    write_bytes(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def _records(detections: Detections) -> Iterator[dict[str, Any]]:
    for i in range(len(detections)):
        record: dict[str, Any] = {
            "scene_id": int(detections.scene_id[i]),
            "image_id": int(detections.im_id[i]),
            "category_id": int(detections.obj_id[i]),
            "score": float(detections.score[i]),
        }
        if np.isfinite(detections.bbox_xywh[i]).all():
            record["bbox"] = [float(value) for value in detections.bbox_xywh[i]]
        record["time"] = float(detections.time[i])
        if detections.segmentation is not None and detections.segmentation[i] is not None:
            record["segmentation"] = detections.segmentation[i]
        yield record


def _read_json(path: Path) -> Any:
    try:
        raw = path.read_bytes()
        return json.loads(gzip.decompress(raw) if path.suffix == ".gz" else raw)
    except FileNotFoundError:
        raise InputError(f"{path}: detections file not found") from None
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{path}: not valid JSON ({error}); download or make the file again") from None


def _problems(record: Any, need_bbox: bool) -> Iterator[str]:
    """What is wrong with one record, first things first."""
    if not isinstance(record, dict):
        yield f"expected an object with scene_id, image_id, category_id, score, bbox; got {_kind(record)}"
        return
    checks: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
        ("scene_id", _is_integer, "an integer"),
        ("image_id", _is_integer, "an integer"),
        ("category_id", _is_integer, "an integer"),
        ("score", _is_finite, "a finite number"),
    )
    for key, is_right, expected in checks:
        if key not in record:
            yield f"no key '{key}'"
        elif not is_right(record[key]):
            yield f"'{key}' must be {expected}, got {record[key]!r}"
    if not _is_finite(record.get("time", -1.0)):
        yield f"'time' must be a finite number, got {record['time']!r}"
    yield from _bbox_problems(record, need_bbox)


def _bbox_problems(record: dict[str, Any], need_bbox: bool) -> Iterator[str]:
    bbox = record.get("bbox")
    if not bbox:
        if need_bbox or not record.get("segmentation"):
            yield "no key 'bbox'; boxes (x, y, w, h) are needed"
    elif not isinstance(bbox, list) or len(bbox) != 4 or not all(_is_finite(value) for value in bbox):
        yield f"'bbox' must be 4 finite numbers (x, y, w, h), got {bbox!r}"
    elif bbox[2] <= 0 or bbox[3] <= 0:
        yield f"'bbox' must have positive width and height, got {bbox!r}"


def _check_times(path: Path, detections: Detections) -> None:
    images = np.stack([detections.scene_id, detections.im_id], axis=1)
    keys, inverse = np.unique(images, axis=0, return_inverse=True)
    first = np.full(len(keys), np.nan)
    first[inverse[::-1]] = detections.time[::-1]  # the last write is the first record of the image
    wrong = np.flatnonzero(np.abs(detections.time - first[inverse]) > TIME_TOLERANCE_S)
    if len(wrong):
        i = int(wrong[0])
        raise InputError(
            f"{path}: record {i}: time {detections.time[i]:g} s differs from {first[inverse[i]]:g} s "
            f"of an earlier record of scene {detections.scene_id[i]}, image {detections.im_id[i]}; times are per image"
        )


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def _kind(value: Any) -> str:
    return {dict: "an object", list: "a list", str: "a text", type(None): "null"}.get(type(value), "a number")
