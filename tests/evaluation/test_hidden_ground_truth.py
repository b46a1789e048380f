"""Datasets whose ground truth the publisher keeps (itodd, hb): checked and made ready for submission, never scored."""

import dataclasses
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from pose_models.datasets.estimates import write_estimates
from pose_models.evaluation.submission import submission_name
from tests.evaluation.conftest import HEIGHT, WIDTH
from tests.evaluation.test_evaluate_program import run


@pytest.fixture
def hb(made_dataset, tmp_path) -> Path:
    """The made dataset under the name and split of HB, as it comes from the hub: without ground truth."""
    root = tmp_path / "hb"
    shutil.copytree(made_dataset, root, ignore=shutil.ignore_patterns("scene_gt*", "mask*", ".*"))
    (root / "test").rename(root / "test_primesense")
    return root


@pytest.fixture
def estimates(noisy, tmp_path) -> Path:
    folder = tmp_path / "results" / "hb" / "my_run"
    folder.mkdir(parents=True)
    write_estimates(folder / "estimates.csv", noisy)
    return folder / "estimates.csv"


def test_estimates_are_checked_copied_and_not_scored(hb, estimates, noisy):
    out = estimates.with_name("scores.json")
    done = run("evaluate.py", "--dataset", hb, "--estimates", estimates, "--out", out)
    assert done.returncode == 0, done.stderr
    scores = json.loads(out.read_text())
    copy = estimates.with_name("my-run_hb-test.csv")
    assert copy.read_bytes() == estimates.read_bytes()
    assert scores["protocol"] == "bop19"
    assert (scores["hidden_ground_truth"], scores["fit_for_submission"]) == (True, True)
    assert scores["submit"] == str(copy)
    assert "bop.felk.cvut.cz" in scores["submit_to"]
    targets = json.loads((hb / "test_targets_bop19.json").read_text())
    assert scores["counts"] == {
        "estimates": len(noisy),
        "images_with_estimates": 4,
        "target_images": len({(t["scene_id"], t["im_id"]) for t in targets}),
        "target_instances": sum(t["inst_count"] for t in targets),
    }
    assert scores["warnings"] == []
    assert not any(isinstance(value, float) for value in scores.values()), "a number made up"
    assert f"hidden ground truth: submit {copy}" in done.stdout
    fit = run("evaluate.py", "--dataset", hb, "--estimates", copy, "--check")
    assert fit.returncode == 0, fit.stderr
    assert "warning" not in fit.stdout


def test_a_file_that_is_not_fit_is_refused_and_nothing_is_written(hb, estimates, noisy):
    write_estimates(estimates, dataclasses.replace(noisy, obj_id=np.full_like(noisy.obj_id, 44)))
    out = estimates.with_name("scores.json")
    done = run("evaluate.py", "--dataset", hb, "--estimates", estimates, "--out", out)
    assert done.returncode == 2
    assert "line 2: object 44 is not in the dataset" in done.stderr.splitlines()[-1]
    assert [path.name for path in estimates.parent.iterdir()] == ["estimates.csv"]


def test_whoever_has_the_ground_truth_gets_scores(hb, made_dataset, estimates):
    for scene in ("000001", "000002"):
        for name in ("scene_gt.json", "scene_gt_info.json"):
            shutil.copy(made_dataset / "test" / scene / name, hb / "test_primesense" / scene)
    out = estimates.with_name("scores.json")
    done = run("evaluate.py", "--dataset", hb, "--estimates", estimates, "--out", out)
    assert done.returncode == 0, done.stderr
    scores = json.loads(out.read_text())
    assert 0 < scores["bop19_average_recall"] < 1
    assert "hidden_ground_truth" not in scores
    assert not estimates.with_name("my-run_hb-test.csv").exists()


@pytest.mark.parametrize(
    ("file", "dataset", "split", "name"),
    [
        ("results/itodd/surfemb/estimates.csv", "itodd", "test", "surfemb_itodd-test.csv"),
        ("results/hb/surfemb_rgbd/estimates.csv", "hb", "test_primesense", "surfemb-rgbd_hb-test.csv"),
        ("mine_hb-test.csv", "hb", "test_primesense", "mine_hb-test.csv"),
        ("mine_hb-test_7a.csv", "hb", "test_primesense", "mine_hb-test_7a.csv"),
        ("mine_itodd-test.csv", "hb", "test_primesense", "mine_hb-test.csv"),
        ("mine.csv", "itodd", "test", "mine_itodd-test.csv"),
    ],
)
def test_the_copy_is_named_as_the_server_wants(file, dataset, split, name):
    assert submission_name(Path(file), dataset, split) == name


def test_several_sensors_are_scored_on_the_evaluated_one(made_dataset, perfect, tmp_path):
    root = tmp_path / "xyzibd"
    shutil.copytree(made_dataset, root, ignore=shutil.ignore_patterns("mask*", ".*", "scene_gt_coco*"))
    for scene in (root / "test").iterdir():
        for name in ("camera", "gt", "gt_info"):
            file = scene / f"scene_{name}.json"
            shutil.copy(file, scene / f"scene_{name}_photoneo.json")
            file.rename(scene / f"scene_{name}_xyz.json")
        truth = json.loads((scene / "scene_gt_photoneo.json").read_text())  # seen from elsewhere
        for instance in (instance for instances in truth.values() for instance in instances):
            instance["cam_t_m2c"][0] += 300
        (scene / "scene_gt_photoneo.json").write_text(json.dumps(truth))
        shutil.copytree(scene / "depth", scene / "depth_photoneo")
        (scene / "depth").rename(scene / "depth_xyz")
        (scene / "gray_xyz").mkdir()
        for depth in (scene / "depth_xyz").iterdir():
            cv2.imwrite(str(scene / "gray_xyz" / depth.name), np.zeros((HEIGHT, WIDTH), np.uint8))
    file = tmp_path / "perfect_xyzibd-test.csv"
    write_estimates(file, perfect)
    done = run("evaluate.py", "--dataset", root, "--estimates", file, "--out", tmp_path / "s.json",
               "--protocol", "bop24")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "s.json").read_text())["bop24_mAP"] > 0.98
    done = run("simulate_detections.py", "--dataset", root, "--split", "test", "--out", tmp_path / "simulated.json")
    assert done.returncode == 0, done.stderr
    boxes = [d["bbox"] for d in json.loads((tmp_path / "simulated.json").read_text())]
    assert boxes
    done = run("check_dataset.py", root, "--json", tmp_path / "found.json")
    assert "Traceback" not in done.stderr
    missing = next(f for f in json.loads((tmp_path / "found.json").read_text()) if f["code"] == "image-missing")
    assert missing["count"] == 4  # of the other sensor, which has none: two scenes of two images
    assert all(example["file"].endswith("(sensor photoneo)") for example in missing["examples"])
