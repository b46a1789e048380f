"""Killed in the middle of three stages, the same command ends with the results of an undisturbed run."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.project import Project, copy_of, output

pytestmark = pytest.mark.slow
TIMES = ("seconds_per_image", "bop19_average_time_per_image", "provenance", "seconds", "inputs")


def kill_when(project: Project, ready: Callable[[], bool], unfinished: str) -> None:
    """Start the demo, wait for a moment in the middle of a stage, kill every process of the run at once."""
    with (project.path / "killed.log").open("w") as log:
        process = subprocess.Popen(
            project.snakemake_command(), cwd=project.path, env=project.environment, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        end = time.monotonic() + 300
        while not ready():
            assert process.poll() is None, (project.path / "killed.log").read_text()
            assert time.monotonic() < end, "the moment to kill the run never came"
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not (project.path / unfinished).exists(), "the kill came too late to show anything"


def lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


def without_times(value: Any) -> Any:
    """Scores without what depends on the clock and on where files lie."""
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key not in TIMES}
    return value


def estimates(project: Project) -> list[list[str]]:
    with (project.path / "results/demo/tiny/estimates.csv").open() as stream:
        return [row[:-1] for row in csv.reader(stream)]


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_three_kills_change_nothing(finished_once: Project, tmp_path: Path, numba_cache: Path) -> None:
    fresh = copy_of(finished_once.path, tmp_path / "project", numba_cache)
    data, run = fresh.path / "data/demo", fresh.path / "results/demo/tiny"
    scene = "train_synt/000001"
    kill_when(fresh, lambda: any(data.glob("train_synt/.000001.*.part/rgb/*")), f"data/demo/{scene}/scene_gt_info.json")
    kill_when(fresh, lambda: lines(run / "train/metrics.csv") >= 3, "results/demo/tiny/model.ckpt")
    kill_when(fresh, lambda: lines(run / ".estimates.csv.partial") >= 2, "results/demo/tiny/estimates.csv")
    result = fresh.snakemake()
    assert result.returncode == 0, output(result)
    assert digests(data) == digests(finished_once.path / "data/demo")
    assert estimates(fresh) == estimates(finished_once)
    scores = [json.loads((p.path / "results/demo/scores.json").read_text()) for p in (fresh, finished_once)]
    assert without_times(scores[0]) == without_times(scores[1])
    assert not list(run.glob(".*.part")) + list(run.glob(".*.partial"))
