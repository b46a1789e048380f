"""The whole graph, for real but tiny: it ends with scores and a report, and repeats just what a change concerns."""

from __future__ import annotations

import json
import re

import pytest

from tests.workflow.project import Project, output

pytestmark = pytest.mark.slow
CHANGED_INFERENCE = ("--config", "runs={tiny: {set: {infer: {refine_steps: 6}}}}")
CHANGED_TRAINING = ("--config", "runs={tiny: {set: {loss: {lr_image: 0.0005}}}}")


def planned(result_output: str) -> set[str]:
    """Rules of a dry run, from its `Job stats` table."""
    table = result_output.partition("Job stats:")[2].partition("\n\n")[0]
    return set(re.findall(r"^(\w+) +\d+$", table, re.MULTILINE)) - {"total"}


def test_the_demo_ends_with_scores_and_a_self_contained_report(finished_once: Project) -> None:
    results = finished_once.path / "results/demo"
    scores = json.loads((results / "scores.json").read_text())["runs"]["tiny"]["bop19"]
    assert 0 <= scores["bop19_average_recall"] <= 1
    assert scores["counts"]["targets"] > 0
    page = (results / "report.html").read_text()
    assert "simulated" in page
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)
    assert (results / "graph.svg").read_text().count("<rect") >= 10


def test_every_job_leaves_a_log_and_a_benchmark(finished_once: Project) -> None:
    results = finished_once.path / "results/demo"
    jobs = {path.relative_to(results / "logs").with_suffix("") for path in (results / "logs").rglob("*.log")}
    measured = {
        p.relative_to(results / "benchmarks").with_suffix("") for p in (results / "benchmarks").rglob("*.jsonl")
    }
    assert jobs == measured
    assert len(jobs) == 19


def test_the_same_command_again_does_nothing_and_says_so(finished_once: Project) -> None:
    result = finished_once.snakemake()
    assert result.returncode == 0
    assert "Nothing to be done" in output(result)


def test_a_changed_refinement_repeats_inference_evaluation_and_report_only(finished_once: Project) -> None:
    result = finished_once.snakemake("-n", *CHANGED_INFERENCE)
    assert planned(output(result)) == {"infer", "evaluate", "dataset_scores", "report", "all"}


def test_a_changed_training_setting_repeats_training_and_what_follows(finished_once: Project) -> None:
    result = finished_once.snakemake("-n", *CHANGED_TRAINING)
    assert planned(output(result)) == {"train", "infer", "evaluate", "dataset_scores", "report", "all"}


def test_more_training_scenes_keep_the_old_ones(finished_once: Project) -> None:
    result = finished_once.snakemake("-n", "--config", "datasets={demo: {train_scenes: 3}}")
    assert re.search(r"^demo_scene +1$", output(result), re.MULTILINE)


def test_a_changed_comment_in_the_code_repeats_nothing(finished: Project) -> None:
    for file in ("rules/train.smk", "workflow_scripts/train.py", "pose_models/methods/surfemb/model.py"):
        with (finished.path / file).open("a") as stream:
            stream.write("\n# another comment\n")
    assert "Nothing to be done" in output(finished.snakemake("-n"))


def test_a_training_with_other_settings_does_not_continue_the_old_one(finished: Project) -> None:
    checkpoint = finished.path / "results/demo/tiny/model.ckpt"
    before, curve = checkpoint.read_bytes(), (checkpoint.parent / "train/metrics.csv").read_text()
    result = finished.snakemake("results/demo/tiny/model.ckpt", *CHANGED_TRAINING)
    assert result.returncode == 0, output(result)
    assert checkpoint.read_bytes() != before
    changed = (checkpoint.parent / "train/metrics.csv").read_text()
    assert len(changed.splitlines()) == len(curve.splitlines())
    assert changed != curve


def test_a_second_run_beside_the_first_is_refused(finished: Project) -> None:
    import fcntl

    with (finished.path / ".snakemake/bopflow.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = finished.snakemake("--forcerun", "dataset_scores")
        assert result.returncode != 0
        assert "another run works in this folder" in output(result)
        assert finished.snakemake("-n").returncode == 0
