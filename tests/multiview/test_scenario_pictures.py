"""A scenario out of a dataset, what its page draws of every view, and the scene on a turntable."""

import base64
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from pose_models.datasets.estimates import read_estimates
from pose_models.files import InputError
from pose_models.geometry.transforms import apply
from pose_models.meshes.mesh import load_mesh
from pose_models.multiview.config import MultiviewSettings
from pose_models.multiview.scenario import read_scenario, solve
from pose_models.report.scene_page import MATCHED, UNMATCHED, scene_meshes, scene_page
from pose_models.report.turntable import BACKGROUND, DISTANCE_MM, HEIGHT, WIDTH, K, orbit, standing, write_turntable

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def dataset(scenario, made, tmp_path):
    """The scenario as scene 3 of a BOP dataset, with images, ground truth and detections."""
    root = tmp_path / "tables"
    scene = root / "test" / "000003"
    (scene / "rgb").mkdir(parents=True)
    truth = made[2]
    (scene / "scene_camera.json").write_bytes((scenario / "scene_camera.json").read_bytes())
    entries = {}
    for view, T_cam_world in enumerate(truth.T_cam_world):
        cv2.imwrite(str(scene / "rgb" / f"{view:06d}.jpg"), np.full((480, 640, 3), 200 + view, np.uint8))
        poses = T_cam_world @ truth.T_world_obj
        entries[str(view)] = [
            {"obj_id": int(i), "cam_R_m2c": T[:3, :3].ravel().tolist(), "cam_t_m2c": T[:3, 3].tolist()}
            for i, T in zip(made[0].obj_id[: len(poses)] * 0 + 1, poses, strict=True)
        ]
    (scene / "scene_gt.json").write_text(json.dumps(entries))
    targets = [{"scene_id": 3, "im_id": view, "obj_id": 1, "inst_count": 1} for view in range(4)]
    (root / "test_targets_bop19.json").write_text(json.dumps(targets))
    (scenario / "models").rename(root / "models")
    box = {"scene_id": 3, "image_id": 0, "category_id": 1, "score": 0.5, "bbox": [10, 20, 30, 40], "time": 0}
    (root / "boxes.json").write_text(json.dumps([box, {**box, "image_id": 2}]))
    return root


def make(dataset, scenario, out, *more):
    command = [sys.executable, ROOT / "workflow_scripts" / "make_scenario.py", "--dataset", dataset, "--estimates",
               scenario / "candidates.csv", "--detections", dataset / "boxes.json", "--out", out, *more]  # fmt: skip
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)


def test_a_group_of_a_dataset_becomes_a_scenario(dataset, scenario, tmp_path):
    done = make(dataset, scenario, tmp_path / "out", "--views", 3, "--group", 0)
    assert done.returncode == 0, done.stderr
    views = [int(text) for text in re.search(r"images (.*)", done.stdout)[1].split(", ")]
    assert len(views) == 3
    found = read_scenario(tmp_path / "out", MultiviewSettings(known_cameras=True))
    assert found.views == sorted(found.truth) == views
    every = read_estimates(scenario / "candidates.csv")
    assert len(found.candidates) == np.isin(every.im_id, views).sum() > 0
    for view in views:
        assert found.image(view).read_bytes() == (dataset / f"test/000003/rgb/{view:06d}.jpg").read_bytes()
    assert sorted(found.detections.im_id.tolist()) == [view for view in (0, 2) if view in views]
    for file in (tmp_path / "out" / "models").glob("*.ply"):
        assert file.read_bytes() == (dataset / "models" / file.name).read_bytes()
    assert solve(found, MultiviewSettings(known_cameras=True))
    for more, sentence in (
        (("--group", 9), "has 1 groups of 4 views, from 0; there is no 9"),
        ((), "is there already"),
    ):
        refused = make(dataset, scenario, tmp_path / ("other" if more else "out"), *more)
        assert refused.returncode == 2
        assert sentence in refused.stderr
    assert not (tmp_path / "other").exists()


def test_candidates_are_green_where_they_were_used_and_truth_is_drawn(dataset, scenario, tmp_path):
    assert make(dataset, scenario, tmp_path / "out").returncode == 0
    found = read_scenario(tmp_path / "out", MultiviewSettings())
    scenes = solve(found, MultiviewSettings())
    page = scene_page(found, scenes, 0.0)
    used = {row for scene in scenes for row in scene.rows.tolist()}
    assert 0 < len(used) < len(found.candidates)  # the scene has wrong candidates too
    pictures = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)" alt="view (\d+): ([^"]+)"', page)
    for view in found.views:
        titles = [title for _, number, title in pictures if int(number) == view]
        rows = np.flatnonzero(found.candidates.view_id == view)
        matched = len(used & set(rows.tolist()))
        assert titles[0] == "image"
        assert titles[1] == f"{int((found.detections.im_id == view).sum())} detections"
        assert titles[2] == f"{len(rows)} candidates, {matched} matched"
        assert titles[3].startswith("reconstruction: ")
        assert titles[4] == "ground truth"
        before = decoded(next(data for data, number, title in pictures if int(number) == view and "matched" in title))
        for color, expected in ((MATCHED, matched > 0), (UNMATCHED, matched < len(rows))):
            flat = (np.abs(before - color).max(axis=2) < 12).sum()  # of labels; axes have other reds and greens
            assert (flat > 100) == expected
    nothing = scene_page(found, [], 0.0)
    assert "0 matched" in nothing
    assert "hangs together with no other view" in nothing


def decoded(data: str) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)


def test_the_turntable_turns_once_about_all_objects(scenario, tmp_path):
    found = read_scenario(scenario, MultiviewSettings())
    scene, meshes = solve(found, MultiviewSettings())[0], scene_meshes(found)
    T = standing(scene)
    np.testing.assert_allclose(np.diff(T[:, :3, 3], axis=0) @ T[0, :3, :3],
                               np.diff(scene.T_world_obj[:, :3, 3], axis=0) @ scene.T_world_obj[0, :3, :3],
                               atol=1e-9)  # fmt: skip
    camera = np.linalg.inv(scene.T_world_cam[0])
    assert (T[0] @ np.linalg.inv(camera @ scene.T_world_obj[0]))[2, 3] > 0  # the first camera looks down on it
    points = np.concatenate([apply(t, meshes[i].vertices) for i, t in zip(scene.obj_id.tolist(), T, strict=True)])
    cameras = np.stack(list(orbit(points, 8)))
    for pose in cameras:
        seen = apply(pose, points)
        pixels = (seen @ K.T)[:, :2] / seen[:, 2:]
        assert (pixels > 0).all()
        assert (pixels < [WIDTH, HEIGHT]).all()
        assert (-pose[:3, :3].T @ pose[:3, 3])[2] > points[:, 2].max()
        assert pose[1, 2] < 0  # z is up in the picture
        np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(cameras[0, 2, 2], -np.cos(np.pi / 4))
    near = np.stack(list(orbit(np.array([[-5.0, 0, 0], [5, 0, 0]]), 2)))
    np.testing.assert_allclose(near[:, 2, 3], DISTANCE_MM)

    for name in ("a.gif", "b.gif"):
        write_turntable(tmp_path / name, scene, meshes, seconds=0.16)
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()
    with PIL.Image.open(tmp_path / "a.gif") as picture:
        assert (picture.n_frames, picture.size, picture.info["loop"], picture.info["duration"]) == (
            4,
            (640, 480),
            0,
            40,
        )
        frames = []
        for number in range(4):
            picture.seek(number)
            frames.append(np.asarray(picture.convert("RGB")).astype(int))
    for frame in frames:
        assert np.abs(frame[0, 0] - BACKGROUND).max() <= 4
        drawn = np.abs(frame - BACKGROUND).max(axis=2) > 30
        assert 0.01 < drawn.mean() < 0.5
    assert all((np.abs(a - b).max(axis=2) > 30).any() for a, b in itertools.pairwise(frames))
    with pytest.raises(InputError, match=r"at least 0\.04 s"):
        write_turntable(tmp_path / "c.gif", scene, meshes, seconds=0.01)
    assert not (tmp_path / "c.gif").exists()
    assert load_mesh(scenario / "models" / "obj_000001.ply").colors is None  # it got a colour of its own
