"""What the report shows of `scores.json` (docs/evaluation.md lists its keys); absent parts are simply not shown."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from pose_models.evaluation.submission import is_hidden, sentence
from pose_models.report import charts
from pose_models.report.gather import RunResults

ERRORS = {"vsd": "VSD", "mssd": "MSSD", "mspd": "MSPD"}
UNITS = {
    "vsd": "threshold (mean over tau)",
    "mssd": "threshold, share of the diameter",
    "mspd": "threshold, px at image width 640",
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """A score 0..1 (None: absent) with its bar and, where known, its interval and the bars of its recall curve."""

    value: float | None
    interval: tuple[float, float] | None = None
    bar: str = ""
    curve: str = ""


def number(scores: Mapping[str, Any], *path: str | int) -> float | None:
    """A number in nested scores (keys of objects may be integers or texts), None where any part is absent."""
    level: Any = scores
    for part in path:
        if not isinstance(level, Mapping):
            return None
        level = level.get(part, level.get(str(part)))
    return float(level) if isinstance(level, int | float) and not isinstance(level, bool) else None


def interval(scores: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    """The bootstrap interval of an average, None where absent."""
    low, high = (number(scores, "intervals", name, end) for end in ("low", "high"))
    return None if low is None or high is None else (low, high)


def overview(run: RunResults, color: str) -> dict[str, Any]:
    """One row of the table of runs: BOP'19 averages with intervals, time, counts."""
    scores = run.scores.get("bop19", {})
    suffix = {"ar": "", **{name: f"_{name}" for name in ERRORS}}
    cells = {}
    for name, end in suffix.items():
        value = number(scores, f"bop19_average_recall{end}")
        span = interval(scores, name)
        best = number(scores, "perfect_ranking", name)
        mark = None if best is None else (best, "with perfect ranking")
        cells[name] = Cell(value, span, charts.bar(value, color, span, 110, mark) if value is not None else "")
    seconds = number(scores, "bop19_average_time_per_image")
    counts = scores.get("counts", {})
    return {
        "run": run.name,
        "color": color,
        "cells": cells,
        "seconds": None if seconds is None or seconds < 0 else seconds,
        "counts": counts if isinstance(counts, Mapping) else {},
        "perfect": number(scores, "perfect_ranking", "ar"),
    }


def objects(runs: list[RunResults], colors: Mapping[str, str]) -> list[dict[str, Any]]:
    """Per object: one row per run with a bar and the recall curve's bars for each error."""
    tables = {run.name: run.scores.get("bop19", {}).get("per_object", {}) for run in runs}
    ids = sorted({int(key) for table in tables.values() for key in table})
    result = []
    for obj_id in ids:
        rows = []
        for run in runs:
            entry = tables[run.name].get(str(obj_id), tables[run.name].get(obj_id, {}))
            cells = {name: _object_cell(entry, name, colors[run.name]) for name in ("ar", *ERRORS)}
            rows.append({"run": run.name, "cells": cells, "instances": entry.get("instances")})
        result.append({"obj_id": obj_id, "rows": rows})
    return result


def _object_cell(entry: Mapping[str, Any], name: str, color: str) -> Cell:
    value = number(entry, name)
    if value is None:
        return Cell(None)
    curve = recall_curve(entry, name)
    bars = charts.curve_bars([r for _, r in curve], [f"at {t:g}" for t, _ in curve], color) if curve else ""
    return Cell(value, None, charts.bar(value, color, width=100), bars)


def recall_curve(scores: Mapping[str, Any], error: str) -> list[tuple[float, float]]:
    """Recall (mean over the rows, which for VSD are taus) at every threshold; empty where absent."""
    entry = scores.get("curves", {})
    entry = entry.get(error, {}) if isinstance(entry, Mapping) else {}
    if not entry or "recall" not in entry or "thresholds" not in entry:
        return []
    recall = np.atleast_2d(np.asarray(entry["recall"], dtype=np.float64)).mean(axis=0)
    return [(float(t), float(r)) for t, r in zip(entry["thresholds"], recall, strict=True)]


def recall_charts(runs: list[RunResults], colors: Mapping[str, str]) -> list[dict[str, str]]:
    """One chart per error with a line per run: recall over thresholds on the whole split."""
    result = []
    for error, label in ERRORS.items():
        curves = {run.name: recall_curve(run.scores.get("bop19", {}), error) for run in runs}
        series = [charts.Series(name, colors[name], points) for name, points in curves.items() if points]
        if series:
            drawn = charts.line_chart(series, UNITS[error], "recall", (0.0, 1.0), markers=True)
            result.append({"title": label, "svg": drawn})
    return result


def bins(runs: list[RunResults], colors: Mapping[str, str]) -> list[dict[str, Any]]:
    """AR per bin of visibility and of distance: tables with a row per bin and a bar per run."""
    result = []
    for key, title, unit in (("by_visibility", "visible fraction", ""), ("by_distance_mm", "distance", " mm")):
        table: dict[str, dict[str, Any]] = {}
        for run in runs:
            for entry in _bin_entries(run.scores.get("bop19", {}).get(key)):
                row = table.setdefault(f"{entry['label']}{unit}", {"instances": entry.get("instances"), "runs": {}})
                value = number(entry, "ar")
                if value is not None:
                    row["runs"][run.name] = {"value": value, "bar": charts.bar(value, colors[run.name], width=90)}
        if table:
            result.append({"title": title, "rows": table})
    return result


def _bin_entries(entry: Any) -> list[dict[str, Any]]:
    """Bins that have both edges, each with its label."""
    result = []
    for item in entry if isinstance(entry, list) else []:
        low, high = number(item, "from"), number(item, "to")
        if low is not None and high is not None:
            label = f"{low:.3g} to {high:.3g}" if high < 100 else f"{low:.0f} to {high:.0f}"
            result.append({**item, "label": label})
    return result


def other_protocols(runs: list[RunResults]) -> list[dict[str, Any]]:
    """Single numbers at the top of the scores of every protocol but bop19."""
    rows = []
    for run in runs:
        for protocol, scores in run.scores.items():
            if protocol != "bop19" and not is_hidden(scores):
                # -1 stands for an unknown time
                numbers = {k: v for k, v in scores.items() if isinstance(v, float) and v >= 0}
                rows.append({"run": run.name, "protocol": protocol, "numbers": numbers})
    return rows


def object_tables(runs: list[RunResults]) -> list[dict[str, Any]]:
    """Shares (AUC, recall, precision) of each object, of protocols without a section of their own, and their means."""
    tables = []
    for run in runs:
        for protocol, scores in run.scores.items():
            entries = scores.get("per_object")
            if protocol in ("bop19", "silhouette") or not isinstance(entries, Mapping) or not entries:
                continue
            rows = {str(key): entries[key] for key in sorted(entries, key=int)}
            names = [name for name, value in next(iter(rows.values())).items() if isinstance(value, float)]
            cells = {key: [_share(number(entry, name)) for name in names] for key, entry in rows.items()}
            columns = [[share for row in cells.values() if (share := row[i]) is not None] for i in range(len(names))]
            texts = [name.replace("add_s", "ADD-S").replace("add", "ADD").replace("(-s)", "(-S)") for name in names]
            heads = [text.replace("_", " ") for text in texts]
            means = [float(np.mean(column)) if column else None for column in columns]
            tables.append({"run": run.name, "protocol": protocol, "heads": heads, "rows": {**cells, "mean": means}})
    return tables


def _share(value: float | None) -> float | None:
    """A share, None where it is undefined (-1)."""
    return None if value is None or value < 0 else value


def submissions(runs: list[RunResults]) -> list[dict[str, Any]]:
    """What can be submitted of each run where the ground truth is not published."""
    return [
        {"run": run.name, "sentence": sentence(scores), "counts": scores["counts"], "warnings": scores["warnings"]}
        for run in runs
        for scores in [next((scores for scores in run.scores.values() if is_hidden(scores)), None)]
        if scores is not None
    ]
