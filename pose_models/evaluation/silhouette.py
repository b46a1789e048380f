"""Protocol `silhouette`: how well estimates cover reference poses in images without depth, such as own photographs.

For every target the inst_count best-scored estimates are matched to the reference poses by MSPD, the nearest first in
order of score. Reported: silhouette IoU (1 - CUS), MSSD and MSPD of the matches; missing instances have IoU 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models.evaluation import kernels
from pose_models.evaluation.localisation import REFERENCE_WIDTH, target_jobs, valid_instances
from pose_models.evaluation.pairs import Block, ErrorOptions, compute_errors
from pose_models.evaluation.protocols import ResultFile, Run
from pose_models.evaluation.scores import target_counts
from pose_models.evaluation.world import World

IOU_THRESHOLDS = np.round(np.arange(0.5, 0.96, 0.05), 2)

Instance = dict[str, Any]


def scores(world: World, files: Sequence[ResultFile], run: Run) -> list[dict[str, Any]]:
    """One dictionary per result file; photographs need no scene_gt_info.json: what is annotated counts as visible."""
    world.assume_visible = True
    estimates = [file.estimates for file in files]
    jobs = target_jobs(world, estimates)
    options = ErrorOptions(frozenset({"cus", "mssd", "mspd"}))
    instances: list[list[Instance]] = [[] for _ in files]
    used: list[list[NDArray[np.int64]]] = [[] for _ in files]
    for image in run.progress(compute_errors(world, estimates, jobs, options, run.workers), "images", len(jobs)):
        for block in image:
            used[block.group.file].append(block.group.rows)
            instances[block.group.file] += matched_instances(world, block)
    return [
        {
            **averages(own),
            "seconds_per_image": file.estimates.mean_time(),
            "counts": target_counts(world, file.estimates, rows),
            "per_object": _grouped(own, "obj_id"),
            "per_scene": _grouped(own, "scene_id"),
            "curves": {"silhouette_iou": {"thresholds": IOU_THRESHOLDS.tolist(), "recall": _recalls(own)}},
            "instances": own,
        }
        for file, own, rows in zip(files, instances, used, strict=True)
    ]


def matched_instances(world: World, block: Block) -> list[Instance]:
    """Every reference pose of a target that counts, with the errors of its match (None where it has none)."""
    valid = valid_instances(world, block.key)[block.gt_ids]
    mspd = block.errors["mspd"]
    matched = kernels.match(mspd[None], np.array([[np.inf]]), valid)[0, 0]
    obj = world.object(block.group.obj_id)
    result = []
    for g in np.flatnonzero(valid):
        e = int(matched[g])
        found = e >= 0
        mssd = float(block.errors["mssd"][e, g]) if found else None
        result.append(
            {
                "scene_id": block.key[0],
                "im_id": block.key[1],
                "obj_id": block.group.obj_id,
                "gt_id": int(block.gt_ids[g]),
                "silhouette_iou": 1.0 - float(block.errors["cus"][e, g]) if found else 0.0,
                "mssd_mm": mssd if mssd is not None and np.isfinite(mssd) else None,
                "mspd_px": float(mspd[e, g]) if found else None,
                "mssd_share": mssd / obj.diameter_mm if mssd is not None and np.isfinite(mssd) else None,
                "mspd_px_at_640": float(mspd[e, g]) * REFERENCE_WIDTH / world.facts.image_width if found else None,
                "found": found,
            }
        )
    return result


def averages(instances: Sequence[Instance]) -> dict[str, Any]:
    """Mean IoU over all instances, medians of MSSD and MSPD (a missing or far match counts as infinite: None)."""
    return {
        "silhouette_iou": float(np.mean([i["silhouette_iou"] for i in instances])) if instances else 0.0,
        "silhouette_recall_at_0.5": _recalls(instances)[0],
        **{f"median_{key}": _median(instances, key) for key in ("mssd_mm", "mspd_px", "mssd_share", "mspd_px_at_640")},
        "instances_found": sum(i["found"] for i in instances),
        "instances_total": len(instances),
    }


def _recalls(instances: Sequence[Instance]) -> list[float]:
    iou = np.array([i["silhouette_iou"] for i in instances])
    return [float((iou >= threshold).sum() / max(len(iou), 1)) for threshold in IOU_THRESHOLDS]


def _median(instances: Sequence[Instance], key: str) -> float | None:
    values = np.sort([np.inf if i[key] is None else i[key] for i in instances])
    middle = float(values[(len(values) - 1) // 2]) if len(values) else np.inf  # the lower one: no mean with infinity
    return middle if np.isfinite(middle) else None


def _grouped(instances: Sequence[Instance], key: str) -> dict[int, Any]:
    return {v: averages([i for i in instances if i[key] == v]) for v in sorted({i[key] for i in instances})}
