"""Poses pass by pass: errors, the page, the report's section, and what the slider shows in a browser."""

import base64
import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from pose_models.detections.coco import Detections
from pose_models.files import InputError
from pose_models.geometry.transforms import from_rotation_translation
from pose_models.meshes.mesh import load_mesh
from pose_models.methods.passes import read_passes, write_passes
from pose_models.report.page import ReportInputs, render
from pose_models.report.passes import judge_passes, pass_table
from pose_models.report.passes_page import passes_page
from pose_models.report.renders import Painter
from pose_models.report.views import Viewer

ROOT = Path(__file__).resolve().parents[2]
OFF_MM = {"start": 40.0, "coarse 1": 10.0, "refiner 1": 1.0}
K = np.array([[200.0, 0, 79.5], [0, 200.0, 59.5], [0, 0, 1]])


@pytest.fixture
def run(dataset, tmp_path) -> Path:
    """Poses off by 40, 10 and 1 mm; the last detection lies where its object is not and never gets a pose."""
    scene = dataset.scene("test", 1)
    rows = [(im, i, info) for im in (0, 1) for i, info in
            zip(scene.ground_truth[im], scene.ground_truth_info[im], strict=True)]  # fmt: skip
    T = np.stack([np.stack([i.T_cam_obj] * 3) for _, i, _ in rows])
    T[:, :, 0, 3] += list(OFF_MM.values())
    turn = np.diag([-1.0, -1.0, 1.0])  # of which nothing says that it is a symmetry
    T[0, 1] = from_rotation_translation(T[0, 1, :3, :3] @ turn, T[0, 1, :3, 3])
    boxes = np.array([info.bbox_visib for _, _, info in rows], dtype=np.float64)
    T[-1], boxes[-1] = np.nan, [0, 0, 12, 9]
    detections = Detections(
        np.ones(len(rows), np.int64), np.array([im for im, _, _ in rows]), np.array([i.obj_id for _, i, _ in rows]),
        np.linspace(1, 0.5, len(rows)), boxes, np.zeros(len(rows)),
    )  # fmt: skip
    write_passes(
        tmp_path / "run" / "poses.npz", detections, list(OFF_MM), T, detections.score, [{"a": 0.5}] * len(rows)
    )
    return tmp_path / "run"


def inspect(dataset, run: Path, *more: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "workflow_scripts" / "inspect_passes.py", "--run", run, "--dataset", dataset.root,
               "--out", run / "page.html", *more]  # fmt: skip
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)


def test_errors_are_those_of_the_instance_that_a_box_is_of(dataset, run):
    viewer = Viewer(dataset, "test")
    judged = judge_passes(viewer, read_passes(run / "poses.npz"))
    assert judged.gt_id.tolist() == [0, 1, 0, -1]
    wanted = np.tile(list(OFF_MM.values()), (4, 1))
    wanted[3] = np.nan
    obj = viewer.world.object(1)
    R = viewer.truth_pose(1, 0, 0)[:3, :3]
    turned = obj.mesh.vertices @ np.diag([-2.0, -2.0, 0]) @ R.T + [10, 0, 0]
    wanted[0, 1] = np.linalg.norm(turned, axis=1).mean()
    np.testing.assert_allclose(judged.add_mm, wanted, rtol=0.01)  # a part of the points
    np.testing.assert_allclose(judged.add_share[1], wanted[1] / viewer.world.object(2).diameter_mm)
    table = pass_table(judged)
    assert (table["count"], table["of"], table["obj_ids"]) == (3, 4, [1, 2])
    assert [round(row["median"], 6) for row in table["rows"]] == [40, 10, 1]
    assert table["rows"][2]["good"] == 1.0
    assert judged.grade(0, 2) == "good"
    assert judged.grade(0, 0) == "bad"
    assert judged.grade(3, 2) == "unjudged"


def test_without_boxes_the_instance_nearest_to_the_first_pose_counts(dataset, run):
    poses = read_passes(run / "poses.npz")
    bare = dataclasses.replace(poses, bbox_xywh=np.full((4, 4), np.nan))
    viewer = Viewer(dataset, "test")
    judged = judge_passes(viewer, bare)
    assert judged.gt_id.tolist() == [0, 1, 0, 1]
    np.testing.assert_allclose(judged.add_mm[2], list(OFF_MM.values()))
    page = passes_page(viewer, bare, "no boxes", images=1, count=4)
    assert page.count('class="estimate pass pass-2 good"') == 2 + 3
    assert "<rect" not in page


def test_symmetric_poses_are_no_error(dataset, run, monkeypatch):
    viewer = Viewer(dataset, "test")
    obj = viewer.world.object(1)
    both = np.stack([np.eye(4), np.diag([-1.0, -1.0, 1.0, 1.0])])
    monkeypatch.setitem(viewer.world._objects, 1, type(obj)(1, obj.mesh, obj.diameter_mm, both, True))
    judged = judge_passes(viewer, read_passes(run / "poses.npz"))
    np.testing.assert_allclose(judged.add_mm[0], list(OFF_MM.values()), rtol=1e-9)


def test_the_report_shows_the_passes_of_runs_that_have_them(dataset, results, run, tmp_path):
    (tmp_path / "old").mkdir()
    np.savez(tmp_path / "old" / "poses.npz", T=np.zeros((1, 2, 4, 4)))
    page = render(ReportInputs(dataset.root, tmp_path, ("run", "old")))
    assert page.count('class="passes"') == 1
    assert page.count('class="estimate pass pass-2 good"') == 3
    assert "ADD 1.0 mm" in page
    assert "3 of 4 detections" in page
    assert re.search(r"old: .*poses\.npz: unreadable or of another version .*; run infer\.py again", page)
    assert 'class="passes"' not in render(ReportInputs(dataset.root, results, ("exact",)))


def test_the_page_and_what_its_slider_does(dataset, run, browser):
    from selenium.webdriver.common.keys import Keys

    done = inspect(dataset, run, "--images", 1, "--count", 2)
    assert done.returncode == 0, done.stderr
    page = (run / "page.html").read_text()
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    overlays = re.findall(r'<img class="pass pass-(\d)" src="data:image/jpeg;base64,([^"]+)" alt="overlays', page)
    assert [number for number, _ in overlays] == ["0", "1", "2"]
    scene = dataset.scene("test", 1)
    image = scene.rgb(0).astype(float)
    last = cv2.imdecode(np.frombuffer(base64.b64decode(overlays[2][1]), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    background = np.ones(image.shape[:2], dtype=bool)
    for instance in scene.ground_truth[0]:
        background &= ~cv2.dilate(scene.mask(0, instance.gt_id).astype(np.uint8), np.ones((7, 7))).astype(bool)
    assert abs(last[background].mean() - (0.6 * image[background] + 0.4 * 255).mean()) < 2

    browser.get((run / "page.html").as_uri())

    def shown() -> list[str]:
        parts = browser.find_elements("css selector", ".closeups .pass")
        visible = [part for part in parts if part.value_of_css_property("display") != "none"]
        return sorted(re.findall(r"pass-\d", part.get_attribute("class"))[0] for part in visible)

    assert shown() == ["pass-2"] * 4  # an outline and a number of two detections
    slider, all_at_once = browser.find_elements("css selector", ".slider input")
    slider.send_keys(Keys.HOME)
    assert shown() == ["pass-0"] * 4
    assert browser.find_element("css selector", "output").text == "start"
    all_at_once.click()
    assert shown() == ["pass-0"] * 4 + ["pass-1"] * 2 + ["pass-2"] * 2
    assert browser.get_log("browser") == []


def test_a_run_without_passes_or_objects_is_one_sentence(dataset, run):
    unknown = inspect(dataset, run, "--objects", 7)
    assert unknown.returncode != 0
    assert "no detection of object 7; objects are [1, 2]" in unknown.stderr
    (run / "poses.npz").unlink()
    missing = inspect(dataset, run)
    assert missing.returncode != 0
    assert "poses.npz: not found; infer.py writes it" in missing.stderr
    assert "Traceback" not in missing.stderr
    assert not (run / "page.html").exists()
    np.savez(run / "poses.npz", passes=np.array(["a"]), index=np.zeros((2, 3)), bbox=np.zeros((2, 4)),
             T=np.zeros((2, 2, 4, 4)), score=np.zeros(2))  # fmt: skip
    with pytest.raises(InputError, match="2 detections and 1 passes do not fit"):
        read_passes(run / "poses.npz")


def test_a_render_is_the_object_before_a_background(dataset):
    """Light from the camera; half-covered pixels are half the background."""
    mesh = load_mesh(dataset.model_path(1))
    T = from_rotation_translation(np.eye(3), np.array([0.0, 0, 400]))
    rendered = Painter({1: mesh}).render([1], T[None], K, 160, 120)
    assert rendered.light.shape == (120, 160, 3)
    assert rendered.share.shape == (120, 160, 1)
    assert abs(rendered.share.sum() - (200 / 390) ** 2 * 60 * 40) < 25  # its face at 390 mm; half a pixel at the rim
    np.testing.assert_allclose(rendered.light[60, 80], np.array([86, 180, 233]) / 255, atol=0.03)
    empty = Painter({1: mesh}).render([], np.zeros((0, 4, 4)), K, 160, 120)
    assert (empty.before((7, 8, 9)) == (7, 8, 9)).all()
    white = rendered.over(np.full((120, 160, 3), 255, np.uint8))
    assert (white[0, 0] == 255).all()
    np.testing.assert_allclose(white[60, 80], 0.8 * 255 * rendered.light[60, 80] + 0.2 * 255, atol=1)
    assert json.dumps(rendered.before((0, 0, 0))[0, 0].tolist()) == "[0, 0, 0]"
