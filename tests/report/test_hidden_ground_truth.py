"""Report, merged scores and tables where the publisher keeps the ground truth: what to submit, and the estimates."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(program, *arguments):
    command = [sys.executable, str(ROOT / "workflow_scripts" / program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_report_and_table_say_what_to_submit(dataset, results, detections, tmp_path):
    data, own = tmp_path / "data", tmp_path / "results" / "hb"
    ignored = shutil.ignore_patterns("scene_gt*", "mask*", "dataset_info.json", ".*")
    shutil.copytree(dataset.root, data / "hb", ignore=ignored)
    (data / "hb" / "test").rename(data / "hb" / "test_primesense")
    for name in ("surfemb", "surfemb-rgbd"):
        shutil.copytree(results / "exact", own / name, ignore=shutil.ignore_patterns("scores*"))
        run("evaluate.py", "--dataset", data / "hb", "--estimates", own / name / "estimates.csv",
            "--out", own / name / "scores.json")  # fmt: skip
    scores = [own / name / "scores.json" for name in ("surfemb", "surfemb-rgbd")]
    said = run("merge_scores.py", "--dataset", "hb", "--detections", "default", "--scores", *scores,
               "--out", own / "scores.json")  # fmt: skip
    copy = own / "surfemb" / "surfemb_hb-test.csv"
    sentence = f"hidden ground truth: submit {copy}"
    assert said.count("hidden ground truth: submit") == 2
    assert sentence in said
    merged = json.loads((own / "scores.json").read_text())
    assert merged["runs"]["surfemb"]["bop19"]["hidden_ground_truth"] is True
    run("report.py", "--dataset", data / "hb", "--results", own, "--split", "test_primesense", "--runs", "surfemb",
        "surfemb-rgbd", "--detections", detections, "--out", own / "report.html")  # fmt: skip
    page = (own / "report.html").read_text()
    assert sentence in page
    assert 'class="estimate unjudged"' in page  # outlines of the estimates are drawn all the same
    for absent in (
        "</span>ground truth</label>",
        "estimate good",
        "AR if the same",
        "No BOP'19 scores",
        "compare_estimates.py",
    ):
        assert absent not in page
    run("make_table.py", "--paper", "surfemb", "--results", tmp_path / "results", "--data", data,
        "--out", tmp_path / "t.html")  # fmt: skip
    assert sentence in (tmp_path / "t.html").read_text()
    assert "hb/surfemb-rgbd/surfemb-rgbd_hb-test.csv" in (tmp_path / "t.md").read_text()
