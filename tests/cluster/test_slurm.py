"""The demo through the SLURM plugin on a real cluster, as `snakemake --profile slurm` runs it from a fresh clone."""

from __future__ import annotations

import json

import pytest

from tests.cluster.conftest import Slurm
from tests.workflow.project import Project, output

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
# The nodes have two cores; status checks wait 40 s by default, which is right for a cluster and long for a test; and
# without an accounting database `sacct` has no answers.
FIT = (
    *("--set-threads", "evaluate=2", "--slurm-status-command", "squeue"),
    *("--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "2"),
)
SMALL = "datasets={demo: {train_scenes: 1, test_scenes: 1}}"


def test_the_demo_runs_on_a_cluster_and_trains_on_a_gpu_node(slurm: Slurm, fresh: Project) -> None:
    target = "results/demo/scores.json"
    result = fresh.snakemake("--profile", "slurm", target, *FIT, "--config", "train_threads=2", SMALL)
    assert result.returncode == 0, output(result)
    assert "tiny" in json.loads((fresh.path / target).read_text())["runs"]
    jobs = slurm.jobs()
    assert {"demo_scene", "remesh", "surface", "train", "infer", "evaluate"} <= set(jobs)
    assert all(job["JobState"] == "COMPLETED" for job in jobs.values())
    assert all(job["JobName"].startswith("bopflow") for job in jobs.values())
    assert jobs["train"]["NodeList"] == "n1"
    assert "gpu" in jobs["train"]["TresPerJob"]
    assert jobs["train"]["NumCPUs"] == "2"
    assert "TresPerJob" not in jobs["evaluate"]
    assert slurm.nodes_used() == {"n1", "n2"}

    result = fresh.snakemake(
        "--profile", "slurm", "results/demo/tiny/model.ckpt", "--forcerun", "train", *FIT,
        "--config", "train_threads=2", "gpus=0", SMALL,
    )  # fmt: skip
    assert result.returncode == 0, output(result)
    assert "TresPerJob" not in slurm.jobs()["train"], "a cluster without GPUs would refuse this job"
