"""The whole examination of a dataset: models, every scene's records, every image, poses against pixels, targets.

Scenes and images are examined by processes of their own; results are gathered in a fixed order, so the same dataset
gives the same report. What a broken model or record would cause further on is not reported again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pose_models.datasets.bop import BopDataset, BopScene
from pose_models.datasets.catalogue import catalogue_entry
from pose_models.datasets.imagewise import ImagewiseSplit
from pose_models.evaluation.doctor.annotations import ImageRecord, SceneKey, check_annotations, check_units
from pose_models.evaluation.doctor.findings import Finding, Findings
from pose_models.evaluation.doctor.images import Expected, check_files, check_image
from pose_models.evaluation.doctor.models import CheckedModel, check_folder, check_model, model_folders
from pose_models.evaluation.doctor.rendered import Fit, Model, check_poses
from pose_models.evaluation.doctor.targets import check_targets
from pose_models.files import InputError, read_json
from pose_models.meshes.mesh import load_mesh
from pose_models.program import progress

CHUNK = 20  # images per job
Run = Callable[[Callable[[Any], Any], list[Any]], Iterator[Any]]
"""`map`, in this process or over several; results come in the order of the jobs."""


@dataclasses.dataclass(frozen=True)
class Scene:
    """A scene with the sound part of its records, and what its images are expected to have."""

    key: SceneKey
    records: list[ImageRecord]
    expected: Expected


@dataclasses.dataclass(frozen=True)
class Report:
    """What was read and found. models: by folder name and object id; fits: by split, of the rendered images."""

    root: Path
    model_folder: Path | None
    models: dict[str, dict[int, CheckedModel]]
    scenes: dict[str, list[Scene]]
    fits: dict[str, list[tuple[SceneKey, Fit]]]
    findings: list[Finding]

    @property
    def errors(self) -> int:
        """Number of causes that are errors."""
        return sum(finding.kind.severity == "error" for finding in self.findings)


def examine(
    root: str | Path, splits: Iterable[str] | None = None, jobs: int = 1, sample: int | None = None, rendered: int = 10
) -> Report:
    """Examine a dataset folder.

    Args:
        root: the folder.
        splits: names of split folders; None: all.
        jobs: processes.
        sample: images per scene whose files are opened, spread evenly; None: all.
        rendered: images per scene, of those, in which the models are rendered.

    Raises:
        InputError: no such folder or split, or nothing that belongs to a dataset.
    """
    dataset = BopDataset(root)
    found = split_names(dataset.root)
    names = list(found) if splits is None else list(splits)
    for name in names:
        if name not in found:
            raise InputError(f"{dataset.root / name}: no scenes found; splits are {', '.join(found) or 'absent'}")
    folders = model_folders(dataset.root)
    if not found and not folders:
        raise InputError(f"{dataset.root}: neither models nor scenes; name the folder that holds models/ and test/")
    findings = Findings()
    with _workers(jobs) as run:
        models = _models(folders, findings, run)
        entry = catalogue_entry(dataset.name, dataset.root)
        folder = next((f for name in (entry.models, "models") for f in folders if f.name == name), None)
        if folder is None:
            folder = folders[0] if folders else None
            findings.add("models-missing", "models", dataset.root / entry.models)
        known = models[folder.name] if folder else {}
        scenes = _annotations(dataset.root, names, _named_objects(folder), run, findings)
        posed = {name: _has_poses_in_mm(dataset.root, name, scenes[name], known, findings) for name in names}
        chunks = [
            _Chunk(s.key, part, s.expected, folder, {i: m.diameter for i, m in known.items() if m.is_good},
                   _spread(part_ids, rendered) if posed[name] else frozenset(), entry.delta_mm)
            for name in names for s in scenes[name]
            for part_ids in [[r.im_id for r in _sampled(s.records, sample)]]
            for part in _parts(_sampled(s.records, sample))
        ]  # fmt: skip
        fits: dict[str, list[tuple[SceneKey, Fit]]] = {name: [] for name in names}
        sizes: dict[str, set[tuple[int, int]]] = {name: set() for name in names}
        for chunk, result in zip(chunks, progress(run(_check_chunk, chunks), "images", len(chunks)), strict=True):
            findings.merge(result.findings)
            fits[chunk.key.split] += [(chunk.key, fit) for fit in result.fits]
            sizes[chunk.key.split] |= result.sizes
    split = next((name for name in (entry.split, "test") if name in names), None)
    if split is not None:
        evaluated_last = sorted(scenes[split], key=lambda s: s.key.sensor == entry.sensor)  # of several sensors
        images = {(s.key.scene_id, r.im_id): r for s in evaluated_last for r in s.records}
        unread = frozenset(s.key.scene_id for s in scenes[split] if not s.records)
        check_targets(dataset.root, images, unread, findings)
        _check_camera_file(dataset.root / "camera.json", split, sizes[split], findings)
    return Report(dataset.root, folder, models, scenes, fits, findings.sorted())


def split_names(root: Path) -> list[str]:
    """Folders of a dataset that hold scenes, in whichever layout."""
    folders = [f for f in sorted(root.iterdir()) if f.is_dir() and not f.name.startswith(("models", "."))]
    return [f.name for f in folders if any(p.name.isdigit() for p in f.iterdir()) or ImagewiseSplit.is_one(f)]


@contextlib.contextmanager
def _workers(jobs: int) -> Iterator[Run]:
    if jobs == 1:
        yield map
        return
    cv2.setNumThreads(0)  # one process per core is enough; said before the fork, for a child that ends threads hangs
    with ProcessPoolExecutor(jobs) as pool:
        yield pool.map


def _models(folders: list[Path], findings: Findings, run: Run) -> dict[str, dict[int, CheckedModel]]:
    jobs = [(folder, obj_id, info) for folder in folders for obj_id, info in check_folder(folder, findings).items()]
    models: dict[str, dict[int, CheckedModel]] = {folder.name: {} for folder in folders}
    for (folder, obj_id, _), (model, found) in zip(
        jobs, progress(run(_check_model, jobs), "models", len(jobs)), strict=True
    ):
        models[folder.name][obj_id] = model
        findings.merge(found)
    return models


def _named_objects(folder: Path | None) -> frozenset[int]:
    """Objects of which there is a mesh or an entry: what is wrong with them is said once, where they are."""
    if folder is None:
        return frozenset()
    named = {int(path.stem[4:]) for path in folder.glob("obj_*.*") if path.stem[4:].isdigit()}
    with contextlib.suppress(InputError, ValueError, AttributeError):
        named |= {int(key) for key in read_json(folder / "models_info.json")}
    return frozenset(named)


def _check_model(job: tuple[Path, int, Any]) -> tuple[CheckedModel, list[Finding]]:
    model, findings = check_model(*job)
    return model, findings.sorted()


def _annotations(
    root: Path, splits: list[str], obj_ids: frozenset[int], run: Run, findings: Findings
) -> dict[str, list[Scene]]:
    keys = [key for split in splits for key in _keys(root, split)]
    scenes: dict[str, list[Scene]] = {split: [] for split in splits}
    check = functools.partial(_check_scene, obj_ids=obj_ids)
    for scene, found in progress(run(check, keys), "annotations", len(keys)):
        scenes[scene.key.split].append(scene)
        findings.merge(found)
    return scenes


def _keys(root: Path, split: str) -> list[SceneKey]:
    dataset = BopDataset(root)
    keys = []
    for scene_id in dataset.scene_ids(split):
        folder = root / split / f"{scene_id:06d}"
        sensors = BopScene(folder).sensors if folder.is_dir() else []
        is_plain = not sensors or (folder / "scene_camera.json").exists()
        keys += [SceneKey(root, split, scene_id, sensor) for sensor in ([None] if is_plain else []) + list(sensors)]
    return keys


def _check_scene(key: SceneKey, obj_ids: frozenset[int]) -> tuple[Scene, list[Finding]]:
    records, findings = check_annotations(key, obj_ids)
    expected = check_files(key.open(), records, key.split, findings) if records else Expected(False, False, False)
    return Scene(key, records, expected), findings.sorted()


def _has_poses_in_mm(
    root: Path, split: str, scenes: list[Scene], models: dict[int, CheckedModel], findings: Findings
) -> bool:
    good = {obj_id: model.diameter for obj_id, model in models.items() if model.is_good}
    records = (record for scene in scenes for record in scene.records)
    return check_units(split, records, lambda obj_id: good.get(obj_id, np.nan), root / split, findings)


@dataclasses.dataclass(frozen=True)
class _Chunk:
    key: SceneKey
    records: list[ImageRecord]
    expected: Expected
    models: Path | None
    diameters: dict[int, float]
    rendered: frozenset[int]
    delta_mm: float


@dataclasses.dataclass(frozen=True)
class _ChunkResult:
    findings: list[Finding]
    fits: list[Fit]
    sizes: set[tuple[int, int]]


def _check_chunk(chunk: _Chunk) -> _ChunkResult:
    findings, scene, split = Findings(), chunk.key.open(), chunk.key.split
    result = _ChunkResult([], [], set())

    def model(obj_id: int) -> Model | None:
        if chunk.models is None or obj_id not in chunk.diameters:
            return None
        return Model(_mesh(chunk.models, obj_id), chunk.diameters[obj_id])

    for record in chunk.records:
        pixels = check_image(scene, record, chunk.expected, split, findings)
        if pixels is None:
            continue
        result.sizes.add((pixels.width, pixels.height))
        if record.im_id in chunk.rendered:
            result.fits.extend(check_poses(record, pixels, model, scene.path, split, chunk.delta_mm, findings))
    result.findings.extend(findings.sorted())
    return result


@functools.lru_cache(maxsize=64)
def _mesh(folder: Path, obj_id: int) -> Any:
    return load_mesh(folder / f"obj_{obj_id:06d}.ply")


def _sampled(records: list[ImageRecord], count: int | None) -> list[ImageRecord]:
    chosen = _spread([record.im_id for record in records], len(records) if count is None else count)
    return [record for record in records if record.im_id in chosen]


def _parts(records: list[ImageRecord]) -> list[list[ImageRecord]]:
    return [records[start : start + CHUNK] for start in range(0, len(records), CHUNK)]


def _spread(ids: list[int], count: int) -> frozenset[int]:
    """At most `count` of the ids, spread evenly."""
    if count <= 0 or not ids:
        return frozenset()
    return frozenset(ids[i] for i in np.unique(np.linspace(0, len(ids) - 1, min(count, len(ids))).astype(int)))


def _check_camera_file(file: Path, split: str, sizes: set[tuple[int, int]], findings: Findings) -> None:
    """Say where camera.json has another image size than all images of the evaluated split."""
    if not file.exists() or not sizes:
        return
    try:
        content = read_json(file)
        said = (int(content["width"]), int(content["height"]))
    except (InputError, KeyError, TypeError, ValueError) as error:
        findings.add("scene-unreadable", split, file, detail=f"needs width and height ({error})")
        return
    if said not in sizes:
        width, height = min(sizes)
        findings.add("size-camera", split, file, detail=f"{said[0]} x {said[1]}, images have {width} x {height}")
