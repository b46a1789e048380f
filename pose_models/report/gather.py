"""What lies in a results folder, read tolerantly: what is missing is named in the report instead of failing it."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models.datasets.estimates import Estimates, read_estimates
from pose_models.files import InputError, read_json
from pose_models.methods.passes import FILE, PassPoses, read_passes

Curve = list[tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class RunResults:
    """Everything one run left behind; None or empty where it did not.

    scores: by protocol, the content of `scores*.json`. metrics: by column of `train/metrics.csv`, (step, value).
    settings: resolved settings. inspection: arrays of `inspect.npz`. passes: what `poses.npz` holds. missing: what is
    not there, one clause each.
    """

    name: str
    folder: Path
    scores: dict[str, dict[str, Any]]
    metrics: dict[str, Curve]
    settings: dict[str, Any] | None
    inspection: dict[str, NDArray[Any]] | None
    passes: PassPoses | None
    estimates: Estimates | None
    missing: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class StageTime:
    """Run times of one stage (a rule, for training and what follows one run of it), over all its jobs.

    seconds: wall time, summed; longest: of one job; cpu_seconds: summed, nan where unknown; peak_mb: largest resident
    memory of one job, nan where unknown.
    """

    stage: str
    jobs: int
    seconds: float
    longest: float
    cpu_seconds: float
    peak_mb: float


def read_run(folder: Path) -> RunResults:
    """Read what a run left in its folder."""
    missing: list[str] = []
    scores = {}
    for path in sorted(folder.glob("scores*.json")):
        content = read_json(path)
        scores[str(content.get("protocol", path.stem))] = content
    if not scores:
        missing.append("no scores.json (run evaluate.py)")
    metrics = read_metrics(folder / "train" / "metrics.csv")
    if not metrics:
        missing.append("no train/metrics.csv: no training curves (untrained, or the checkpoint of another run)")
    settings_file = next(
        (p for p in (folder / "settings.json", folder / "train" / "settings.json") if p.exists()), None
    )
    if settings_file is None:
        missing.append("no settings.json")
    estimates = None
    if (folder / "estimates.csv").exists():
        estimates = read_estimates(folder / "estimates.csv")
    else:
        missing.append("no estimates.csv (run infer.py)")
    inspection = read_inspection(folder / "inspect.npz")
    passes = None
    try:
        passes = read_passes(folder / FILE) if (folder / FILE).exists() else None
    except InputError as error:  # results of an earlier version are worth a report
        missing.append(str(error))
    if inspection is None and passes is None:
        missing.append(f"no inspect.npz and no {FILE}: no crops and no passes to look at")
    settings = read_json(settings_file) if settings_file else None
    return RunResults(folder.name, folder, scores, metrics, settings, inspection, passes, estimates, tuple(missing))


def read_comparisons(results: Path, runs: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What compare_estimates.py wrote about later runs and the first, by run; runs without a file are left out."""
    paths = {run: comparison_path(results, run, runs[0]) for run in runs[1:]}
    return {
        run: content for run, path in paths.items() if path.exists() and isinstance(content := read_json(path), dict)
    }


def comparison_path(results: Path, run: str, first: str) -> Path:
    """The file that compares a run with the first one."""
    return results / "comparisons" / f"{run}_vs_{first}.json"


def read_metrics(path: Path) -> dict[str, Curve]:
    """Columns of a training log as (step, value), empty cells left out; empty if there is no file."""
    if not path.exists():
        return {}
    curves: dict[str, Curve] = {}
    with path.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            step = _number(row.get("step"))
            for name, text in row.items():
                value = _number(text)
                if name and name not in ("step", "epoch") and math.isfinite(step) and math.isfinite(value):
                    curves.setdefault(name, []).append((step, value))
    return curves


def read_inspection(path: Path) -> dict[str, NDArray[Any]] | None:
    """Arrays of an inspection file; None if there is none.

    Raises:
        InputError: the file is unreadable or lacks an array.
    """
    if not path.exists():
        return None
    names = ("crop", "mask_prob", "query_vis", "key_vis", "K_crop", "T_est", "index")
    try:
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in names}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: unreadable ({error}); run infer.py again") from None


def read_benchmarks(results: Path) -> list[StageTime]:
    """Run times from Snakemake's benchmark files (`.jsonl` or `.tsv`) under a results folder, longest stage first."""
    jobs: dict[str, list[dict[str, float]]] = {}
    patterns = ("benchmarks/**/*.jsonl", "benchmarks/**/*.tsv", "**/*.benchmark.jsonl", "**/*.benchmark.tsv")
    for path in sorted({path for pattern in patterns for path in results.glob(pattern)}):
        for record in _benchmark_records(path):
            stage = _stage(record, path, results)
            seconds, cpu, peak = (_number(record.get(key)) for key in ("s", "cpu_time", "max_rss"))
            if math.isfinite(seconds):
                jobs.setdefault(stage, []).append({"s": seconds, "cpu": cpu, "peak": peak})
    stages = [
        StageTime(
            stage,
            len(records),
            sum(r["s"] for r in records),
            max(r["s"] for r in records),
            sum(r["cpu"] for r in records),
            max((r["peak"] for r in records if math.isfinite(r["peak"])), default=math.nan),
        )
        for stage, records in jobs.items()
    ]
    return sorted(stages, key=lambda stage: -stage.seconds)


def _benchmark_records(path: Path) -> Iterator[dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".tsv":
        yield from csv.DictReader(text.splitlines(), delimiter="\t")
        return
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue  # the last line of a job that was killed
        if isinstance(record, dict):
            yield record


def _stage(record: dict[str, Any], path: Path, results: Path) -> str:
    """Name of the rule, and of the run where the rule belongs to one."""
    relative = path.relative_to(results).parts
    inside = relative[1:] if relative[0] == "benchmarks" else relative
    rule = str(record.get("rule_name") or inside[0].split(".")[0]).replace("_", " ")
    wildcards = record.get("wildcards")
    run = wildcards.get("run") if isinstance(wildcards, dict) else None
    if run is None and rule in ("train", "infer", "evaluate") and len(inside) > 1:
        run = inside[-1].split(".")[0]
    return f"{rule} · {run}" if run else rule


def _number(value: Any) -> float:
    """A number from a cell; nan for anything else."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def detection_facts(path: Path | None, detections_name: str | None = None) -> tuple[str, bool]:
    """What to say about the source of detections, and whether they are simulated from ground truth."""
    name = path.name.split(".")[0] if path else detections_name
    if name is None:
        return "source of detections not given", False
    if "simulated" in name:
        return "simulated: ground-truth boxes, jittered and scored like a real detector's", True
    return f"imported: {name}", False
