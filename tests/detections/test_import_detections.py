"""The import of a given file: kept targets, refused strangers; programs run as a user runs them."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pose_models.datasets.estimates import read_estimates
from pose_models.detections.coco import read_detections

ROOT = Path(__file__).resolve().parents[2]
RECORD = {"scene_id": 1, "image_id": 3, "category_id": 1, "score": 0.5, "bbox": [1, 2, 3, 4], "time": 0.1}


def _run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "workflow_scripts" / program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _import(dataset, tmp_path, records, *options):
    given = tmp_path / "given.json"
    given.write_text(json.dumps(records), encoding="utf-8")
    out = tmp_path / "out.json"
    done = _run("import_detections.py", "--detections", given, "--dataset", dataset.root, "--out", out, *options)
    return done, out


def test_detections_of_targets_are_kept(dataset, tmp_path):
    targets = [t for t in json.loads((dataset.root / "test_targets_bop19.json").read_text()) if t["obj_id"] == 1]
    (dataset.root / "test_targets_bop19.json").write_text(json.dumps(targets))
    done, out = _import(dataset, tmp_path, [RECORD, {**RECORD, "category_id": 2}, {**RECORD, "score": 0.7}])
    assert done.returncode == 0, done.stderr
    assert read_detections(out).score.tolist() == [0.7, 0.5]
    assert "2 of 3 detections kept" in done.stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scene_id": 48}, "record 1 names scene 48, which"),
        ({"image_id": 4}, "record 1 names image 4, which"),
        ({"category_id": 9}, "record 1 names object 9, which"),
    ],
)
def test_file_of_another_dataset_is_refused_in_one_sentence(dataset, tmp_path, change, message):
    done, out = _import(dataset, tmp_path, [RECORD, {**RECORD, **change}])
    assert done.returncode == 2
    sentence = done.stderr.strip().splitlines()[-1]
    assert message in sentence
    assert "another dataset or split" in sentence
    assert not out.exists()


def test_partial_dataset_drops_what_it_does_not_hold(dataset, tmp_path):
    done, out = _import(dataset, tmp_path, [RECORD, {**RECORD, "scene_id": 48}], "--partial")
    assert done.returncode == 0, done.stderr
    assert read_detections(out).scene_id.tolist() == [1]


def test_nothing_left_is_refused(dataset, tmp_path):
    done, out = _import(dataset, tmp_path, [{**RECORD, "scene_id": 48}], "--partial")
    assert done.returncode == 2
    assert "none of its 1 detections is of a target" in done.stderr
    assert not out.exists()


def test_simulated_program_writes_the_same_bytes_twice(dataset, tmp_path):
    for name in ("simulated_a.json", "simulated_b.json"):
        done = _run("simulate_detections.py", "--dataset", dataset.root, "--seed", 3, "--out", tmp_path / name)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "simulated_a.json").read_bytes() == (tmp_path / "simulated_b.json").read_bytes()


def test_simulated_program_refuses_a_name_that_hides_its_source(dataset, tmp_path):
    done = _run("simulate_detections.py", "--dataset", dataset.root, "--out", tmp_path / "maskrcnn.json")
    assert done.returncode == 2
    assert "must contain 'simulated'" in done.stderr


def test_simulated_program_refuses_an_unknown_setting(dataset, tmp_path):
    out = tmp_path / "simulated.json"
    done = _run("simulate_detections.py", "--dataset", dataset.root, "--out", out, "--set", "centre_jitter=0.1")
    assert done.returncode == 2
    assert "did you mean 'center_jitter'" in done.stderr


def test_poses_that_came_along_are_kept_row_by_row(dataset, tmp_path):
    rois = np.array([[10.0, 20, 60, 40], [12, 22, 62, 42], [0, 0, 9, 9]])  # y1, x1, y2, x2
    T = np.tile(np.eye(4), (3, 1, 1))
    T[:, :3, 3] = [[0, 0, 0.5], [0, 0, 0.6], [0, 0, 0]]  # the last one failed
    views = {"1/3": {"rois": rois, "scores": np.array([0.2, 0.8, 0.9]), "labels_txt": ["obj_000001"] * 3, "poses": T}}
    given, out, poses = tmp_path / "given.pkl", tmp_path / "out.json", tmp_path / "poses.csv"
    given.write_bytes(pickle.dumps(views))
    arguments = ("--detections", given, "--dataset", dataset.root, "--out", out)
    done = _run("import_detections.py", *arguments)
    assert done.returncode == 0, done.stderr
    assert len(read_detections(out)) == 3
    assert "--poses FILE.csv keeps them" in done.stdout
    done = _run("import_detections.py", *arguments, "--poses", poses)
    assert done.returncode == 0, done.stderr
    assert "1 detections whose pose failed were left out" in done.stdout
    detections, estimates = read_detections(out), read_estimates(poses)
    assert detections.score.tolist() == estimates.score.tolist() == [0.8, 0.2]
    assert estimates.t[:, 2].tolist() == [600.0, 500.0]


def test_without_a_dataset_everything_is_kept(tmp_path):
    given, out = tmp_path / "given.json", tmp_path / "out.json"
    given.write_text(json.dumps([{**RECORD, "scene_id": 99}]))
    done = _run("import_detections.py", "--detections", given, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "1 of 1 detections kept (all, for no dataset was named)" in done.stdout


def test_malicious_pickle_ends_in_one_sentence(tmp_path):
    class Call:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'executed'}",)

    given = tmp_path / "given.pkl"
    given.write_bytes(pickle.dumps({"48/1": Call()}))
    done = _run("import_detections.py", "--detections", given, "--out", tmp_path / "out.json")
    assert done.returncode == 2
    assert "nothing was executed" in done.stderr.strip().splitlines()[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["given.pkl"]
