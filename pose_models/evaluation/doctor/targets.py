"""Checks of the targets files of a dataset against its annotations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from pose_models.evaluation.doctor.annotations import ImageRecord
from pose_models.evaluation.doctor.findings import Findings
from pose_models.files import InputError, read_json
from pose_models.render.visibility import MIN_VISIBLE_FRACTION

LOCALISATION, DETECTION = "test_targets_bop19.json", "test_targets_bop24.json"
Images = Mapping[tuple[int, int], ImageRecord]


def check_targets(root: Path, images: Images, unread: Container[int], findings: Findings) -> None:
    """Check both targets files.

    Args:
        root: dataset folder. images: of the evaluated split, by (scene, image).
        unread: scenes whose annotations could not be read, which is said elsewhere.
    """
    if not any((root / name).exists() for name in (LOCALISATION, DETECTION)):
        findings.add("targets-missing", LOCALISATION, root / LOCALISATION)
    for name, keys in (
        (LOCALISATION, ("scene_id", "im_id", "obj_id", "inst_count")),
        (DETECTION, ("scene_id", "im_id")),
    ):
        if (root / name).exists():
            _check_file(root / name, keys, images, unread, findings)


def _check_file(file: Path, keys: tuple[str, ...], images: Images, unread: Container[int], findings: Findings) -> None:
    try:
        entries = read_json(file)
        if not isinstance(entries, list):
            raise InputError("expected a list of targets")
    except InputError as error:
        findings.add("targets-broken", file.name, file, detail=str(error).removeprefix(f"{file}: "))
        return
    seen: set[tuple[int, ...]] = set()
    for number, entry in enumerate(entries):
        values = [entry.get(key) for key in keys] if isinstance(entry, dict) else []
        if not values or not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
            findings.add("targets-broken", file.name, file, f"entry {number}", f"needs whole numbers {', '.join(keys)}")
            continue
        target = tuple(int(value) for value in values if value is not None)
        where = f"entry {number} (" + ", ".join(f"{k} {v}" for k, v in zip(keys, target, strict=True)) + ")"
        if target[:3] in seen:
            findings.add("target-twice", file.name, file, where)
            continue
        seen.add(target[:3])
        record = images.get((target[0], target[1]))
        if record is None:
            if target[0] in unread:
                continue
            findings.add("target-image", file.name, file, where)
        elif len(target) == 4 and record.instances is not None:
            _check_count(file, where, target, record, findings)


def _check_count(file: Path, where: str, target: tuple[int, ...], record: ImageRecord, findings: Findings) -> None:
    annotated = Counter(pose.obj_id for pose in record.poses)
    if len(record.poses) < (record.instances or 0):
        return  # some records are broken, which is said elsewhere; counting the rest would repeat it
    if not annotated[target[2]]:
        findings.add("target-object", file.name, file, where)
    elif target[3] > annotated[target[2]]:
        findings.add("target-count", file.name, file, where, f"{annotated[target[2]]} annotated")
    elif record.infos is not None:
        infos: list[Any] = [record.infos[pose.gt_id] for pose in record.poses if pose.obj_id == target[2]]
        if all(info is not None for info in infos):
            visible = sum(info["visib_fract"] >= MIN_VISIBLE_FRACTION for info in infos)
            if visible != target[3]:
                findings.add("target-visible", file.name, file, where, f"{visible} are visible to a tenth or more")
