"""Is a result file fit for submission? Everything the BOP server or a careful reader would object to, line by line."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pose_models.datasets.estimates import HEADER, Estimates, read_numbered, rotation_error
from pose_models.evaluation.world import World
from pose_models.files import InputError

LOOSE_ROTATION = 1e-3  # |R R^T - I| above which a rotation is worth a warning
METRES_BELOW_MM = 10.0  # translations whose median length is less are in metres
NAME = re.compile(r"^[^_]+_[^_-]+-[^_]+(_[^_]+)?\.csv$")
MOST_LINES = 5  # of one kind that are listed singly


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something wrong (`is_error`) or doubtful in a result file; line is 1-based, None for the whole file."""

    line: int | None
    text: str
    is_error: bool

    def sentence(self, path: Path) -> str:
        """`file: line N: error: text`."""
        where = f"{path}: line {self.line}" if self.line else str(path)
        return f"{where}: {'error' if self.is_error else 'warning'}: {self.text}"


def check_file(world: World, path: Path, name: str | None = None) -> list[Finding]:
    """All findings of a file; what cannot be read at all raises InputError (naming the line) instead.

    Args:
        world: what it is to be scored with.
        path: the file.
        name: under which it will be submitted, None for its own.
    """
    estimates, lines = read_numbered(path)
    findings = list(_layout(path, name or path.name))
    if not len(estimates):
        return [*findings, Finding(None, "no estimates", True)]
    return [
        *findings,
        *_ids(world, estimates, lines),
        *_poses(estimates, lines),
        *_times(estimates, lines),
        *_coverage(world, estimates),
    ]


def _layout(path: Path, name: str) -> Iterator[Finding]:
    if not NAME.match(name):
        yield Finding(None, "name it <method>_<dataset>-<split>.csv, without '_' in the method", False)
    lines = path.read_text(encoding="utf-8").split("\n")
    if lines[0].strip() != HEADER:
        yield Finding(1, f"no header line {HEADER}", False)
    for number, line in enumerate(lines[:-1] if lines[-1] == "" else lines, start=1):
        if not line.strip():
            yield Finding(number, "blank line; remove it", True)


def _at_lines(rows: NDArray[np.int64], lines: NDArray[np.int64], text: str, is_error: bool) -> Iterator[Finding]:
    for row in rows[:MOST_LINES]:
        yield Finding(int(lines[row]), text, is_error)
    if len(rows) > MOST_LINES:
        yield Finding(None, f"{text}: {len(rows)} lines in all", is_error)


def _ids(world: World, estimates: Estimates, lines: NDArray[np.int64]) -> Iterator[Finding]:
    unknown_scene = ~np.isin(estimates.scene_id, world.scene_ids)
    for scene in np.unique(estimates.scene_id[unknown_scene]):
        yield from _at_lines(
            np.flatnonzero(estimates.scene_id == scene), lines, f"scene {scene} is not in {world.facts.split}", True
        )
    unknown_object = ~np.isin(estimates.obj_id, world.facts.object_ids)
    for obj_id in np.unique(estimates.obj_id[unknown_object]):
        yield from _at_lines(
            np.flatnonzero(estimates.obj_id == obj_id), lines, f"object {obj_id} is not in the dataset", True
        )
    images = {(int(s), int(i)) for s, i in zip(estimates.scene_id, estimates.im_id, strict=True)}
    for scene, image in sorted(images):
        if scene in world.scene_ids and image not in world.scene(scene).cameras:
            rows = np.flatnonzero((estimates.scene_id == scene) & (estimates.im_id == image))
            yield from _at_lines(rows, lines, f"image {image} is not in scene {scene}", True)


def _poses(estimates: Estimates, lines: NDArray[np.int64]) -> Iterator[Finding]:
    loose = np.flatnonzero(rotation_error(estimates.R) > LOOSE_ROTATION)
    yield from _at_lines(loose, lines, f"R R^T differs from 1 by more than {LOOSE_ROTATION:g}", False)
    behind = np.flatnonzero(estimates.t[:, 2] <= 0)
    yield from _at_lines(behind, lines, "the object is behind the camera (t_z <= 0)", False)
    length = np.linalg.norm(estimates.t, axis=1)
    if np.median(length) < METRES_BELOW_MM:
        yield Finding(
            int(lines[0]),
            f"translations have a median length of {np.median(length):.3g} mm: metres? BOP wants mm",
            True,
        )


def _times(estimates: Estimates, lines: NDArray[np.int64]) -> Iterator[Finding]:
    unknown = np.flatnonzero(estimates.time < 0)
    if 0 < len(unknown) < len(estimates):
        yield Finding(
            int(lines[unknown[0]]), "time is -1 here but known elsewhere; the reported mean will be -1", False
        )
    elif len(unknown):
        yield Finding(None, "no times; the mean time per image is reported as -1", False)


def _coverage(world: World, estimates: Estimates) -> Iterator[Finding]:
    got = set(zip(estimates.scene_id.tolist(), estimates.im_id.tolist(), estimates.obj_id.tolist(), strict=True))
    missing = [(*key, obj) for key, objects in world.targets.items() for obj in objects if (*key, obj) not in got]
    if missing:
        first = "scene {}, image {}, object {}".format(*missing[0])
        count = sum(map(len, world.targets.values()))
        yield Finding(None, f"{len(missing)} of {count} targets have no estimate, first: {first}", False)


def raise_errors(path: Path, findings: list[Finding]) -> None:
    """InputError with the first error and how many there are, if there is one."""
    errors = [finding for finding in findings if finding.is_error]
    if errors:
        first = errors[0].sentence(path).replace("error: ", "")
        raise InputError(first + (f" (and {len(errors) - 1} more errors)" if len(errors) > 1 else ""))
