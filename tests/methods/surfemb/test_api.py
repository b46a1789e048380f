"""Poses from images in memory: what `SurfEmb.estimate` promises, and the program around it."""

import json
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

from pose_models.datasets.estimates import read_estimates
from pose_models.files import InputError, write_json
from pose_models.methods.api import from_checkpoint
from pose_models.methods.surfemb.api import SurfEmb
from pose_models.training.checkpoints import save_checkpoint
from tests.methods.conftest import SCRIPTS, run


@pytest.fixture(scope="module")
def estimator(untrained):
    return SurfEmb.from_checkpoint(untrained, device="cpu")


def test_there_is_one_estimate_per_box_and_the_same_each_time(estimator, view):
    image, K, boxes, obj_ids, _ = view
    first, second = (estimator.estimate(image, K, boxes, obj_ids) for _ in range(2))
    assert [e.obj_id for e in first] == obj_ids
    assert any(e.found for e in first)
    for a, b, box in zip(first, second, boxes, strict=True):
        np.testing.assert_array_equal(a.T_cam_obj, b.T_cam_obj)
        assert a.box_xywh == tuple(box)
        assert a.found == np.isfinite(a.score)
        assert set(a.times) == {"network", "pose"}
        if a.found:
            np.testing.assert_allclose(a.T_cam_obj[:3, :3] @ a.T_cam_obj[:3, :3].T, np.eye(3), atol=1e-6)


def test_it_is_the_pose_that_the_pipeline_finds_in_the_crop_around_the_box(estimator, view):
    image, K, boxes, obj_ids, _ = view
    inner = estimator.estimator
    for index, e in enumerate(estimator.estimate(image, K, boxes, obj_ids)):
        x, y, width, height = boxes[index]
        answer = inner.answer(image, K, obj_ids[index], np.array([x, y, x + width, y + height]))
        expected = inner.estimate(answer, obj_ids[index], np.random.default_rng([inner.settings.seed, index]))
        assert e.found == (expected is not None)
        if expected is not None:
            np.testing.assert_array_equal(e.T_cam_obj, expected.T_cam_obj)
            assert e.score == expected.score


def test_a_depth_image_moves_the_object_along_one_ray(estimator, view):
    image, K, boxes, obj_ids, depth = view
    flat = np.full_like(depth, np.median(depth[depth > 0]))
    plain = estimator.estimate(image, K, boxes, obj_ids)
    corrected = estimator.estimate(image, K, boxes, obj_ids, flat)
    moved = [(a, b) for a, b in zip(plain, corrected, strict=True) if a.found and (a.T_cam_obj != b.T_cam_obj).any()]
    assert moved
    for a, b in moved:
        np.testing.assert_array_equal(a.T_cam_obj[:3, :3], b.T_cam_obj[:3, :3])
        assert a.score == b.score
        ray = (b.T_cam_obj - a.T_cam_obj)[:3, 3]
        u, v, w = K @ (ray / ray[2])
        x, y, width, height = b.box_xywh
        assert x - width < u / w < x + 2 * width
        assert y - height < v / w < y + 2 * height
        assert set(b.times) == {"network", "pose", "depth"}


def test_boxes_may_reach_out_of_the_image_and_there_may_be_none(estimator, view):
    image, K, _, obj_ids, _ = view
    for box in ([-500.0, -500.0, 40.0, 40.0], [140.0, 100.0, 90.0, 90.0]):
        (estimate,) = estimator.estimate(image, K, [box], obj_ids[:1])
        assert estimate.as_json()["bbox"] == box
    assert estimator.estimate(image, K, [], []) == []


def test_no_pose_is_nan_and_minus_infinity(untrained, view):
    image, K, boxes, obj_ids, _ = view
    never = SurfEmb.from_checkpoint(untrained, device="cpu", settings={"min_spread": 100.0})
    (estimate,) = never.estimate(image, K, boxes[:1], obj_ids[:1])
    assert not estimate.found
    assert estimate.score == -np.inf
    assert np.isnan(estimate.T_cam_obj).all()
    assert estimate.as_json()["T_cam_obj"] is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"image": np.zeros((20, 20), np.uint8)}, r"image: expected \(H, W, 3\) uint8 RGB, got \(20, 20\) uint8"),
        ({"image": np.zeros((20, 20, 3))}, "float64"),
        ({"K": np.eye(4)}, r"K: expected a \(3, 3\)"),
        ({"K": np.full((3, 3), np.nan)}, "K: has values that are not finite"),
        ({"boxes": [[0, 0, 10, 10]] * 2}, r"boxes: expected \(1, 4\), one per object id, got \(2, 4\)"),
        ({"boxes": [[50, 50, 0, 9]]}, r"box 0 is \[0.0, 9.0\] px wide and high"),
        ({"obj_ids": [7]}, r"object 7 is not among those of the model, \[1, 2, 3\]"),
        ({"depth": np.ones((3, 3))}, "depth: expected"),
        ({"depth": 0.5}, "depth: its largest value is 0.5; give millimetres, not metres"),
    ],
)
def test_wrong_arguments_are_named(estimator, view, changes, sentence):
    arguments = {"image": view[0], "K": view[1], "boxes": [[10, 10, 50, 50]], "obj_ids": [1], "depth": None, **changes}
    if np.ndim(arguments["depth"]) == 0 and arguments["depth"] is not None:
        arguments["depth"] = np.full(view[0].shape[:2], arguments["depth"])
    with pytest.raises(InputError, match=sentence):
        estimator.estimate(**arguments)


def test_meshes_and_samples_may_travel_beside_the_checkpoint(untrained, small, tmp_path, view):
    image, K, boxes, obj_ids, _ = view
    shutil.copy(untrained, tmp_path / "model.ckpt")
    with pytest.raises(InputError, match=r"no folder of meshes at .*models or .*; name it with models="):
        SurfEmb.from_checkpoint(tmp_path / "model.ckpt", device="cpu")
    shutil.copytree(small / "models", tmp_path / "models")
    with pytest.raises(InputError, match=r"no folder of surface samples at .*; name it with surface="):
        SurfEmb.from_checkpoint(tmp_path / "model.ckpt", device="cpu")
    given = SurfEmb.from_checkpoint(tmp_path / "model.ckpt", device="cpu", surface=small / "surface")
    shutil.copytree(small / "surface", tmp_path / "surface")
    beside = from_checkpoint(tmp_path / "model.ckpt", device="cpu")
    assert beside.models == tmp_path / "models"
    first, second = (e.estimate(image, K, boxes[:1], obj_ids[:1])[0] for e in (given, beside))
    np.testing.assert_array_equal(first.T_cam_obj, second.T_cam_obj)


def test_settings_are_the_runs_unless_told_otherwise(untrained, tmp_path, small):
    own = tmp_path / "model.ckpt"
    shutil.copy(untrained, own)
    folders = {"models": small / "models", "surface": small / "surface", "device": "cpu"}
    write_json(tmp_path / "settings.json", {"infer": {"hypotheses": 123, "scored": 45}})
    settings = SurfEmb.from_checkpoint(own, **folders, settings={"scored": 44}).estimator.settings
    assert (settings.hypotheses, settings.scored) == (123, 44)
    with pytest.raises(InputError, match=r"settings: scord is not a known key; did you mean 'scored'"):
        SurfEmb.from_checkpoint(own, **folders, settings={"scord": 1})


def test_checkpoints_of_other_methods_are_refused(tmp_path):
    save_checkpoint(tmp_path / "other.ckpt", "cosypoze", {})
    with pytest.raises(InputError, match="'cosypoze' is not a known method"):
        from_checkpoint(tmp_path / "other.ckpt")
    with pytest.raises(InputError, match="checkpoint not found"):
        from_checkpoint(tmp_path / "none.ckpt")


def test_the_program_writes_poses_and_a_picture(untrained, small, view, tmp_path):
    image, K, boxes, obj_ids, _ = view
    records = [{"obj_id": o, "bbox": list(b)} for o, b in zip(obj_ids, boxes.tolist(), strict=True)]
    (tmp_path / "boxes.json").write_text(json.dumps(records))
    (tmp_path / "K.json").write_text(json.dumps({"cam_K": K.ravel().tolist(), "depth_scale": 0.1}))
    run("estimate.py", small / "test/000001/rgb/000000.png", "--checkpoint", untrained, "--device", "cpu", "--camera",
        tmp_path / "K.json", "--boxes", tmp_path / "boxes.json", "--out", tmp_path / "out")  # fmt: skip
    expected = SurfEmb.from_checkpoint(untrained, device="cpu").estimate(image, K, boxes, obj_ids)
    written = json.loads((tmp_path / "out" / "estimates.json").read_text())
    for e, entry in zip(expected, written, strict=True):
        assert entry["T_cam_obj"] == (e.T_cam_obj.tolist() if e.found else None)
    rows = read_estimates(tmp_path / "out" / "estimates.csv")
    np.testing.assert_array_equal(rows.t, [e.T_cam_obj[:3, 3] for e in expected if e.found])
    picture = cv2.imread(str(tmp_path / "out" / "overlay.png"))
    assert picture.shape == image.shape
    assert (picture[..., ::-1] != image).any(axis=-1).mean() > 0.02


@pytest.mark.parametrize(
    ("camera", "boxes", "sentence"),
    [
        ('{"fx": 1}', "[]", "K.json: expected fx, fy, cx, cy in pixels, or cam_K"),
        ('{"fx": 200, "fy": 200, "cx": 80, "cy": 60}', '[{"obj_id": 1, "bbox": [1, 2]}]', "boxes.json: record 0"),
        ('{"fx": 200, "fy": 200, "cx": 80, "cy": 60}', "{}", "boxes.json: expected a list"),
    ],
)
def test_the_program_names_what_is_wrong(untrained, small, tmp_path, camera, boxes, sentence):
    (tmp_path / "K.json").write_text(camera)
    (tmp_path / "boxes.json").write_text(boxes)
    command = [sys.executable, SCRIPTS / "estimate.py", small / "test/000001/rgb/000000.png", "--checkpoint",
               untrained, "--camera", tmp_path / "K.json", "--boxes", tmp_path / "boxes.json", "--out",
               tmp_path / "out"]  # fmt: skip
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert not (tmp_path / "out").exists()
