"""The program: same bytes twice, goes on after a kill, one sentence for bad input."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pose_models.datasets.estimates import read_estimates

ROOT = Path(__file__).resolve().parents[2]


def command(folder, out, *options):
    program = [sys.executable, str(ROOT / "workflow_scripts" / "refine_depth.py")]
    given = ["--dataset", folder, "--estimates", folder / "estimates.csv", "--out", out, *options]
    return [*program, *map(str, given)]


def run(*arguments):
    return subprocess.run(command(*arguments), capture_output=True, text=True, cwd=ROOT)


def poses(path):
    return [line.rsplit(",", 1)[0] for line in path.read_text().splitlines()]  # all but the time


def test_a_killed_run_goes_on_and_gives_the_same_poses(table, tmp_path):
    whole, killed = tmp_path / "whole" / "estimates.csv", tmp_path / "killed" / "estimates.csv"
    done = run(table.root, whole)
    assert done.returncode == 0, done.stderr
    assert "of 24 estimates refined" in done.stdout
    partial = killed.with_name(".estimates.csv.partial")
    with subprocess.Popen(command(table.root, killed), cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and (not partial.exists() or partial.read_text().count("\n") < 3):
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert not killed.exists()
    kept = partial.read_text().splitlines()
    assert len(kept) >= 3
    first = json.loads(kept[1])
    first["records"][0]["T"][2][3] += 1.0  # what is done is kept, not computed again
    partial.write_text("\n".join([kept[0], json.dumps(first), *kept[2:]]) + "\n")
    assert run(table.root, killed).returncode == 0
    assert not partial.exists()
    differing = [a != b for a, b in zip(poses(whole), poses(killed), strict=True)]
    assert sum(differing) == 1
    assert read_estimates(whole).score.tolist() == read_estimates(table.estimates).score.tolist()


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("depth", "scene 1, image 3 has no depth image"),
        ("object", "estimates of object 2, which has no entry in models_info.json"),
        ("setting", "icp.levls is not a known key; did you mean 'levels'?"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(table, tmp_path, what, sentence):
    folder = tmp_path / "copy"
    shutil.copytree(table.root, folder)
    if what == "depth":
        (folder / "test" / "000001" / "depth" / "000003.png").unlink()
    elif what == "object":
        info = json.loads((folder / "models" / "models_info.json").read_text())
        (folder / "models" / "models_info.json").write_text(json.dumps({"1": info["1"]}))
    done = run(folder, tmp_path / "out" / "estimates.csv", *(["--set", "icp.levls=2"] if what == "setting" else []))
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_no_estimates_give_no_estimates(table, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(table.root, folder)
    (folder / "estimates.csv").write_text((folder / "estimates.csv").read_text().splitlines()[0] + "\n")
    done = run(folder, tmp_path / "out.csv")
    assert done.returncode == 0, done.stderr
    assert len(read_estimates(tmp_path / "out.csv")) == 0
