"""The protocols by name, and what every `scores.json` says whatever its protocol.

A protocol is a function of a world and result files that yields one dictionary per file, the reference's own keys at
its top. Several files share renders and reads.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from pose_models.datasets.estimates import Estimates, read_estimates
from pose_models.datasets.index import INSTANCES
from pose_models.evaluation.world import World
from pose_models.files import InputError, file_digest, json_digest

Scores = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class ResultFile:
    """One file of pose estimates."""

    path: Path
    estimates: Estimates

    @classmethod
    def read(cls, path: Path) -> ResultFile:
        """Read and check a result file."""
        return cls(path, read_estimates(path))


@dataclasses.dataclass(frozen=True)
class Run:
    """How to score: processes, a wrapper of iterables that shows progress, and options of single protocols."""

    workers: int = 1
    progress: Callable[[Iterable[Any], str, int], Iterable[Any]] = lambda items, _label, _total: items
    analysis: bool = True
    strict: bool = False


Protocol = Callable[[World, Sequence[ResultFile], Run], list[Scores]]

_FUNCTIONS = {
    "bop19": "bop19.scores",
    "bop24": "bop24.scores",
    "classic": "classic.scores",
    "ycbv-auc": "auc.ycbv",
    "tless-siso": "auc.siso",
    "tless-vivo": "auc.vivo",
    "silhouette": "silhouette.scores",
}
NAMES = (*_FUNCTIONS, "coco")


def protocol(name: str) -> Protocol:
    """The function of a protocol that scores pose estimates."""
    module, _, attribute = _FUNCTIONS[name].partition(".")
    function: Protocol = getattr(importlib.import_module(f"pose_models.evaluation.{module}"), attribute)
    return function


def score_files(world: World, name: str, paths: Sequence[Path], run: Run) -> list[Scores]:
    """Scores of pose result files under one protocol, with what belongs into every `scores.json`."""
    if name == "coco":
        from pose_models.evaluation.coco import score_detections

        found = score_detections(world, paths)
    else:
        files = [ResultFile.read(path) for path in paths]
        _check_ground_truth(world)
        for file in files:
            _check_belongs(world, file)
        found = protocol(name)(world, files, run)
    common = {"dataset": world.facts.name, "split": world.facts.split, "models": world.models}
    return [
        {"protocol": name, **common, "estimates": str(path), **scores, "inputs": input_digests(world, path)}
        for path, scores in zip(paths, found, strict=True)
    ]


def _check_belongs(world: World, file: ResultFile) -> None:
    """Refuse a file none of whose estimates is for an image of the split: it belongs to another dataset."""
    scenes = set(file.estimates.scene_id.tolist())
    if scenes and not scenes & set(world.scene_ids):
        raise InputError(
            f"{file.path}: line 2: scene {file.estimates.scene_id[0]} is unknown, like all other scenes of the file; "
            f"{world.dataset.root / world.facts.split} has scenes {world.scene_ids[0]} to {world.scene_ids[-1]}"
        )


def _check_ground_truth(world: World) -> None:
    """Say so where the ground truth of a split is kept by the benchmark's server."""
    if world.facts.entry.public_ground_truth or not world.facts.split.startswith("test"):
        return
    first = next(iter(world.targets), None)
    if first and not world.scene(first[0]).has(INSTANCES):
        raise InputError(
            f"{world.dataset.root}: the ground truth of {world.facts.split} is not published; "
            "submit the file to the BOP server, or evaluate another --split"
        )


def input_digests(world: World, path: Path) -> dict[str, Any]:
    """SHA-256 of the result file, and digests of what it was compared with."""
    root = world.dataset.root
    names = [f"{world.models}/models_info.json"]
    names += [file.name for file in sorted(root.glob(f"{world.facts.split.split('_')[0]}_targets_bop*.json"))]
    annotations = {str(scene): world.scene(scene).digests() for scene in world.scene_ids}
    return {
        path.name: file_digest(path),
        **{name: file_digest(root / name) for name in names},
        "annotations": json_digest(annotations),
    }
