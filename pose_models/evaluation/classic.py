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
from pose_models.evaluation.localisation import (
    CM_DEG,
    ErrorRows,
    Recalled,
    options_of,
    recalled,
    target_jobs,
    valid_instances,
)
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
    vsd = vsd_20mm(world, estimates, run) if has_vsd else [{} for _ in files]
    results = []
    for file, own, vsd_recall in zip(files, blocks, vsd, strict=True):
        table = recalled(world, own, errors)
        recalls = {
            name: recall_details(world, table, (table.matched[:, k, 0] >= 0) & table.valid) for k, name in _rows(errors)
        }
        if has_vsd:
            recalls["vsd_20mm"] = vsd_recall
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


def vsd_20mm(
    world: World, files: Sequence[Estimates], run: Run, per_target: bool = False
) -> list[dict[str, Any]]:  # fmt: skip
    """VSD < 0.3 at tau = 20 mm of result files, as T-LESS papers report it (cosypose.md 9.4).

    Args:
        per_target: as many estimates and instances as the target names; else the best estimate of each object in an
            image, which has to find one of its instances that are visible to a tenth.
    """
    jobs = target_jobs(world, files) if per_target else target_jobs(world, files, lambda _: 1)
    blocks = _by_file(world, files, jobs, VSD_20MM, run, "images, VSD 20 mm")
    return [_vsd_recalls(world, own, per_target) for own in blocks]


def _vsd_recalls(world: World, blocks: Sequence[Block], per_target: bool) -> dict[str, Any]:
    threshold = np.array([[VSD_LIMIT]])
    found: dict[int, list[NDArray[np.bool_]]] = {obj_id: [] for obj_id in world.facts.object_ids}
    for block in blocks:
        if block.group.obj_id not in found:
            continue
        truth = world.truth(block.key)
        counted = valid_instances(world, block.key) if per_target else truth.visib_fract >= MIN_VISIBLE
        valid = counted[block.gt_ids]
        matched = kernels.match(block.errors["vsd"], threshold, valid)[0, 0] >= 0
        if valid.any():
            found[block.group.obj_id].append(matched[valid] if per_target else np.array([matched.any()]))
    targets = {obj_id: np.concatenate([np.zeros(0, dtype=bool), *hits]) for obj_id, hits in found.items()}
    objects = {obj_id: float(hits.mean()) if len(hits) else 0.0 for obj_id, hits in targets.items()}
    count, hits = sum(map(len, targets.values())), sum(int(h.sum()) for h in targets.values())
    return {
        "recall": hits / max(count, 1),
        "mean_obj_recall": float(np.mean(list(objects.values()))),
        "obj_recalls": objects,
        "tp_count": hits,
        "targets_count": count,
    }
