"""The preview page: its counts and maps against the annotation, its depth colours, its refusals, the program."""

import base64
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from pose_models.datasets.bop import BopScene
from pose_models.datasets.bop_writer import InstanceRecord, SceneWriter
from pose_models.files import InputError
from pose_models.geometry.transforms import from_rotation_translation, random_rotation
from pose_models.meshes.mesh import save_ply
from pose_models.meshes.shapes import box
from pose_models.render.raycast import RayCaster
from pose_models.report.histograms import coverage, direction_counts, histogram, viewing_directions
from pose_models.report.preview import color_depth, gather, render

ROOT = Path(__file__).resolve().parents[2]
K = np.array([[100.0, 0, 39.5], [0, 100, 29.5], [0, 0, 1]])


def _scene(folder, images=3):
    """A scene of two objects, the second one hidden in image 0."""
    rng = np.random.default_rng(0)
    writer = SceneWriter(folder)
    for im_id in range(images):
        records = []
        for obj_id in (1, 7):
            T = from_rotation_translation(random_rotation(rng), [0, 0, 400 + 100 * obj_id])
            mask = np.zeros((60, 80), bool)
            mask[20:40, 30:50] = True
            visible = mask & (obj_id == 1 or im_id > 0)
            count = int(visible.sum())
            box_obj = [30, 20, 19, 19] if count else [-1] * 4
            info = {"bbox_obj": box_obj, "bbox_visib": box_obj, "px_count_all": 400, "px_count_valid": 400}
            records.append(InstanceRecord(obj_id, T, {**info, "px_count_visib": count, "visib_fract": count / 400},
                                          mask, visible))  # fmt: skip
        rgb = rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)
        writer.add(im_id, rgb, np.full((60, 80), 5000, np.uint16), K, 0.1, records)
    writer.close()
    return folder


def test_gathered_rows_are_those_of_the_annotation(tmp_path):
    scenes = [BopScene(_scene(tmp_path / name)) for name in ("000001", "shard_0002")]
    sightings = gather(scenes)
    np.testing.assert_array_equal(sightings.obj_id, [1, 7] * 6)
    np.testing.assert_array_equal(sightings.image, np.repeat(np.arange(6), 2))
    np.testing.assert_allclose(sightings.distance_mm, [500, 1100] * 6)
    assert (sightings.visible == 0).sum() == 2
    assert len(sightings.of(7).T_cam_obj) == 6


def test_page_holds_pictures_counts_and_nothing_from_outside(tmp_path):
    for obj_id in (1, 7):
        save_ply(tmp_path / "models" / f"obj_{obj_id:06d}.ply", box([60, 60, 60]))
    scene = _scene(tmp_path / "000001")
    page = render([scene], "a title & more", tmp_path / "models", 2)
    assert page.count('<figure class="sheet">') == 2
    assert "a title &amp; more" in page
    assert "6; 2 to 2 per image" in page
    assert "17%" in page or "16.7%" in page  # one of six is hidden altogether
    assert page.count('class="truth" d="M') == 2
    assert not re.findall(r"(?:href|src)=\"(?!data:|#)", page)
    renders = re.findall(r"render at the annotated poses of [^<]+</title>.*?base64,([^\"]+)", page)
    assert len(renders) == 2
    drawn = cv2.imdecode(np.frombuffer(base64.b64decode(renders[0]), np.uint8), cv2.IMREAD_COLOR).max(axis=2) > 40
    caster, instance = RayCaster(box([60, 60, 60])), BopScene(scene).ground_truth[0][0]
    expected = caster.cast(K, instance.T_cam_obj, 80, 60).mask  # the far one is behind or small
    assert drawn[expected].mean() > 0.95
    assert drawn.mean() < 0.5
    bare = render([scene], "t", None, 2)
    assert 'class="truth" d="M' not in bare
    assert "render at the annotated poses" not in bare


def test_directions_point_to_the_camera():
    T = from_rotation_translation(np.eye(3), [0, 0, 500])  # the camera looks along the object's +z
    np.testing.assert_allclose(viewing_directions(T), [[0, 0, -1]])
    T = from_rotation_translation([[0, 1, 0], [0, 0, -1], [-1, 0, 0]], [0, 0, 500])
    np.testing.assert_allclose(viewing_directions(T), [[1, 0, 0]])


def test_cells_have_equal_area():
    d = np.random.default_rng(0).standard_normal((200_000, 3))
    counts = direction_counts(d / np.linalg.norm(d, axis=1, keepdims=True), 6, 12)
    assert counts.sum() == 200_000
    np.testing.assert_allclose(counts, 200_000 / 72, rtol=0.1)
    assert coverage(d / np.linalg.norm(d, axis=1, keepdims=True)) == 1
    assert coverage(np.tile([0.0, 0, 1], (50, 1))) == pytest.approx(1 / 72)


def test_histogram_bars_are_as_high_as_their_counts():
    svg = histogram([1, 1, 1, 2, np.nan], "x", "#123456", (0, 4), 4)
    heights = [float(h) for h in re.findall(r'height="([\d.]+)" fill', svg)]
    assert len(heights) == 2
    assert heights[0] == pytest.approx(3 * heights[1], rel=0.01)
    assert histogram([], "x", "#123456") == ""


def test_depth_colours_mark_what_is_not_measured():
    depth = np.linspace(400, 800, 600, dtype=np.float32).reshape(20, 30)
    depth[0, :5] = 0
    colored, low, high = color_depth(depth)
    assert (colored[0, :5] == 0).all()
    assert (colored[1:].sum(axis=2) > 0).all()
    assert 400 < low < high < 800
    assert color_depth(np.zeros((4, 5), np.float32))[1:] == (0.0, 0.0)


def test_scenes_without_instances_are_named(tmp_path):
    writer = SceneWriter(tmp_path / "000003")
    writer.add(0, np.zeros((6, 8, 3), np.uint8), np.zeros((6, 8), np.uint16), K, 1.0, [])
    writer.close()
    with pytest.raises(InputError, match="000003: no annotated instance"):
        gather([BopScene(tmp_path / "000003")])


def test_program_writes_the_page_or_says_what_is_missing(tmp_path):
    scene = _scene(tmp_path / "000001", 1)
    command = [sys.executable, ROOT / "workflow_scripts/preview_images.py", "--scenes", scene]
    done = subprocess.run([*command, "--out", tmp_path / "page.html"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")
    done = subprocess.run(
        [*command, "--models", tmp_path, "--out", tmp_path / "b.html"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "obj_000001.ply: mesh not found" in done.stderr
    assert not (tmp_path / "b.html").exists()
