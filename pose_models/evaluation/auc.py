"""Protocol `ycbv-auc`: area under the accuracy-threshold curve of ADD-S and ADD(-S), as YCB-V papers report it.

Convention of cosypose.md 9.1-9.3: the best-scored estimate per object and image, all ground truths count, thresholds
up to 10 cm. Objects that no estimate comes near score 0 here (the reference leaves them out of its mean); their number
is reported.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models.evaluation import kernels
from pose_models.evaluation.localisation import RowsByTarget
from pose_models.evaluation.pairs import ErrorOptions, Group, Job, compute_errors
from pose_models.evaluation.protocols import ResultFile, Run
from pose_models.evaluation.scores import target_counts
from pose_models.evaluation.world import World

Array = NDArray[np.float64]

MAX_ERROR_M = 0.1
KINDS = {"add_s": "adds_anywhere", "add(-s)": "add_s_anywhere"}


def area_under_curve(errors_m: Array) -> float:
    """AUC of one object's errors (N,) in metres, missed instances infinite; nan if none is within 10 cm."""
    errors = np.sort(np.asarray(errors_m, dtype=np.float64))
    accuracy = np.arange(1, len(errors) + 1) / max(len(errors), 1)
    kept = errors <= MAX_ERROR_M
    if not kept.any():
        return math.nan
    distance = np.r_[0.0, errors[kept], MAX_ERROR_M]
    accuracy = np.maximum.accumulate(np.r_[0.0, accuracy[kept], accuracy[kept][-1]])
    steps = np.flatnonzero(distance[1:] != distance[:-1]) + 1
    return float(np.sum((distance[steps] - distance[steps - 1]) * accuracy[steps]) / MAX_ERROR_M)


def scores(world: World, files: Sequence[ResultFile], run: Run) -> list[dict[str, Any]]:
    """One dictionary per result file."""
    tables = [RowsByTarget(file.estimates) for file in files]
    jobs = []
    for key in world.targets:
        present = [int(i) for i in np.unique(world.truth(key).obj_id)]
        jobs.append(
            Job(key, tuple(Group(f, obj, table.get(key, obj)[:1]) for f, table in enumerate(tables) for obj in present))
        )
    options = ErrorOptions(frozenset(KINDS.values()))
    estimates = [file.estimates for file in files]
    errors: list[dict[str, dict[int, list[float]]]] = [{kind: {} for kind in KINDS} for _ in files]
    used: list[list[NDArray[np.int64]]] = [[] for _ in files]
    for image in run.progress(compute_errors(world, estimates, jobs, options, run.workers), "images", len(jobs)):
        for block in image:
            used[block.group.file].append(block.group.rows)
            for kind, name in KINDS.items():
                matched = matched_errors_m(block.errors[name])
                errors[block.group.file][kind].setdefault(block.group.obj_id, []).extend(matched)
    return [
        {
            **_file_scores(own),
            "seconds_per_image": file.estimates.mean_time(),
            "counts": target_counts(world, file.estimates, rows),
        }
        for file, own, rows in zip(files, errors, used, strict=True)
    ]


def matched_errors_m(errors_mm: Array) -> list[float]:
    """Error in metres of every ground truth (G), infinite where none of the estimates (E, G) took it."""
    count = errors_mm.shape[1]
    matched = kernels.match(errors_mm[None], np.array([[np.inf]]), np.ones(count, dtype=bool))[0, 0]
    return [float(errors_mm[e, g]) / 1000 if e >= 0 else math.inf for g, e in enumerate(matched)]


def _file_scores(errors: dict[str, dict[int, list[float]]]) -> dict[str, Any]:
    areas = {kind: {obj: area_under_curve(np.array(e)) for obj, e in own.items()} for kind, own in errors.items()}
    result: dict[str, Any] = {}
    for kind, own in areas.items():
        values = np.array(list(own.values()))
        result[f"auc_{kind}"] = float(np.nan_to_num(values).mean()) if len(values) else 0.0
    thresholds = np.linspace(0, MAX_ERROR_M, 51)
    return {
        **result,
        "objects_without_any_within_10cm": {
            kind: int(np.isnan(list(own.values())).sum()) for kind, own in areas.items()
        },
        "per_object": {
            obj: {**{kind: float(np.nan_to_num(areas[kind][obj])) for kind in KINDS}, "instances": len(instances)}
            for obj, instances in sorted(errors["add_s"].items())
        },
        "curves": {
            kind: {
                "thresholds": thresholds.tolist(),
                "accuracy": {obj: [float(np.mean(np.array(e) <= th)) for th in thresholds] for obj, e in own.items()},
            }
            for kind, own in errors.items()
        },
    }
