"""Protocols of the papers before BOP that match by meters (cosypose.md 9.1-9.4).

`ycbv-auc`: area under the accuracy-threshold curve of ADD-S and ADD(-S), as YCB-V papers report it. `tless-siso` and
`tless-vivo`: T-LESS with a single instance of a single object, and with varying numbers of both; AUC of ADD-S, its
recall and average precision at a tenth of the diameter, and VSD below 0.3.

Objects that no estimate comes near score 0 here; the reference leaves them out of its means, which stand beside.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models.evaluation.classic import vsd_20mm
from pose_models.evaluation.localisation import RowsByTarget
from pose_models.evaluation.meters import MAX_ERROR_MM, Group, Meter, Table, measure
from pose_models.evaluation.pairs import Block, ErrorOptions, Job, compute_errors
from pose_models.evaluation.pairs import Group as Rows
from pose_models.evaluation.protocols import ResultFile, Run
from pose_models.evaluation.scores import target_counts
from pose_models.evaluation.world import World

Array = NDArray[np.float64]

ADD, ADD_S, ADD_OR_S = "add", "add_s", "add(-s)"
YCBV = {kind: Meter(kind) for kind in (ADD_S, ADD_OR_S, ADD)}
SISO = {
    "auc": Meter(ADD_S, limit=0.5, near=True, counted="visible"),
    "recall": Meter(ADD_S, limit=0.1, near=True, counted="visible"),
}
VIVO = {
    "auc": Meter(ADD_S, limit=0.5, near=True, top="targets", counted="targets"),
    "recall": Meter(ADD_S, limit=0.1, near=True, top="targets", counted="targets"),
    "precision": Meter(ADD_S, limit=0.1, near=True, top="all", counted="targets"),
}


def ycbv(world: World, files: Sequence[ResultFile], run: Run) -> list[dict[str, Any]]:
    """`ycbv-auc`: one dictionary per result file."""
    results = []
    for file, tables, used in measured(world, files, YCBV, run):
        areas = {kind: table.per_object(Table.area_under_curve) for kind, table in tables.items()}
        errors = {obj: tables[ADD_S].of(obj).errors for obj in areas[ADD_S]}
        results.append(
            {
                **{f"auc_{kind}": _mean(own) for kind, own in areas.items()},
                "objects_without_any_within_10cm": {kind: _count_nan(own) for kind, own in areas.items()},
                "per_object": {
                    obj: {**{kind: _number(areas[kind][obj]) for kind in YCBV}, "instances": len(errors[obj])}
                    for obj in errors
                },
                "curves": {kind: _curve(table) for kind, table in tables.items()},
                **_common(world, file, used),
            }
        )
    return results


def siso(world: World, files: Sequence[ResultFile], run: Run) -> list[dict[str, Any]]:
    """`tless-siso`: every visible object of the targets' images, one instance each."""
    return _tless(world.of_all_objects(), files, run, SISO)


def vivo(world: World, files: Sequence[ResultFile], run: Run) -> list[dict[str, Any]]:
    """`tless-vivo`: the instances that the targets name."""
    return _tless(world, files, run, VIVO)


def _tless(
    world: World, files: Sequence[ResultFile], run: Run, meters: Mapping[str, Meter]
) -> list[dict[str, Any]]:  # fmt: skip
    per_target = meters["auc"].top == "targets"
    vsd = vsd_20mm(world, [file.estimates for file in files], run, per_target)
    results = []
    for (file, tables, used), vsd_recall in zip(measured(world, files, meters, run), vsd, strict=True):
        areas = tables["auc"].per_object(Table.area_under_curve)
        recalls = tables["recall"].per_object(Table.recall)
        found = tables["auc"].errors
        scores: dict[str, Any] = {
            "auc_add_s": _mean(areas),
            "auc_add_s_pooled": _number(tables["auc"].area_under_curve()),
            "recall_add_s_0.1d": tables["recall"].recall(),
            "recall_vsd_0.3": vsd_recall["mean_obj_recall"],
            "mean_add_s_of_matches_mm": float(found[np.isfinite(found)].mean()) if tables["auc"].matches else None,
        }
        per_object = {obj: {"auc_add_s": _number(areas[obj]), "recall_add_s_0.1d": recalls[obj]} for obj in areas}
        if "precision" in tables:
            precisions = tables["precision"].per_object(Table.average_precision)
            scores["map_add_s_0.1d"] = _mean(precisions)
            scores["map_add_s_0.1d_of_found_objects"] = _mean({k: p for k, p in precisions.items() if p > 0})
            for obj, precision in precisions.items():
                per_object[obj]["ap_add_s_0.1d"] = precision
        for obj, own in per_object.items():
            own["recall_vsd_0.3"] = vsd_recall["obj_recalls"].get(obj, 0.0)
            own["instances"] = tables["recall"].of(obj).instances
        results.append({**scores, "per_object": per_object, "vsd_20mm": vsd_recall, **_common(world, file, used)})
    return results


def measured(
    world: World, files: Sequence[ResultFile], meters: Mapping[str, Meter], run: Run
) -> list[tuple[ResultFile, dict[str, Table], list[NDArray[np.int64]]]]:
    """Apply meters to result files: per file its tables by meter, and the rows of estimates that were looked at."""
    index = [RowsByTarget(file.estimates) for file in files]
    jobs = [Job(key, tuple(_groups(world, key, index, meters))) for key in world.targets]
    kinds = {"te", "adds_anywhere"} | ({"add_anywhere"} if any(m.error == ADD_OR_S for m in meters.values()) else set())
    options = ErrorOptions(frozenset(kinds))
    groups: list[dict[str, list[Group]]] = [{name: [] for name in meters} for _ in files]
    used: list[list[NDArray[np.int64]]] = [[] for _ in files]
    estimates = [file.estimates for file in files]
    for image in run.progress(compute_errors(world, estimates, jobs, options, run.workers), "images", len(jobs)):
        for block in image:
            used[block.group.file].append(block.group.rows)
            scores = estimates[block.group.file].score[block.group.rows]
            for name, meter in meters.items():
                groups[block.group.file][name].append(_measured(world, block, meter, scores))
    tables = [{name: Table(tuple(found)) for name, found in own.items()} for own in groups]
    return list(zip(files, tables, used, strict=True))


def _groups(
    world: World, key: tuple[int, int], index: Sequence[RowsByTarget], meters: Mapping[str, Meter]
) -> list[Rows]:  # fmt: skip
    """Estimates that meters ask for: of objects in the image, and wrong ones where they count as such."""
    present = np.unique(world.truth(key).obj_id).tolist()
    everything = any(meter.top == "all" for meter in meters.values())
    objects = sorted({*present, *world.facts.object_ids}) if everything else present
    groups = []
    for file, table in enumerate(index):
        for obj_id in objects:
            rows = table.get(key, obj_id)
            wanted = max(m.best(len(rows), world.targets[key].get(obj_id, 0)) for m in meters.values())
            if obj_id in present or wanted:
                groups.append(Rows(file, obj_id, rows[:wanted]))
    return groups


def _measured(world: World, block: Block, meter: Meter, scores: Array) -> Group:
    obj = world.object(block.group.obj_id)
    special = world.facts.entry.auc_symmetric
    is_special = obj.is_symmetric if special is None else obj.obj_id in special
    nearest = meter.error == ADD_S or (meter.error == ADD_OR_S and is_special)
    return measure(
        meter,
        obj.obj_id,
        obj.diameter_mm,
        block.errors["adds_anywhere" if nearest else "add_anywhere"],
        block.errors["te"],
        scores,
        world.truth(block.key).visib_fract[block.gt_ids],
        world.targets[block.key].get(obj.obj_id, 0),
    )


def _common(world: World, file: ResultFile, used: Sequence[NDArray[np.int64]]) -> dict[str, Any]:
    return {
        "seconds_per_image": file.estimates.mean_time(),
        "counts": target_counts(world, file.estimates, used),
    }


def _number(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def _mean(values: Mapping[int, float]) -> float:
    return float(np.mean([_number(v) for v in values.values()])) if values else 0.0


def _count_nan(values: Mapping[int, float]) -> int:
    return sum(math.isnan(v) for v in values.values())


def _curve(table: Table) -> dict[str, Any]:
    thresholds = np.linspace(0, MAX_ERROR_MM, 51)
    accuracy = {obj: (table.of(obj).errors[:, None] <= thresholds).mean(axis=0).tolist() for obj in table.object_ids}
    return {"thresholds": (thresholds / 1000).tolist(), "accuracy": accuracy}
