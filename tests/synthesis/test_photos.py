"""Import of own photographs: small made-up photographs, every rule of the description, and the real ones if given."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from pose_models.datasets.bop import BopDataset
from pose_models.files import InputError
from pose_models.geometry.symmetries import symmetry_transforms
from pose_models.geometry.symmetry_groups import generated_group, turn
from pose_models.meshes.mesh import Mesh, load_mesh, save_ply
from pose_models.synthesis.photos import evaluation_mesh, import_photos, pose_matrix, read_description, symmetry_error
from pose_models.synthesis.photos_config import PoseDescription

ROOT = Path(__file__).resolve().parents[2]
WIDTH, HEIGHT = 160, 120
CAMERA = {"fx": 200.0, "fy": 200.0, "cx": 79.5, "cy": 59.5}


def _cuboid(size: tuple[float, float, float]) -> Mesh:
    sign = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)])
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = [face for a, b, c, d in quads for face in ((a, b, c), (a, c, d))]
    return Mesh(sign * np.array(size) / 2, np.array(faces))


@pytest.fixture
def folder(tmp_path) -> Path:
    """A photograph of a cuboid 60 x 40 x 20 mm at 0.5 m, whose right half a measured wall at 0.3 m hides."""
    path = tmp_path / "photos"
    path.mkdir()
    save_ply(path / "box.ply", _cuboid((0.06, 0.04, 0.02)))
    cv2.imwrite(str(path / "photo.png"), np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    depth = np.full((HEIGHT, WIDTH), 490, np.uint16)
    depth[:, 80:] = 300
    depth[:10] = 65535
    cv2.imwrite(str(path / "depth.png"), depth)
    return path


def _description() -> dict[str, Any]:
    return {
        "models": {
            3: {
                "file": "box.ply",
                "unit": "m",
                "shift": [0, 0, 0.01],
                "turns": [{"axis": [1, 0, 0], "center_mm": [0, 0, 10]}, {"axis": [0, 0, 1], "center_mm": [0, 0, 10]}],
            }
        },
        "photos": [
            {
                "scene": 7,
                "image": 4,
                "file": "photo.png",
                "camera": dict(CAMERA),
                "depth": {"file": "depth.png"},
                "objects": [{"model": 3, "pose": {"rotvec": [0, 0, 0], "t": [0, 0, 0.49], "unit": "m"}}],
            }
        ],
    }


def _import(folder: Path, content: dict[str, Any]) -> BopDataset:
    file = folder / "photos.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    out = folder.parent / "data"
    import_photos(read_description(file), folder, out)
    return BopDataset(out)


def test_dataset_is_what_the_description_says(folder):
    dataset = _import(folder, _description())
    assert dataset.scene_ids("test") == [7]
    scene = dataset.scene("test", 7)
    assert scene.image_ids == [4]
    np.testing.assert_array_equal(scene.camera(4).K, [[200, 0, 79.5], [0, 200, 59.5], [0, 0, 1]])
    (instance,) = scene.ground_truth[4]
    assert instance.obj_id == 3
    np.testing.assert_allclose(instance.T_cam_obj[:3, 3], [0, 0, 490])
    assert scene.rgb(4).shape == (HEIGHT, WIDTH, 3)
    (target,) = dataset.targets()
    assert (target.scene_id, target.im_id, target.obj_id, target.inst_count) == (7, 4, 3, 1)


def test_model_is_in_millimetres_and_in_the_frame_of_the_poses(folder):
    dataset = _import(folder, _description())
    mesh = load_mesh(dataset.model_path(3))
    np.testing.assert_allclose(mesh.vertices.min(axis=0), [-30, -20, 0], atol=1e-4)
    info = dataset.models_info()[3]
    assert info["diameter"] == pytest.approx(np.sqrt(60**2 + 40**2 + 20**2), abs=1e-4)
    assert len(symmetry_transforms(info)) == 4
    assert dataset.models_info("models_eval") == dataset.models_info()


def test_depth_is_written_in_millimetres_with_invalid_values_zero(folder):
    scene = _import(folder, _description()).scene("test", 7)
    depth = scene.depth(4)
    assert not depth[:10].any()
    np.testing.assert_allclose(depth[10:, :80], 490, atol=0.05)
    np.testing.assert_allclose(depth[10:, 80:], 300, atol=0.05)


def test_silhouette_and_visible_part_follow_depth(folder):
    scene = _import(folder, _description()).scene("test", 7)
    (info,) = scene.ground_truth_info[4]
    # The near face is at 490 mm: 60 x 40 mm make 24.5 x 16.3 px, the left half of which no wall hides.
    assert 24 * 16 <= info.px_count_all <= 25 * 17
    assert info.visib_fract == pytest.approx(0.5, abs=0.05)
    x, _, w, _ = info.bbox_visib
    assert x + w == 79
    mask, visible = scene.mask(4, 0, visible=False), scene.mask(4, 0)
    assert mask.sum() == info.px_count_all
    assert visible.sum() == info.px_count_visib
    assert not visible[:, 80:].any()


def test_without_depth_objects_hide_each_other_only(folder):
    content = _description()
    photo = content["photos"][0]
    del photo["depth"]
    photo["objects"].append({"model": 3, "pose": {"rotvec": [0, 0, 0], "t": [0, 0, 0.4], "unit": "m"}})
    scene = _import(folder, content).scene("test", 7)
    behind, front = scene.ground_truth_info[4]
    assert front.visib_fract == 1
    assert behind.visib_fract == 0
    assert not scene.has_depth(4)


def test_pose_forms_agree():
    R = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    rows = [[*row, t] for row, t in zip(R, (0.1, 0.2, 0.3), strict=True)] + [[0, 0, 0, 1]]
    forms = [
        {"R": R, "t": [0.1, 0.2, 0.3], "unit": "m"},
        {"rotvec": [0, 0, np.pi / 2], "t": [10, 20, 30], "unit": "cm"},
        {"matrix": rows, "unit": "m"},
    ]
    poses = [pose_matrix(PoseDescription.model_validate(form), "here") for form in forms]
    np.testing.assert_allclose(poses[0], poses[1], atol=1e-9)
    np.testing.assert_allclose(poses[0], poses[2], atol=1e-9)
    np.testing.assert_allclose(poses[0][:3, 3], [100, 200, 300])


def test_outlines_are_kept_beside_the_ground_truth(folder):
    content = _description()
    content["photos"][0]["objects"][0]["outline"] = [[1, 2], [30, 2], [30, 40]]
    scene = _import(folder, content).scene("test", 7)
    text = (scene.path / "outlines.json").read_text()
    assert yaml.safe_load(text) == {"4": [[[1, 2], [30, 2], [30, 40]]]}


def test_evaluation_mesh_is_even_and_keeps_the_surface():
    mesh = _cuboid((60, 40, 20))
    even = evaluation_mesh(mesh, 75.0)
    edges = np.linalg.norm(even.vertices[even.faces] - even.vertices[even.faces[:, [1, 2, 0]]], axis=-1)
    assert edges.max() <= 0.04 * 75
    assert even.face_areas().sum() == pytest.approx(mesh.face_areas().sum())
    assert len(np.unique(even.vertices.round(5), axis=0)) == len(even.vertices)


def test_symmetry_error_is_how_far_the_surface_moves():
    quarter = {"symmetries_discrete": [[0, -1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]]}
    assert symmetry_error(_cuboid((60, 40, 20)), quarter) == pytest.approx(10, abs=0.5)
    assert symmetry_error(_cuboid((40, 40, 20)), quarter) < 0.5
    assert symmetry_error(_cuboid((40, 40, 20)), {}) == 0


def _change(path: str, value: Any) -> dict[str, Any]:
    content = _description()
    level: Any = content
    *parents, last = path.split(".")
    for part in parents:
        level = level[int(part) if part.isdigit() else part]
    level[int(last) if last.isdigit() else last] = value
    return content


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("models.3.turns", [{"axis": [0, 0, 1], "angle_deg": 90}], "declared symmetries move its surface by up to"),
        ("models.3.turns", [{"axis": [0, 0, 1], "angle_deg": 1}], "more than 120 symmetries"),
        ("models.3.unit", "inch", "models.3.unit"),
        ("models.3.file", "none.ply", "none.ply: mesh not found"),
        ("photos.0.file", "none.png", "none.png: file not found"),
        ("photos.0.objects.0.model", 5, "model 5 is not under models"),
        ("photos.0.objects.0.pose", {"t": [0, 0, 1]}, "give exactly one of matrix, R and rotvec"),
        ("photos.0.objects.0.pose", {"rotvec": [0, 0, 0]}, "t belongs to R and rotvec"),
        ("photos.0.objects.0.pose", {"R": [[1, 0, 0], [0, 1, 0], [0, 0, -1]], "t": [0, 0, 1]}, "no rotation matrix"),
        ("photos.0.camera.focal", 3, "focal is not a known key"),
        ("photos.0.depth.camera", dict(CAMERA), "camera and color_from_depth belong together"),
        ("photos.0.objects.0.outline", [[1, 2]], "outline needs at least 3 points"),
    ],
)
def test_wrong_description_gets_one_sentence(folder, path, value, message):
    with pytest.raises(InputError) as error:
        _import(folder, _change(path, value))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_depth_of_another_size_needs_its_camera(folder):
    cv2.imwrite(str(folder / "depth.png"), np.full((60, 80), 400, np.uint16))
    with pytest.raises(InputError, match=r"depth is \(80, 60\) pixels, the photograph \(160, 120\)"):
        _import(folder, _description())


def _program(folder: Path, out: Path) -> subprocess.CompletedProcess[str]:
    (folder / "photos.yaml").write_text(yaml.safe_dump(_description()), encoding="utf-8")
    command = [sys.executable, str(ROOT / "workflow_scripts" / "import_photos.py"), "--folder", str(folder)]
    command += ["--description", str(folder / "photos.yaml"), "--out", str(out)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_program_writes_the_same_dataset_twice(folder, tmp_path):
    for name in ("a", "b"):
        done = _program(folder, tmp_path / name)
        assert done.returncode == 0, done.stderr
        assert "3 discrete and 0 continuous" in done.stdout
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert files
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_program_leaves_nothing_behind_on_a_truncated_photograph(folder, tmp_path):
    photo = folder / "photo.png"
    photo.write_bytes(photo.read_bytes()[:-30])
    done = _program(folder, tmp_path / "out")
    assert done.returncode == 2
    assert "truncated" in done.stderr.splitlines()[-1]
    assert not list(tmp_path.glob("*out*"))


def test_example_description_is_valid():
    description = read_description(ROOT / "examples" / "real.yaml")
    assert [photo.scene for photo in description.photos] == [1, 2]
    for photo in description.photos:
        for entry in photo.objects:
            T = pose_matrix(entry.pose, "example")
            assert 400 < T[2, 3] < 700  # half a metre away, in millimetres
    counts = {
        number: len(generated_group([turn(t.axis, np.deg2rad(t.angle_deg), t.center_mm) for t in model.turns]))
        for number, model in description.models.items()
    }
    assert counts == {1: 3, 2: 5}


def test_real_photographs_have_the_silhouettes_that_were_checked_by_eye(tmp_path):
    folder = os.environ.get("BOPFLOW_REALDATA")
    if not folder:
        pytest.skip("needs the photographs of examples/real.yaml: set BOPFLOW_REALDATA to their folder")
    import_photos(read_description(ROOT / "examples" / "real.yaml"), Path(folder), tmp_path / "real")
    dataset = BopDataset(tmp_path / "real")
    (box,) = dataset.scene("test", 1).ground_truth_info[0]
    assert np.abs(np.array(box.bbox_obj) - [225, 104, 209, 267]).max() <= 1
    (triangle,) = dataset.scene("test", 2).ground_truth_info[200]
    assert np.abs(np.array(triangle.bbox_obj) - [363, 246, 66, 52]).max() <= 1
    assert triangle.px_count_all == pytest.approx(2170, abs=20)
    assert len(symmetry_transforms(dataset.models_info()[1])) == 4
    assert len(symmetry_transforms(dataset.models_info()[2])) == 6
    depth = dataset.scene("test", 2).depth(200)[dataset.scene("test", 2).mask(200, 0)]
    assert np.median(depth[depth > 0]) == pytest.approx(611, abs=25)
