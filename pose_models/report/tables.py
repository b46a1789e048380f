"""A paper's tables with our numbers beside: gathered from what lies under results/, as JSON, Markdown and HTML.

Nothing is computed for a table. What is not there is named, with the reason and the command that makes it.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import jinja2

from pose_models.datasets.catalogue import has_truth
from pose_models.evaluation.submission import is_hidden, sentence
from pose_models.files import InputError, read_json
from pose_models.report.published import Column, Paper, Row, Table

TEMPLATES = Path(__file__).parent / "templates"


@dataclasses.dataclass(frozen=True)
class Result:
    """Our result of a run on a dataset, in the table's unit; value None where there is none, and why.

    seconds: per image, None where unknown. device: what inference ran on. is_simulated: boxes come from ground truth.
    """

    value: float | None = None
    missing: str | None = None
    command: str | None = None
    seconds: float | None = None
    device: str | None = None
    is_simulated: bool = False


def gather(paper: Paper, results: Path, data: Path) -> dict[str, Any]:
    """All tables of a paper as plain values, with what is missing and why.

    Args:
        results: folder of results, `<dataset>/<run>/scores*.json`. data: folder of datasets.
    """
    return {
        **paper.model_dump(include={"title", "authors", "venue", "link"}),
        "tables": [_table(table, results, data) for table in paper.tables],
    }


def _table(table: Table, results: Path, data: Path) -> dict[str, Any]:
    rows, missing = [], []
    for row in table.rows:
        found = [_result(table, row, column, results, data) for column in table.columns]
        rows.append(_row(table, row, found))
        for column, result in zip(table.columns, found, strict=True):
            if result.missing is not None:
                entry = {"column": column.name, "run": row.run_on(column.dataset)}
                missing.append({**entry, "reason": result.missing, "command": result.command})
    return {
        **table.model_dump(include={"title", "source", "protocol", "decimals", "better"}),
        "columns": [column.name for column in table.columns],
        "rows": rows,
        "missing": [entry for number, entry in enumerate(missing) if entry not in missing[:number]],
    }


def _row(table: Table, row: Row, found: list[Result]) -> dict[str, Any]:
    published = list(row.values) or [None] * len(table.columns)
    ours = [result.value for result in found]
    cells = [
        {
            "published": theirs, "ours": result.value, "difference": _difference(theirs, result.value),
            "run": row.run_on(column.dataset), "seconds": result.seconds, "device": result.device,
            "simulated_boxes": result.is_simulated,
        }
        for column, theirs, result in zip(table.columns, published, found, strict=True)
    ]  # fmt: skip
    complete = [value for value in ours if value is not None]
    mean = sum(complete) / len(complete) if complete and len(complete) == len(ours) else None
    times = [result.seconds for result in found if result.seconds is not None]
    return {
        "name": row.name,
        "run": row.run,
        "cells": cells,
        "mean": {"published": row.mean, "ours": mean, "difference": _difference(row.mean, mean)},
        "seconds": {"published": row.seconds, "ours": sum(times) / len(times) if times else None},
        "devices": sorted({result.device for result in found if result.device}),
    }


def _difference(published: float | None, ours: float | None) -> float | None:
    return None if published is None or ours is None else ours - published


def _result(table: Table, row: Row, column: Column, results: Path, data: Path) -> Result:
    run = row.run_on(column.dataset)
    if run is None:
        return Result()
    folder = results / column.dataset / run
    scores = _scores(folder, table.protocol)
    if scores is None:
        reason = _reason(folder, table.protocol, data / column.dataset)
        is_first = table.protocol == "bop19" or not has_truth(data / column.dataset)
        file = "scores.json" if is_first else f"scores_{table.protocol}.json"
        return Result(missing=reason, command=f"snakemake {folder / file}")
    if is_hidden(scores):
        return Result(missing=sentence(scores))
    value = _number(scores, column.score or table.score)
    if value is None:
        return Result(missing=f"its scores have no number '{column.score or table.score}'")
    seconds = _number(scores, "seconds_per_image")
    inference = folder / "inference.json"
    return Result(
        value=value * table.scale,
        seconds=seconds if seconds is not None and seconds >= 0 else None,
        device=read_json(inference).get("device") if inference.exists() else None,
        is_simulated=_has_simulated_boxes(results / column.dataset),
    )


def _scores(folder: Path, protocol: str) -> dict[str, Any] | None:
    """The content of the run's file of scores of a protocol."""
    for path in (folder / "scores.json", folder / f"scores_{protocol}.json"):
        if path.exists():
            content = read_json(path)
            if not isinstance(content, dict):
                raise InputError(f"{path}: no scores; evaluate again")
            if content.get("protocol") == protocol:
                return content
    return None


def _reason(folder: Path, protocol: str, dataset: Path) -> str:
    """Why a run has no scores of a protocol."""
    has_estimates = (folder / "estimates.csv").exists()
    if not has_truth(dataset):
        state = "estimates are there, not checked yet" if has_estimates else "no estimates yet"
        return f"hidden ground truth: {state}; the command makes the file to submit"
    if (folder / "scores.json").exists():
        return f"scored, but not with protocol {protocol}"
    if has_estimates:
        return "estimates are there, not scored yet"
    if (folder / "model.ckpt").exists():
        return "trained, no estimates yet"
    return "not run yet" if dataset.is_dir() else "not run yet; the dataset is not here and will be fetched"


def _number(scores: dict[str, Any], path: str) -> float | None:
    """The number at dotted keys, None if there is none."""
    value: Any = scores
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None


def _has_simulated_boxes(results: Path) -> bool:
    files = [path.name.split(".")[0] for path in (results / "detections").glob("*.json")]
    return files == ["simulated"]


def markdown(content: dict[str, Any]) -> str:
    """The tables as Markdown."""
    lines = [f"# {content['title']}", "", f"{content['authors']}, {content['venue']}, <{content['link']}>"]
    for table in content["tables"]:
        heads = ["", *table["columns"], "mean", "s / image"]
        lines += ["", f"## {table['title']}", "", f"Published: {table['source'].strip()}.", ""]
        lines += [_line(heads), _line(["---", *["---:"] * (len(heads) - 1)])]
        lines += [_line(line) for row in table["rows"] for line in _markdown_rows(row, table["decimals"])]
        if table["missing"]:
            lines += ["", "Missing:", ""]
            lines += [
                f"- {entry['column']}, {entry['run']}: {entry['reason']}"
                + (f" (`{entry['command']}`)" if entry["command"] else "")
                for entry in table["missing"]
            ]
        notes = _notes(table)
        lines += ["", *notes] if notes else []
    return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_rows(row: dict[str, Any], decimals: int) -> list[list[str]]:
    columns = [*row["cells"], row["mean"]]
    published = [text(cell["published"], decimals) for cell in columns] + [text(row["seconds"]["published"], 2)]
    if row["run"] is None:
        return [[row["name"], *published]]
    ours = [text(cell["ours"], decimals) for cell in columns] + [text(row["seconds"]["ours"], 2)]
    difference = [text(cell["difference"], decimals, signed=True) for cell in columns] + [""]
    name = f"{row['name']}: published"
    return [[name, *published], [f"ours ({row['run']})", *ours], ["difference", *difference]]


def _notes(table: dict[str, Any]) -> list[str]:
    devices = sorted({device for row in table["rows"] for device in row["devices"]})
    notes = [f"Our times are of: {'; '.join(devices)}."] if devices else []
    pairs = [(name, cell) for row in table["rows"] for name, cell in zip(table["columns"], row["cells"], strict=True)]
    simulated = sorted({name for name, cell in pairs if cell["simulated_boxes"]})
    if simulated:
        notes.append(
            f"Boxes of {', '.join(simulated)} are simulated from the ground truth, so published numbers do not compare."
        )
    return notes


def text(value: float | None, decimals: int, signed: bool = False) -> str:
    """A number with so many decimals; a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:+.{decimals}f}" if signed else f"{value:.{decimals}f}"


def html(content: dict[str, Any]) -> str:
    """The tables as one self-contained page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.globals |= {"text": text, "notes": _notes}
    return environment.get_template("tables.html.j2").render(content)
