"""The generated dataset against the format itself: a reader of its own, written from the specification.

The package makes the dataset; its reader, renderer and mesh code are not used to check it: files are read with json,
OpenCV and a few lines for PLY, silhouettes are drawn by filling projected triangles.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from pose_models.synthesis.config import PRESETS, SceneSettings
from pose_models.synthesis.scenes import Recipe
from pose_models.synthesis.shards import write_scene

ROOT = Path(__file__).resolve().parents[2]
INFO_KEYS = {"px_count_all", "px_count_valid", "px_count_visib", "visib_fract", "bbox_obj", "bbox_visib"}
SPLITS = ("train_synt/000000", "test/000001", "train_random/000002", "train_cosypose/000003")


def _run(program, *arguments):
    command = [sys.executable, f"workflow_scripts/{program}.py", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A small dataset as the programs make it: a scene of each look."""
    root = tmp_path_factory.mktemp("bop") / "demo"
    _run("make_demo_models", "--out", root)
    sizes = {"width": 320, "height": 240, "instances": (5, 6), "images_per_arrangement": 2}
    for number, (look, name) in enumerate(zip(("train", "test", "random", "cosypose"), SPLITS, strict=True)):
        settings = SceneSettings.model_validate({**PRESETS[look], **sizes})
        folders = (root / "models", root / "models_collision", root / "camera.json")
        write_scene(root / name, Recipe(*folders, settings, seed=0, scene_number=number), images=3)
    _run("write_targets", "--dataset", root, "--split", "test")
    return root


def _json(path):
    return json.loads(path.read_text())


def _png(path):
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None, path
    return image


def _ply(path):
    """Vertices (V, 3) and faces (F, 3) of a binary little-endian PLY with float vertices and triangles."""
    header, _, body = path.read_bytes().partition(b"end_header\n")
    text = header.decode()
    assert "format binary_little_endian 1.0" in text
    assert re.findall(r"property float (\w)\n", text) == ["x", "y", "z"]
    assert "vertex_indices" in text or "vertex_index" in text
    vertex_count, face_count = (int(n) for n in re.findall(r"element \w+ (\d+)", text))
    vertices = np.frombuffer(body, "<f4", 3 * vertex_count).reshape(-1, 3)
    faces = np.frombuffer(body, np.dtype([("n", "u1"), ("i", "<i4", 3)]), face_count, 12 * vertex_count)
    assert (faces["n"] == 3).all()
    return vertices.astype(np.float64), faces["i"]


def _scene_instances(scene):
    """(image id, camera entry, gt id, gt entry, info entry) of every instance of a scene."""
    cameras, truth, info = (_json(scene / f"scene_{name}.json") for name in ("camera", "gt", "gt_info"))
    assert list(cameras) == list(truth) == list(info)
    for key in cameras:
        assert len(truth[key]) == len(info[key])
        for gt_id, (gt, entry) in enumerate(zip(truth[key], info[key], strict=True)):
            yield int(key), cameras[key], gt_id, gt, entry


def _box(mask):
    """x, y, w, h with w, h = max - min; -1 where empty."""
    v, u = np.nonzero(mask)
    if len(u) == 0:
        return [-1] * 4
    return [int(u.min()), int(v.min()), int(u.max() - u.min()), int(v.max() - v.min())]


def test_models_and_their_facts(root):
    info = _json(root / "models" / "models_info.json")
    assert sorted(info) == ["1", "2", "3"]
    assert _json(root / "models_eval" / "models_info.json") == info
    for key, entry in info.items():
        vertices, faces = _ply(root / "models" / f"obj_{int(key):06d}.ply")
        _ply(root / "models_eval" / f"obj_{int(key):06d}.ply")
        assert faces.max() < len(vertices)
        largest = max(np.linalg.norm(vertices - v, axis=1).max() for v in vertices)
        assert entry["diameter"] == pytest.approx(largest, abs=1e-3)
        for axis, low, high in zip("xyz", vertices.min(axis=0), vertices.max(axis=0), strict=True):
            assert entry[f"min_{axis}"] == pytest.approx(low, abs=1e-3)
            assert entry[f"size_{axis}"] == pytest.approx(high - low, abs=1e-3)
        for symmetry in entry.get("symmetries_discrete", []):
            T = np.reshape(symmetry, (4, 4))
            np.testing.assert_allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3), atol=1e-12)
            np.testing.assert_array_equal(T[3], [0, 0, 0, 1])
        for symmetry in entry.get("symmetries_continuous", []):
            assert len(symmetry["axis"]) == len(symmetry["offset"]) == 3
    assert set(_json(root / "camera.json")) == {"fx", "fy", "cx", "cy", "width", "height", "depth_scale"}


@pytest.mark.parametrize("name", SPLITS)
def test_files_of_a_scene_are_those_of_its_annotation(root, name):
    scene = root / name
    cameras, truth = _json(scene / "scene_camera.json"), _json(scene / "scene_gt.json")
    assert {p.name for p in scene.iterdir()} == {
        *("rgb", "depth", "mask", "mask_visib"),
        *("scene_camera.json", "scene_gt.json", "scene_gt_info.json"),
    }
    suffix = "png" if name == SPLITS[1] else "jpg"
    images = {f"{int(key):06d}.png" for key in cameras}
    pictures = {f"{int(key):06d}.{suffix}" for key in cameras}
    masks = {f"{int(key):06d}_{gt_id:06d}.png" for key in truth for gt_id in range(len(truth[key]))}
    for folder, names in (("rgb", pictures), ("depth", images), ("mask", masks), ("mask_visib", masks)):
        assert {p.name for p in (scene / folder).iterdir()} == names
    for key, entry in cameras.items():
        assert len(entry["cam_K"]) == 9
        assert entry["depth_scale"] == 0.1
        rgb, depth = _png(scene / "rgb" / f"{int(key):06d}.{suffix}"), _png(scene / "depth" / f"{int(key):06d}.png")
        assert (rgb.dtype, rgb.shape) == (np.uint8, (240, 320, 3))
        assert (depth.dtype, depth.shape) == (np.uint16, (240, 320))
        assert ("cam_R_w2c" in entry) == ("cam_t_w2c" in entry) == (name != SPLITS[2])
        if "cam_R_w2c" in entry:
            R = np.reshape(entry["cam_R_w2c"], (3, 3))
            np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-9)
            assert np.linalg.det(R) > 0
            assert (-R.T @ entry["cam_t_w2c"])[2] > 0  # the camera is above the floor


@pytest.mark.parametrize("name", SPLITS)
def test_counts_boxes_and_masks_agree(root, name):
    scene = root / name
    seen = 0
    taken = {}
    for im_id, _, gt_id, gt, info in _scene_instances(scene):
        assert set(gt) == {"cam_R_m2c", "cam_t_m2c", "obj_id"}
        assert set(info) == INFO_KEYS
        R = np.reshape(gt["cam_R_m2c"], (3, 3))
        np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-9)
        assert gt["cam_t_m2c"][2] > 0
        mask, visible = (_png(scene / f / f"{im_id:06d}_{gt_id:06d}.png") for f in ("mask", "mask_visib"))
        for image in (mask, visible):
            assert (image.dtype, image.shape) == (np.uint8, (240, 320))
            assert set(np.unique(image)) <= {0, 255}
        mask, visible = mask > 0, visible > 0
        assert not (visible & ~mask).any()
        assert not (visible & taken.get(im_id, np.zeros_like(visible))).any()  # a pixel shows one instance
        taken[im_id] = visible | taken.get(im_id, np.zeros_like(visible))
        depth = _png(scene / "depth" / f"{im_id:06d}.png")
        assert info["px_count_visib"] == visible.sum()
        assert info["px_count_valid"] == (mask & (depth > 0)).sum()
        assert info["px_count_all"] >= mask.sum()
        assert info["visib_fract"] == pytest.approx(visible.sum() / info["px_count_all"])
        assert info["bbox_visib"] == _box(visible)
        if visible.any():
            inside, (x, y, w, h) = _box(mask), info["bbox_obj"]
            assert x <= inside[0]
            assert y <= inside[1]
            assert x + w >= inside[0] + inside[2]
            assert y + h >= inside[1] + inside[3]
            seen += 1
        else:
            assert info["bbox_obj"] == [-1] * 4
    assert seen >= 6


def _silhouette(vertices, faces, K, R, t):
    """Pixels (720, 960) of a canvas three times the image whose centres (at integers) a triangle covers."""
    uvw = (vertices @ R.T + t) @ K.T
    uv = uvw[:, :2] / uvw[:, 2:] + [320, 240]
    canvas = np.zeros((720, 960), bool)
    for a, b, c in uv[faces]:
        low = np.maximum(np.ceil(np.minimum(np.minimum(a, b), c)), 0).astype(int)
        high = np.minimum(np.floor(np.maximum(np.maximum(a, b), c)), [959, 719]).astype(int)
        if (high < low).any():
            continue
        u, v = np.meshgrid(np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1))
        sides = [(q[0] - p[0]) * (v - p[1]) - (q[1] - p[1]) * (u - p[0]) for p, q in ((a, b), (b, c), (c, a))]
        covered = np.minimum.reduce(sides) >= 0
        covered |= np.maximum.reduce(sides) <= 0
        canvas[low[1] : high[1] + 1, low[0] : high[0] + 1] |= covered
    return canvas


@pytest.mark.parametrize("name", SPLITS)
def test_silhouettes_are_the_projected_models(root, name):
    models = {i: _ply(root / "models" / f"obj_{i:06d}.ply") for i in (1, 2, 3)}
    scene = root / name
    compared = 0
    for im_id, camera, gt_id, gt, info in _scene_instances(scene):
        K, R = np.reshape(camera["cam_K"], (3, 3)), np.reshape(gt["cam_R_m2c"], (3, 3))
        canvas = _silhouette(*models[gt["obj_id"]], K, R, gt["cam_t_m2c"])
        mask = _png(scene / "mask" / f"{im_id:06d}_{gt_id:06d}.png") > 0
        # Casters in float32 and this one may differ where an outline meets a pixel's centre.
        assert (mask != canvas[240:480, 320:640]).sum() <= 3
        assert abs(info["px_count_all"] - canvas.sum()) <= 3
        if info["px_count_visib"]:
            x, y, w, h = _box(canvas)
            np.testing.assert_allclose(info["bbox_obj"], [x - 320, y - 240, w, h], atol=1)
            compared += 1
    assert compared >= 6


@pytest.mark.parametrize(("name", "delta"), [(SPLITS[0], 5.0), (SPLITS[1], 15.0)])
def test_exact_visible_masks_agree_with_the_depth_rule(root, name, delta):
    """bop.md 6.4 calls visible what is at most delta behind the measured surface: a superset of what is really seen."""
    scene = root / name
    models = {i: _ply(root / "models" / f"obj_{i:06d}.ply") for i in (1, 2, 3)}
    common = union = 0
    for im_id, camera, gt_id, gt, _ in _scene_instances(scene):
        visible = _png(scene / "mask_visib" / f"{im_id:06d}_{gt_id:06d}.png") > 0
        mask = _png(scene / "mask" / f"{im_id:06d}_{gt_id:06d}.png") > 0
        depth = _png(scene / "depth" / f"{im_id:06d}.png") * camera["depth_scale"]
        vertices, faces = models[gt["obj_id"]]
        R, K = np.reshape(gt["cam_R_m2c"], (3, 3)), np.reshape(camera["cam_K"], (3, 3))
        points = vertices @ R.T + gt["cam_t_m2c"]
        near = np.full((240, 320), np.inf)  # depth of the nearest triangle, flat per triangle: good to a few mm
        order = np.argsort(-points[faces][:, :, 2].mean(axis=1))
        uv = (points @ K.T)[:, :2] / points[:, 2:]
        for face in order:
            cv2.fillConvexPoly(
                near, np.round(uv[faces[face]]).astype(np.int32), float(points[faces[face]][:, 2].mean())
            )
        rule = mask & (near - depth <= delta + 8)
        common += (rule & visible).sum()
        union += (rule | visible).sum()
    assert common / union > 0.85


def test_targets_count_instances_that_show_a_tenth(root):
    expected = {}
    for im_id, _, _, gt, info in _scene_instances(root / SPLITS[1]):
        if info["visib_fract"] >= 0.1:
            key = (1, im_id, gt["obj_id"])
            expected[key] = expected.get(key, 0) + 1
    targets = _json(root / "test_targets_bop19.json")
    assert all(set(target) == {"scene_id", "im_id", "obj_id", "inst_count"} for target in targets)
    assert {(t["scene_id"], t["im_id"], t["obj_id"]): t["inst_count"] for t in targets} == expected
