"""Protocol `classic`: the recalls of papers before BOP (bop.md section 7, cosypose.md 9.4).

AD(D|I|-S) below a tenth of the diameter, projection below 5 px, CUS below 0.5, 5 cm and 5 degrees, and VSD below 0.3 as
T-LESS papers report it: the best-scored estimate per object and image, tau 20 mm, mean of the objects' recalls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models.datasets.estimates import Estimates
from pose_models.evaluation import kernels
from pose_models.evaluation.localisation import CM_DEG, ErrorRows, Recalled, options_of, recalled, target_jobs
from pose_models.evaluation.pairs import VSD_TAUS, Block, ErrorOptions, Job, compute_errors
from pose_models.evaluation.protocols import ResultFile, Run
from pose_models.evaluation.scores import target_counts
from pose_models.evaluation.world import MIN_VISIBLE, World


def _single(name: str, threshold: float) -> ErrorRows:
    return ErrorRows(name, np.array([[threshold]]), (name,))


ERRORS = (
    _single("ad", 0.1),
    _single("add", 0.1),
    _single("adi", 0.1),
    _single("proj", 5.0),
    _single("cus", 0.5),
    _single(CM_DEG, 1.0),
    _single("mssd", 0.2),
)
VSD = ErrorRows("vsd", np.full((len(VSD_TAUS), 1), 0.3), tuple(f"tau {tau:.2f}" for tau in VSD_TAUS))
VSD_20MM = ErrorOptions(frozenset({"vsd"}), taus=np.array([20.0]), vsd_in_mm=True)
VSD_LIMIT = 0.3


def scores(world: World, files: Sequence[ResultFile], run: Run) -> list[dict[str, Any]]:
    """One dictionary per result file."""
    has_vsd = world.facts.entry.vsd and all(world.scene(s).has_depth(i) for s, i in list(world.targets)[:1])
    errors = (*ERRORS, VSD) if has_vsd else ERRORS
    estimates = [file.estimates for file in files]
    blocks = _by_file(world, estimates, target_jobs(world, estimates), options_of(errors), run, "images")
    first = [[] for _ in files] if not has_vsd else _first_only(world, estimates, run)
    results = []
    for file, own, best in zip(files, blocks, first, strict=True):
        table = recalled(world, own, errors)
        recalls = {
            name: recall_details(world, table, (table.matched[:, k, 0] >= 0) & table.valid) for k, name in _rows(errors)
        }
        if has_vsd:
            recalls["vsd_20mm"] = vsd_20mm(world, best)
        results.append(
            {
                **{f"classic_{name}_recall": value["recall"] for name, value in recalls.items()},
                "recalls": recalls,
                "left_out": {} if has_vsd else {"vsd": "no VSD for this dataset, or no depth images"},
                "seconds_per_image": file.estimates.mean_time(),
                "counts": target_counts(world, file.estimates, (block.group.rows for block in own)),
            }
        )
    return results


def _rows(errors: Sequence[ErrorRows]) -> Iterator[tuple[int, str]]:
    """Row in the stack of errors and name of every recall that is reported."""
    row = 0
    for error in errors:
        if error.name == "vsd":
            yield row + int(np.flatnonzero(np.isclose(VSD_TAUS, 0.2))[0]), "vsd"
        else:
            yield row, error.name
        row += len(error.thresholds)


def _by_file(
    world: World, files: Sequence[Estimates], jobs: Sequence[Job], options: ErrorOptions, run: Run, label: str
) -> list[list[Block]]:
    blocks: list[list[Block]] = [[] for _ in files]
    for image in run.progress(compute_errors(world, files, jobs, options, run.workers), label, len(jobs)):
        for block in image:
            blocks[block.group.file].append(block)
    return blocks


def _first_only(world: World, files: Sequence[Estimates], run: Run) -> list[list[Block]]:
    return _by_file(world, files, target_jobs(world, files, lambda _: 1), VSD_20MM, run, "images, VSD 20 mm")


def recall_details(world: World, table: Recalled, found: NDArray[np.bool_]) -> dict[str, Any]:
    """Recall with the reference's details; means run over all objects and scenes, empty ones count as 0."""

    def recall(rows: NDArray[np.bool_]) -> float:
        return float((found & rows).sum() / max(int((table.valid & rows).sum()), 1))

    objects = {obj_id: recall(table.obj_id == obj_id) for obj_id in world.facts.object_ids}
    scenes = {scene_id: recall(table.scene_id == scene_id) for scene_id in world.scene_ids}
    return {
        "recall": recall(np.ones(len(found), dtype=bool)),
        "mean_obj_recall": float(np.mean(list(objects.values()))),
        "mean_scene_recall": float(np.mean(list(scenes.values()))),
        "obj_recalls": objects,
        "scene_recalls": scenes,
        "tp_count": int(found.sum()),
        "targets_count": int(table.valid.sum()),
        "gt_count": len(table.gt_id),
    }


def vsd_20mm(world: World, blocks: Sequence[Block]) -> dict[str, Any]:
    """VSD < 0.3 at tau = 20 mm, one estimate per object and image; a target needs an instance visible to 10 %."""
    threshold = np.array([[VSD_LIMIT]])
    targets: dict[int, list[bool]] = {obj_id: [] for obj_id in world.facts.object_ids}
    for block in blocks:
        valid = world.truth(block.key).visib_fract[block.gt_ids] >= MIN_VISIBLE
        if block.group.obj_id in targets and valid.any():
            found = kernels.match(block.errors["vsd"], threshold, valid) >= 0
            targets[block.group.obj_id].append(bool(found.any()))
    objects = {obj_id: float(np.mean(found)) if found else 0.0 for obj_id, found in targets.items()}
    count = sum(map(len, targets.values()))
    hits = sum(map(sum, targets.values()))
    return {
        "recall": hits / max(count, 1),
        "mean_obj_recall": float(np.mean(list(objects.values()))),
        "obj_recalls": objects,
        "tp_count": hits,
        "targets_count": count,
    }
