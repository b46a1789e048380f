"""Pose estimates as BOP result files (bop.md 5.1): `scene_id,im_id,obj_id,score,R,t,time`, strictly read.

R is 9 numbers row by row, t 3 numbers in mm, both separated by blanks; time is seconds for the whole image, -1 where
unknown. Poses map model to camera coordinates.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pose_models.files import InputError, write_text

HEADER = "scene_id,im_id,obj_id,score,R,t,time"
MAX_TIME_SPREAD_S = 1e-3  # rows of one image whose times differ by more are rejected, as the BOP server does
MAX_ROTATION_ERROR = 1e-2  # largest entry of |R R^T - I|; beyond it, R is no rotation at all
_COUNTS = (1, 1, 1, 1, 9, 3, 1)  # numbers per field

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Estimates:
    """N pose estimates, row by row in file order.

    scene_id, im_id, obj_id: (N,) int64. score: (N,) float64. R: (N, 3, 3), t: (N, 3) mm, model to camera.
    time: (N,) seconds for the whole image, -1 = unknown.
    """

    scene_id: Ints
    im_id: Ints
    obj_id: Ints
    score: Floats
    R: Floats
    t: Floats
    time: Floats

    def __len__(self) -> int:
        return len(self.score)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Estimates:
        """The estimates of some rows, in the order given."""
        return Estimates(**{field.name: getattr(self, field.name)[rows] for field in dataclasses.fields(self)})

    def image_times(self) -> dict[tuple[int, int], float]:
        """Seconds by (scene, image), for the images that occur."""
        return {
            (int(scene), int(image)): float(time)
            for scene, image, time in zip(self.scene_id, self.im_id, self.time, strict=True)
        }

    def mean_time(self) -> float:
        """Mean seconds per image over the images that occur; -1 if any time is unknown or there is no estimate."""
        times = list(self.image_times().values())
        return -1.0 if not times or min(times) < 0 else float(np.mean(times))


def join_estimates(parts: Sequence[Estimates]) -> Estimates:
    """The rows of several tables, one after the other."""
    names = [field.name for field in dataclasses.fields(Estimates)]
    return Estimates(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def read_estimates(path: str | Path) -> Estimates:
    """Read a result file.

    Raises:
        InputError: missing file; a line that has not 7 fields, or not as many numbers as its fields need; numbers that
            are not finite; a matrix that is no rotation; times that disagree within an image; duplicate lines. The
            message names the line (the first is 1).
    """
    return read_numbered(path)[0]


def read_numbered(path: str | Path) -> tuple[Estimates, Ints]:
    """`read_estimates`, with the line number (N,) of every estimate."""
    numbers, lines = _parse(Path(path))
    estimates = Estimates(
        scene_id=numbers[:, 0].astype(np.int64),
        im_id=numbers[:, 1].astype(np.int64),
        obj_id=numbers[:, 2].astype(np.int64),
        score=numbers[:, 3],
        R=numbers[:, 4:13].reshape(-1, 3, 3),
        t=numbers[:, 13:16],
        time=numbers[:, 16],
    )
    _check(Path(path), estimates, numbers, lines)
    return estimates, lines


def _parse(path: Path) -> tuple[Floats, Ints]:
    """All numbers (N, 17) and their line numbers (N,)."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: file not found") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file; expected lines of {HEADER}") from None
    rows: list[list[float]] = []
    numbers: list[int] = []
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or (number == 1 and line.replace(" ", "") == HEADER):
            continue
        fields = line.split(",")
        try:
            row = [float(value) for field in fields for value in field.split()]
        except ValueError:
            raise InputError(_line_fault(path, number, fields)) from None
        if len(fields) != 7 or len(row) != 17 or not math.isfinite(sum(row)):
            raise InputError(_line_fault(path, number, fields))
        rows.append(row)
        numbers.append(number)
    return np.array(rows, dtype=np.float64).reshape(-1, 17), np.array(numbers, dtype=np.int64)


def _line_fault(path: Path, number: int, fields: list[str]) -> str:
    """What is wrong with a line that could not be read."""
    where = f"{path}: line {number}"
    names = HEADER.split(",")
    if len(fields) != 7:
        return f"{where}: {len(fields)} fields instead of 7; write {HEADER}, R and t separated by blanks"
    for name, count, field in zip(names, _COUNTS, fields, strict=True):
        for value in field.split():
            try:
                number_read = float(value)
            except ValueError:
                return f"{where}: '{value}' in {name} is not a number"
            if not math.isfinite(number_read):
                return f"{where}: {name} contains {value}; leave out estimates that failed"
        if len(field.split()) != count:
            return f"{where}: {name} has {len(field.split())} numbers instead of {count}"
    return f"{where}: numbers too large"


def _check(path: Path, estimates: Estimates, numbers: Floats, lines: Ints) -> None:
    """Ids, rotations, times and duplicates."""
    for column, name in enumerate(("scene_id", "im_id", "obj_id")):
        bad = np.flatnonzero((numbers[:, column] != np.floor(numbers[:, column])) | (numbers[:, column] < 0))
        if len(bad):
            raise InputError(
                f"{path}: line {lines[bad[0]]}: {name} must be a whole number, got {numbers[bad[0], column]}"
            )
    bad = np.flatnonzero((rotation_error(estimates.R) > MAX_ROTATION_ERROR) | (np.linalg.det(estimates.R) < 0))
    if len(bad):
        raise InputError(
            f"{path}: line {lines[bad[0]]}: R is no rotation (R R^T differs from 1 by "
            f"{rotation_error(estimates.R[bad[:1]])[0]:.3g}, determinant {np.linalg.det(estimates.R[bad[0]]):.3g})"
        )
    _check_times(path, estimates, lines)
    order = np.lexsort(numbers.T)
    same = np.flatnonzero((numbers[order[1:]] == numbers[order[:-1]]).all(axis=1))
    if len(same):
        first, second = sorted(lines[order[same[0] : same[0] + 2]])
        raise InputError(f"{path}: line {second}: repeats line {first}; remove duplicates")


def _check_times(path: Path, estimates: Estimates, lines: Ints) -> None:
    order = np.lexsort((np.arange(len(estimates)), estimates.im_id, estimates.scene_id))
    scene, image, time = estimates.scene_id[order], estimates.im_id[order], estimates.time[order]
    starts = np.flatnonzero(np.r_[True, (scene[1:] != scene[:-1]) | (image[1:] != image[:-1])]) if len(order) else order
    first = np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    bad = np.flatnonzero(np.abs(time - time[first]) > MAX_TIME_SPREAD_S)
    if len(bad):
        i = bad[0]
        raise InputError(
            f"{path}: line {lines[order[i]]}: time {time[i]} s, but line {lines[order[first[i]]]} of the same image "
            f"(scene {scene[i]}, image {image[i]}) says {time[first[i]]} s; give the time of the whole image in each"
        )


def rotation_error(R: Floats) -> Floats:
    """Largest entry of |R R^T - I| (N,) for matrices (N, 3, 3)."""
    return np.asarray(np.abs(R @ np.swapaxes(R, -1, -2) - np.eye(3)).max(axis=(-1, -2)))


def write_estimates(path: str | Path, estimates: Estimates) -> None:
    """Write a result file with header, whole or not at all; numbers read back exactly."""
    write_text(path, "\n".join([HEADER, *_rows(estimates)]) + "\n")


def _rows(estimates: Estimates) -> Iterable[str]:
    for i in range(len(estimates)):
        ids = f"{estimates.scene_id[i]},{estimates.im_id[i]},{estimates.obj_id[i]}"
        R = " ".join(repr(float(value)) for value in estimates.R[i].reshape(-1))
        t = " ".join(repr(float(value)) for value in estimates.t[i])
        yield f"{ids},{float(estimates.score[i])!r},{R},{t},{float(estimates.time[i])!r}"
