"""The report: one self-contained HTML file made from a results folder."""

from __future__ import annotations

import dataclasses
import datetime
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from pose_models import program
from pose_models.datasets.bop import BopDataset
from pose_models.detections.coco import read_detections
from pose_models.files import InputError, read_json
from pose_models.report import charts, scores_view
from pose_models.report.comparison import comparison_view
from pose_models.report.gather import (
    RunResults,
    StageTime,
    comparison_path,
    detection_facts,
    read_benchmarks,
    read_comparisons,
    read_run,
)
from pose_models.report.passes import judge_passes, pass_view, spread_rows
from pose_models.report.views import FAIR, GOOD, Viewer, crop_rows, image_view, photo_rows, spread_images
from pose_models.settings import flatten

TEMPLATES = Path(__file__).parent / "templates"


@dataclasses.dataclass(frozen=True)
class ReportInputs:
    """What a report is made of: the dataset, its results folder, the runs to show, and how many pictures of each."""

    dataset: Path
    results: Path
    runs: tuple[str, ...]
    split: str = "test"
    detections: Path | None = None
    graph: Path | None = None
    crops: int = 12
    images: int = 4


def render(inputs: ReportInputs) -> str:
    """The report as HTML.

    Raises:
        InputError: unknown runs, no split, unreadable files; what is merely absent is named in the report.
    """
    dataset = BopDataset(inputs.dataset)
    runs = [read_run(_run_folder(inputs.results, name)) for name in inputs.runs]
    colors = {run.name: charts.COLORS[i % len(charts.COLORS)] for i, run in enumerate(runs)}
    viewer = Viewer(dataset, inputs.split)
    context = {
        **_header(dataset, inputs, runs, viewer),
        "colors": colors,
        "overview": [scores_view.overview(run, colors[run.name]) for run in runs],
        "recall_charts": scores_view.recall_charts(runs, colors),
        "objects": scores_view.objects(runs, colors),
        "bins": scores_view.bins(runs, colors),
        "comparisons": _comparisons(viewer, inputs, runs, colors),
        "has_truth": viewer.has_truth,
        "submissions": scores_view.submissions(runs),
        "other_protocols": scores_view.other_protocols(runs),
        "object_tables": scores_view.object_tables(runs),
        "curves": training_charts(runs, colors),
        "times": _time_rows(read_benchmarks(inputs.results)),
        "graph": None if inputs.graph is None else inline_svg(inputs.graph),
        "settings": [_settings_view(run) for run in runs],
        "good": GOOD,
        "fair": FAIR,
        **_pictures(viewer, inputs, runs),
        "passes": _passes(viewer, inputs, runs, colors),
    }
    context["missing"] = _missing(inputs, runs, context)
    return environment().get_template("report.html.j2").render(context)


def environment() -> jinja2.Environment:
    """What all pages are rendered with: undefined names are errors, text is escaped, drawings are not."""
    result = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    result.filters |= {"svg": Markup, "seconds": seconds_text, "score": score_text}
    return result


def seconds_text(value: float) -> str:
    """Seconds in the unit a person would choose."""
    if not math.isfinite(value):
        return "–"
    if value < 60:
        return f"{value:.2g} s" if value < 10 else f"{value:.0f} s"
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"


def score_text(value: float | None) -> str:
    """A score with three digits; a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.3f}"


def inline_svg(path: Path) -> str:
    """A drawing ready to stand inside HTML: only its `<svg>` element, without scripts and links.

    Raises:
        InputError: the file is no SVG, or refers to something outside itself.
    """
    if not path.exists():
        raise InputError(f"{path}: graph not found; draw it with draw_graph.py")
    found = re.search(r"<svg\b.*</svg>", path.read_text(encoding="utf-8"), re.DOTALL)
    if found is None:
        raise InputError(f"{path}: no <svg> element; draw the graph again with draw_graph.py")
    drawing = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", found.group())
    if re.search(r"<script|<foreignObject|\son\w+=|(?:href|src)\s*=\s*[\"'](?!#)|url\(\s*[\"']?(?!#)", drawing, re.I):
        raise InputError(f"{path}: the drawing has scripts or links; draw the graph again with draw_graph.py")
    return drawing


def training_charts(runs: Sequence[RunResults], colors: Mapping[str, str]) -> list[dict[str, str]]:
    """One chart per logged quantity; training drawn through, validation dotted; losses and gradients logarithmic."""
    quantities: dict[str, list[charts.Series]] = {}
    for run in runs:
        for column, points in run.metrics.items():
            kind, _, quantity = column.partition("/")
            if kind in ("train", "valid") and quantity and len(points) > 1:
                is_valid = kind == "valid"
                line = charts.Series(f"{run.name}, {kind}", colors[run.name], points, is_valid)
                quantities.setdefault(quantity, []).append(line)
    order = sorted(quantities, key=lambda name: (name != "loss", "loss" not in name, name))
    return [
        {
            "title": name.replace("_", " "),
            "svg": charts.line_chart(quantities[name], "step", size=(360, 220), is_log=_is_log(name, quantities[name])),
        }
        for name in order
    ]


def _is_log(name: str, series: Sequence[charts.Series]) -> bool:
    """Losses and gradients, if all are positive: SurfEmb's sum of scores is none."""
    return ("loss" in name or "gradient" in name) and all(y > 0 for line in series for _, y in line.points)


def _run_folder(results: Path, name: str) -> Path:
    folder = results / name
    if not folder.is_dir():
        raise InputError(f"{folder}: folder of run '{name}' not found; run it first")
    return folder


def _header(dataset: BopDataset, inputs: ReportInputs, runs: list[RunResults], viewer: Viewer) -> dict[str, Any]:
    source, is_simulated = detection_facts(inputs.detections)
    facts_file = dataset.root / "dataset_info.json"
    facts = read_json(facts_file) if facts_file.exists() else {}
    files = [file for run in runs for file in (run.folder / "estimates.csv", run.folder / "scores.json")]
    stamps = [file.stat().st_mtime for file in files if file.exists()]
    newest = datetime.datetime.fromtimestamp(max(stamps), datetime.UTC) if stamps else None
    targets = viewer.world.targets
    return {
        "name": dataset.name,
        "facts": facts,
        "split": inputs.split,
        "runs": [run.name for run in runs],
        "results_date": None if newest is None else newest.strftime("%d %B %Y, %H:%M UTC"),
        "detection_source": source,
        "is_simulated": is_simulated,
        "counts": {
            "objects": len({obj for counts in targets.values() for obj in counts}),
            "scenes": len({scene for scene, _ in targets}),
            "images": len(targets),
            "target instances": sum(count for counts in targets.values() for count in counts.values()),
        },
    }


def _pictures(viewer: Viewer, inputs: ReportInputs, runs: list[RunResults]) -> dict[str, Any]:
    detections = None if inputs.detections is None else read_detections(inputs.detections)
    keys = spread_images(viewer, inputs.images)
    is_photos = (viewer.dataset.root / "dataset_info.json").exists() or any("silhouette" in run.scores for run in runs)
    return {
        "crops": [{"run": run.name, "rows": rows} for run in runs if (rows := crop_rows(viewer, run, inputs.crops))],
        "images": [
            {"run": run.name, "views": [image_view(viewer, run, key, detections) for key in keys]}
            for run in runs
            if run.estimates is not None
        ],
        "photos": [{"run": run.name, "rows": photo_rows(viewer, run)} for run in runs] if is_photos else [],
    }


def _passes(
    viewer: Viewer, inputs: ReportInputs, runs: list[RunResults], colors: Mapping[str, str]
) -> list[dict[str, Any]]:
    return [
        pass_view(
            viewer, judge_passes(viewer, run.passes), run.name, colors[run.name], spread_rows(run.passes, inputs.crops)
        )
        for run in runs
        if run.passes is not None and len(run.passes)
    ]


def _comparisons(
    viewer: Viewer, inputs: ReportInputs, runs: list[RunResults], colors: Mapping[str, str]
) -> list[dict[str, Any]]:
    found = read_comparisons(inputs.results, inputs.runs)
    return [
        comparison_view(viewer, runs[0], run, found[run.name], colors[run.name], inputs.images)
        for run in runs[1:]
        if run.name in found
    ]


def _time_rows(stages: list[StageTime]) -> list[dict[str, Any]]:
    longest = max((stage.seconds for stage in stages), default=1.0)
    return [
        {**dataclasses.asdict(s), "bar": charts.bar(s.seconds / longest if longest else 0, "#0b6e99", width=180)}
        for s in stages
    ]


def _settings_view(run: RunResults) -> dict[str, Any]:
    provenance = next((s["provenance"] for s in run.scores.values() if isinstance(s.get("provenance"), dict)), None)
    return {
        "run": run.name,
        "settings": None if run.settings is None else [line.partition("=")[::2] for line in flatten(run.settings)],
        "provenance": provenance or program.provenance(),
        "is_of_report": provenance is None,
    }


def _missing(inputs: ReportInputs, runs: list[RunResults], context: dict[str, Any]) -> list[str]:
    notes = [f"{run.name}: {note}" for run in runs for note in run.missing]
    shown = {block["second"] for block in context["comparisons"]}
    for run in runs[1:] if context["has_truth"] else ():
        if run.name not in shown and "bop19" in run.scores and "bop19" in runs[0].scores:
            file = comparison_path(inputs.results, run.name, runs[0].name)
            notes.append(f"{run.name}: no comparisons/{file.name} (run compare_estimates.py)")
    if inputs.graph is None:
        notes.append("no graph given (--graph)")
    if not context["times"]:
        notes.append("no benchmark files under the results folder: no run times")
    if context["has_truth"] and not context["bins"] and any("bop19" in run.scores for run in runs):
        notes.append("scores.json has no scores per bin of visibility and distance")
    if inputs.detections is None:
        notes.append("no detections given (--detections)")
    return notes
