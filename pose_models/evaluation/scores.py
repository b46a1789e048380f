"""From tables of found ground truths to the content of `scores.json` (docs/evaluation.md lists its keys)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models.datasets.estimates import Estimates
from pose_models.evaluation.localisation import ErrorRows, Recalled, averages
from pose_models.evaluation.world import World


def localisation_scores(world: World, table: Recalled, errors: Sequence[ErrorRows]) -> dict[str, Any]:
    """Averages over the whole set, per object and per scene, and the recall at every threshold."""
    total = averages(table.recall(), errors)
    per_object = {
        int(obj_id): {
            **averages(table.recall(table.obj_id == obj_id), errors),
            **_count(table, table.obj_id == obj_id),
            "curves": curves(table.recall(table.obj_id == obj_id), errors),
        }
        for obj_id in world.facts.object_ids
    }
    per_scene = {
        int(scene): {
            **averages(table.recall(table.scene_id == scene), errors),
            **_count(table, table.scene_id == scene),
        }
        for scene in world.scene_ids
    }
    return {
        "averages": total,
        "per_object": per_object,
        "per_scene": per_scene,
        # As the reference reports them: over all objects and scenes, those without targets counted as 0.
        "mean_object_recall": {name: float(np.mean([o[name] for o in per_object.values()])) for name in total},
        "mean_scene_recall": {name: float(np.mean([s[name] for s in per_scene.values()])) for name in total},
        "curves": curves(table.recall(), errors),
    }


def curves(recall: NDArray[np.float64], errors: Sequence[ErrorRows]) -> dict[str, Any]:
    """Recall at every threshold: by error, rows (one per tau for VSD, else one) of as many numbers as thresholds."""
    result: dict[str, Any] = {}
    row = 0
    for error in errors:
        count = len(error.thresholds)
        result[error.name] = {
            "thresholds": error.thresholds[0].tolist(),
            "rows": list(error.labels),
            "recall": recall[row : row + count].tolist(),
        }
        row += count
    return result


def _count(table: Recalled, chosen: NDArray[np.bool_]) -> dict[str, int]:
    return {"instances": int((table.valid & chosen).sum())}


def target_counts(world: World, estimates: Estimates, used: Iterable[NDArray[np.int64]]) -> dict[str, Any]:
    """What was scored, what was left out and why, and what is missing, for the localisation task.

    Args:
        world: the targets.
        estimates: one result file.
        used: row numbers of the estimates that took part, in any number of arrays.
    """
    rows = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *used]))
    left_out = np.setdiff1d(np.arange(len(estimates)), rows)
    reasons: Counter[str] = Counter(_reason(world, estimates, int(row)) for row in left_out)
    got: dict[tuple[int, int, int], int] = {}
    for s, i, o in zip(estimates.scene_id[rows], estimates.im_id[rows], estimates.obj_id[rows], strict=True):
        got[int(s), int(i), int(o)] = got.get((int(s), int(i), int(o)), 0) + 1
    wanted = {(*key, obj): count for key, objects in world.targets.items() for obj, count in objects.items()}
    return {
        "images": len(world.targets),
        "targets": len(wanted),
        "target_instances": sum(wanted.values()),
        "estimates": len(estimates),
        "estimates_used": len(rows),
        "estimates_ignored": dict(sorted(reasons.items())),
        "targets_without_estimate": sum(target not in got for target in wanted),
        "missing_estimates": sum(max(count - got.get(target, 0), 0) for target, count in wanted.items()),
    }


def _reason(world: World, estimates: Estimates, row: int) -> str:
    """Why an estimate took no part."""
    scene_id, im_id = int(estimates.scene_id[row]), int(estimates.im_id[row])
    objects = world.targets.get((scene_id, im_id))
    if objects is not None:
        known = int(estimates.obj_id[row]) in objects
        return "more estimates than instances" if known else "object is no target in its image"
    return "image is no target" if scene_id in world.scene_ids else "scene is not in the split"
