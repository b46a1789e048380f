"""Annotations of many images as arrays: parsed once, kept in a cache folder, mapped into memory by whoever needs them.

`Table` holds the rows (cameras, instances or their visibility) of the images of one JSON file. Parsing is typed and
fast; a file in which anything is unusual is read again with the checks of `records.py`, which name file and record.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import itertools
import json
import multiprocessing
import operator
import os
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from pose_models.datasets import records, scan
from pose_models.datasets.arrays import Arrays, cache_path, cached_arrays, file_state, map_cached
from pose_models.files import InputError, read_json
from pose_models.geometry.transforms import from_rotation_translation

Value = TypeVar("Value")
Job = TypeVar("Job")
Numbers = NDArray[Any]
CACHED_BYTES = 1_000_000  # smaller files are parsed faster than they are worth keeping
SCANNED_BYTES = 1_000_000  # for smaller files the compiled loop is not worth loading
_COUNTS = ("px_count_all", "px_count_valid", "px_count_visib")
_BOXES = ("bbox_obj", "bbox_visib")


_Nine = Annotated[list[float], msgspec.Meta(min_length=9, max_length=9)]
_Box = Annotated[list[int], msgspec.Meta(min_length=4, max_length=4)]
_Three = Annotated[list[float], msgspec.Meta(min_length=3, max_length=3)]


class _CameraEntry(msgspec.Struct, gc=False):
    cam_K: _Nine | None = None
    depth_scale: float = 1.0
    cam_R_w2c: _Nine | None = None
    cam_t_w2c: _Three | None = None
    cam_model: dict[str, Any] | None = None


class _InstanceEntry(msgspec.Struct, gc=False):
    cam_R_m2c: _Nine
    cam_t_m2c: _Three
    obj_id: int


class _InfoEntry(msgspec.Struct, gc=False):
    bbox_obj: _Box
    bbox_visib: _Box
    px_count_all: int
    px_count_valid: int
    px_count_visib: int
    visib_fract: float


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of images: those of image number i (im_ids[i]) are first[i]:first[i + 1] of every column."""

    im_ids: NDArray[np.int64]
    first: NDArray[np.int64]
    columns: Arrays

    @functools.cached_property
    def positions(self) -> dict[int, int]:
        """Image number by image id."""
        return {int(im_id): number for number, im_id in enumerate(self.im_ids)}

    def gathered(self, images: NDArray[np.int64]) -> Table:
        """The images of these numbers, in this order, with columns of their own."""
        counts = np.diff(self.first)[images]
        first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        rows = np.repeat(self.first[:-1][images] - first[:-1], counts) + np.arange(first[-1])
        return Table(self.im_ids[images], first, {name: column[rows] for name, column in self.columns.items()})

    def rows(self, im_id: int) -> range:
        """Rows of an image; KeyError where it has no entry."""
        number = self.positions[im_id]
        return range(int(self.first[number]), int(self.first[number + 1]))

    def part(self, start: int, stop: int) -> Table:
        """The images start:stop; columns are shared."""
        return Table(self.im_ids[start:stop], self.first[start : stop + 1], self.columns)

    def row_images(self) -> NDArray[np.int64]:
        """Image number of every row, (rows of these images,)."""
        return np.repeat(np.arange(len(self.im_ids)), np.diff(self.first))


class ByImage(Mapping[int, Value]):
    """Values made from a table's rows when they are asked for, by image id in file order."""

    def __init__(self, table: Table, make: Callable[[int, range], Value]) -> None:
        self.table, self._make = table, make

    def __getitem__(self, im_id: int) -> Value:
        return self._make(im_id, self.table.rows(im_id))

    def __contains__(self, im_id: object) -> bool:
        return im_id in self.table.positions

    def __iter__(self) -> Iterator[int]:
        return iter(self.table.positions)

    def __len__(self) -> int:
        return len(self.table.im_ids)


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of annotation: the type of an entry, whether an image has a list of them, exact check, columns."""

    name: str
    entry: Any
    many: bool
    check: Callable[[str, Any], dict[str, Any]]
    columns: Callable[[Sequence[Any]], Arrays]
    scanned: tuple[Mapping[str, int], Callable[[Mapping[str, Numbers]], Arrays]] | None = None  # see `scan.scan`

    @property
    def _image_type(self) -> Any:
        return types.GenericAlias(list, (self.entry,)) if self.many else self.entry

    @functools.cached_property
    def file_decoder(self) -> msgspec.json.Decoder[Any]:
        """Decoder of a whole scene file."""
        return msgspec.json.Decoder(types.GenericAlias(dict, (str, self._image_type)))

    @functools.cached_property
    def image_decoder(self) -> msgspec.json.Decoder[Any]:
        """Decoder of one image's entry."""
        return msgspec.json.Decoder(self._image_type)

    def checked(self, record: str, value: Any) -> Any:
        """One image's entries, checked exactly."""
        if not self.many:
            return self.entry(**self.check(record, value))
        if not isinstance(value, list):
            raise InputError(f"{record} is no JSON list")
        return [self.entry(**self.check(f"{record}, instance {n}", item)) for n, item in enumerate(value)]


def _camera_columns(entries: Sequence[_CameraEntry]) -> Arrays:
    """K (N, 3, 3) and T_cam_world (N, 4, 4) with NaN where there is none; depth_scale (N,); lens: JSON text (N,)."""
    nan9, T_cam_world = [np.nan] * 9, np.full((len(entries), 4, 4), np.nan)
    matrices, lenses = [], []
    for entry in entries:
        matrix, text = entry.cam_K, b""
        if matrix is None and entry.cam_model is not None:
            matrix, _ = records.lens_of("", entry.cam_model)
            text = json.dumps(entry.cam_model).encode()
        elif matrix is None:
            raise ValueError("neither cam_K nor cam_model")
        matrices.append(matrix or nan9)
        lenses.append(text)
    known = [(n, entry) for n, entry in enumerate(entries) if entry.cam_R_w2c is not None]
    if known:
        R = _lists([entry.cam_R_w2c for _, entry in known], 9).reshape(-1, 3, 3)
        t = _lists([entry.cam_t_w2c for _, entry in known], 3)
        T_cam_world[[n for n, _ in known]] = from_rotation_translation(R, t)
    return {
        "K": _lists(matrices, 9).reshape(-1, 3, 3),
        "depth_scale": _column(entries, "depth_scale", np.float64),
        "T_cam_world": T_cam_world,
        "lens": np.array(lenses, dtype=bytes).reshape(len(entries)),
    }


def _instance_columns(entries: Sequence[_InstanceEntry]) -> Arrays:
    """obj_id (N,), R (N, 3, 3), t (N, 3) mm of the transforms T_cam_obj."""
    return _tidy_instances({
        "obj_id": _column(entries, "obj_id", np.int64),
        "cam_R_m2c": _lists([entry.cam_R_m2c for entry in entries], 9),
        "cam_t_m2c": _lists([entry.cam_t_m2c for entry in entries], 3),
    })  # fmt: skip


def _tidy_instances(raw: Mapping[str, Numbers]) -> Arrays:
    R, t = (np.ascontiguousarray(raw[key]) for key in ("cam_R_m2c", "cam_t_m2c"))
    return {"obj_id": _whole(raw["obj_id"], np.int64), "R": R.reshape(-1, 3, 3), "t": t}


def _info_columns(entries: Sequence[_InfoEntry]) -> Arrays:
    """visib_fract (N,), counts (N, 3) int32: all, valid, visib; boxes (N, 2, 4) int32: bbox_obj, bbox_visib."""
    counts = {key: _column(entries, key, np.int64) for key in _COUNTS}
    boxes = {key: _lists([getattr(entry, key) for entry in entries], 4) for key in _BOXES}
    return _tidy_infos({"visib_fract": _column(entries, "visib_fract", np.float64)} | counts | boxes)


def _tidy_infos(raw: Mapping[str, Numbers]) -> Arrays:
    return {
        "visib_fract": np.ascontiguousarray(raw["visib_fract"]).reshape(-1),
        "counts": np.stack([_whole(raw[key], np.int32) for key in _COUNTS], axis=1),
        "boxes": np.stack([_whole(raw[key], np.int32).reshape(-1, 4) for key in _BOXES], axis=1),
    }


def _whole(numbers: Numbers, dtype: Any) -> NDArray[Any]:
    whole = numbers.astype(dtype)
    if not (whole == numbers).all():
        raise ValueError("not a whole number")
    return whole.reshape(-1)


def _column(entries: Sequence[Any], name: str, dtype: Any) -> NDArray[Any]:
    return np.fromiter(map(operator.attrgetter(name), entries), dtype, len(entries))


def _lists(lists: Sequence[Any], width: int) -> NDArray[np.float64]:
    """(N, width) of lists that are as long as the types of the entries demand."""
    flat = np.fromiter(itertools.chain.from_iterable(lists), np.float64, len(lists) * width)
    return flat.reshape(-1, width)


_INSTANCE_WIDTHS = {"cam_R_m2c": 9, "cam_t_m2c": 3, "obj_id": 0}
_INFO_WIDTHS = {"visib_fract": 0} | dict.fromkeys(_COUNTS, 0) | dict.fromkeys(_BOXES, 4)
CAMERA = Kind("camera", _CameraEntry, False, records.check_camera, _camera_columns)
INSTANCES = Kind(
    "gt", _InstanceEntry, True, records.check_instance, _instance_columns, (_INSTANCE_WIDTHS, _tidy_instances)
)
INFOS = Kind("gt_info", _InfoEntry, True, records.check_info, _info_columns, (_INFO_WIDTHS, _tidy_infos))
KINDS = (CAMERA, INSTANCES, INFOS)


def load_table(kind: Kind, file: Path) -> Table:
    """The table of a scene file such as `scene_gt.json`, from the cache where it is there and still true.

    Raises:
        InputError: the file is missing or something in it is wrong (with image and instance).
    """
    try:
        state = file_state(file)
    except FileNotFoundError:
        raise InputError(f"{file}: file not found") from None
    if state[1] < CACHED_BYTES:
        return to_table(parse_file(kind, file))
    return to_table(cached_arrays(cache_path(kind.name, file), state, lambda: parse_file(kind, file)))


def to_table(arrays: Arrays) -> Table:
    """Table of the arrays that `parse_file` and `join` give."""
    columns = {name: array for name, array in arrays.items() if name not in ("im_ids", "first")}
    return Table(arrays["im_ids"], arrays["first"], columns)


def concatenated(tables: Sequence[Table]) -> Table:
    """The images of several tables, one after the other."""
    counts = np.concatenate([np.diff(table.first) for table in tables])
    return Table(
        np.concatenate([table.im_ids for table in tables]),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        {name: np.concatenate([table.columns[name] for table in tables]) for name in tables[0].columns},
    )


def parse_file(kind: Kind, file: Path) -> Arrays:
    """Arrays of a scene file: im_ids, first and the kind's columns."""
    file_content = file.read_bytes()
    if kind.scanned is not None and len(file_content) >= SCANNED_BYTES:
        arrays = _scan(kind.scanned, kind.many, file_content)
        if arrays is not None:
            return arrays
    with _no_garbage_collection():
        try:
            entries = kind.file_decoder.decode(file_content)
            return join(kind, {int(key): value for key, value in entries.items()})
        except (msgspec.DecodeError, ValueError, TypeError, OverflowError):
            pass  # something is unusual: look at each record
    content = read_json(file)
    if not isinstance(content, dict):
        raise InputError(f"{file}: must hold one entry per image id")
    entries = {}
    for key, value in content.items():
        if not key.isdigit():
            raise InputError(f"{file}: '{key}' is no image id")
        entries[int(key)] = kind.checked(f"{file}: image {key}", value)
    return join(kind, entries)


def _scan(how: tuple[Mapping[str, int], Callable[..., Arrays]], many: bool, content: bytes) -> Arrays | None:
    widths, tidy = how
    found = scan.scan(content, widths, many)
    if found is None:
        return None
    im_ids, counts, columns = found
    first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    try:
        return {"im_ids": im_ids, "first": first} | tidy(columns)
    except ValueError:  # a number that must be whole is not
        return None


def entry_texts(file: Path) -> dict[int, bytes]:
    """JSON text of every image's entry in a scene file, by image id; nothing if there is no such file."""
    if not file.exists():
        return {}
    try:
        texts = msgspec.json.decode(file.read_bytes(), type=dict[str, msgspec.Raw])
        return {int(key): bytes(text) for key, text in texts.items()}
    except (msgspec.DecodeError, ValueError) as error:
        raise InputError(f"{file}: not valid JSON ({error}); download or make the file again") from None


def parse_image(kind: Kind, name: str, content: bytes) -> Any:
    """One image's entries of an image-wise dataset; `name` is the file, for messages."""
    try:
        entries = kind.image_decoder.decode(content)
        join(kind, {0: entries})
        return entries
    except (msgspec.DecodeError, ValueError, TypeError, OverflowError):
        pass
    try:
        value = json.loads(content)
    except ValueError as error:
        raise InputError(f"{name}: not valid JSON ({error}); download or make the file again") from None
    return kind.checked(name, value)


def join(kind: Kind, entries: Mapping[int, Any]) -> Arrays:
    """Arrays of the decoded entries by image id: im_ids (I,), first (I + 1,), columns with a row per entry."""
    counts = [len(value) for value in entries.values()] if kind.many else [1] * len(entries)
    rows = [row for value in entries.values() for row in value] if kind.many else list(entries.values())
    first = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)
    return {"im_ids": np.array(list(entries), dtype=np.int64), "first": first} | kind.columns(rows)


class _no_garbage_collection:
    """Millions of new objects would make the collector look at all of them again and again; none is in a cycle."""

    def __enter__(self) -> None:
        self._enabled = gc.isenabled()
        gc.disable()

    def __exit__(self, *error: object) -> None:
        if self._enabled:
            gc.enable()


def prepare(files: Iterable[tuple[Kind, Path]], workers: int | None = None) -> None:
    """Put the tables of large files into the cache, several at once, with a progress line where it takes long.

    Raises:
        InputError: as `load_table`, for the first wrong file.
    """
    jobs = [(KINDS.index(kind), str(file)) for kind, file in files if _is_to_be_cached(kind, file)]
    if len(jobs) > 1:
        scan.compile_ahead()
    for _ in in_processes(_prepare_one, jobs, "annotations", workers):
        pass


def in_processes(
    function: Callable[[Job], Value], jobs: Sequence[Job], label: str, workers: int | None = None
) -> Iterator[Value]:
    """Results of `function` (of a module) in the order of the jobs, in several processes where that is possible."""
    from tqdm import tqdm

    count = min(workers or len(os.sched_getaffinity(0)), len(jobs))
    shown = tqdm(total=len(jobs), desc=label, delay=5, mininterval=1)
    with shown, contextlib.ExitStack() as stack:
        if count < 2 or multiprocessing.current_process().daemon:  # loader workers may have no children
            results: Iterator[Value] = map(function, jobs)
        else:
            results = stack.enter_context(ProcessPoolExecutor(count)).map(function, jobs)
        for result in results:
            shown.update()
            yield result


def _is_to_be_cached(kind: Kind, file: Path) -> bool:
    if not file.exists() or file.stat().st_size < CACHED_BYTES:
        return False
    return map_cached(cache_path(kind.name, file), file_state(file)) is None


def _prepare_one(job: tuple[int, str]) -> None:
    load_table(KINDS[job[0]], Path(job[1]))
