"""Whole scene folders: same bytes from the same seed, settings obeyed, programs and their refusals."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pose_models.datasets.bop import BopScene
from pose_models.files import InputError
from pose_models.geometry.transforms import apply
from pose_models.meshes.mesh import load_mesh
from pose_models.meshes.shapes import box, merged
from pose_models.settings import validate
from pose_models.synthesis.config import PRESETS, SceneSettings
from pose_models.synthesis.scenes import Recipe, load_models, sensor_intrinsics, split_components
from pose_models.synthesis.shards import write_scene

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"width": 160, "height": 120, "instances": [3, 4], "images_per_arrangement": 2}


def _settings(look, **changes):
    return validate(SceneSettings, {**PRESETS[look], **SMALL, **changes}, "test")


def _write(demo_folder, out, look, images=3, seed=0, scene=1, **changes):
    folders = (demo_folder / "models", demo_folder / "models_collision", demo_folder / "camera.json")
    write_scene(out, Recipe(*folders, _settings(look, **changes), seed, scene), images)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def _picture(files):
    return next(content for name, content in files.items() if name.startswith("rgb/000000"))


@pytest.mark.parametrize("look", PRESETS)
def test_same_seed_gives_the_same_bytes(demo_folder, tmp_path, look):
    first = _write(demo_folder, tmp_path / "a", look)
    assert first == _write(demo_folder, tmp_path / "b", look)
    for change in ({"seed": 1}, {"scene": 2}):
        other = _write(demo_folder, tmp_path / f"c{change}", look, images=1, **change)
        assert other["depth/000000.png"] != first["depth/000000.png"]


@pytest.mark.parametrize("look", ["train", "random"])
def test_images_do_not_depend_on_how_many_are_made(demo_folder, tmp_path, look):
    three = _write(demo_folder, tmp_path / "three", look)
    one = _write(demo_folder, tmp_path / "one", look, images=1)
    for name in one:
        if not name.endswith(".json"):
            assert one[name] == three[name]


def test_looks_differ(demo_folder, tmp_path):
    pictures = [_picture(_write(demo_folder, tmp_path / look, look, images=1)) for look in PRESETS]
    assert len(set(pictures)) == len(PRESETS)


def test_views_of_one_arrangement_agree_in_the_world(demo_folder, tmp_path):
    _write(demo_folder, tmp_path / "000001", "test", images=3)
    scene = BopScene(tmp_path / "000001")
    in_world = []
    for im_id in scene.image_ids:
        T_cam_world = scene.camera(im_id).T_cam_world
        assert T_cam_world is not None
        centers = [(i.obj_id, np.linalg.inv(T_cam_world) @ i.T_cam_obj[:, 3]) for i in scene.ground_truth[im_id]]
        in_world.append({(obj_id, *np.round(center[:3], 2)) for obj_id, center in centers})
    assert in_world[0] & in_world[1]  # two views of the first arrangement
    assert not in_world[0] & in_world[2]  # the third image shows the second one


def test_floating_parts_have_the_size_asked_for(demo_folder, tmp_path):
    _write(demo_folder, tmp_path / "000001", "random", images=4, object_px=[30, 50])
    scene = BopScene(tmp_path / "000001")
    sizes = []
    for im_id in scene.image_ids:
        K = scene.camera(im_id).K
        for instance in scene.ground_truth[im_id]:
            mesh = load_mesh(demo_folder / "models" / f"obj_{instance.obj_id:06d}.ply")
            points = apply(instance.T_cam_obj, mesh.vertices)
            assert points[:, 2].min() > 0
            sizes.append(np.linalg.norm(np.ptp(points[:, :2] / points[:, 2:] * K[0, 0], axis=0)))
    assert len(sizes) >= 6
    assert max(sizes) < 50 * 1.5
    assert min(sizes) > 30 * 0.3


def test_depth_is_where_the_ground_truth_says(demo_folder, tmp_path):
    _write(demo_folder, tmp_path / "000001", "train", images=2)
    scene = BopScene(tmp_path / "000001")
    checked = 0
    for im_id in scene.image_ids:
        depth, K = scene.depth(im_id), scene.camera(im_id).K
        for instance in scene.ground_truth[im_id]:
            mask = scene.mask(im_id, instance.gt_id)
            v, u = np.nonzero(mask)
            if len(u) < 30:
                continue
            seen = np.column_stack([u, v, np.ones(len(u))]) @ np.linalg.inv(K).T * depth[v, u][:, None]
            local = apply(np.linalg.inv(instance.T_cam_obj), seen)
            mesh = load_mesh(demo_folder / "models" / f"obj_{instance.obj_id:06d}.ply")
            assert (local >= mesh.vertices.min(axis=0) - 0.3).all()
            assert (local <= mesh.vertices.max(axis=0) + 0.3).all()
            checked += 1
    assert checked >= 3


def test_components_are_split_and_renumbered():
    first, second = box([1, 1, 1]), box([2, 2, 2], [5, 0, 0])
    parts = split_components(merged([first, second]))
    assert [len(part.vertices) for part in parts] == [8, 8]
    np.testing.assert_array_equal(parts[1].vertices, second.vertices)
    np.testing.assert_array_equal(parts[1].faces, second.faces)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lok": "train"}, "did you mean 'look'"),
        ({"instances": [5, 3]}, "instances: the first number"),
        ({"width": "wide"}, "width"),
        ({"instances": [0, 3]}, "at least one part"),
    ],
)
def test_wrong_settings_are_named(changes, words):
    with pytest.raises(InputError, match=words):
        validate(SceneSettings, {**PRESETS["train"], **changes}, "--set")


def test_camera_file_without_focal_length_is_named(tmp_path):
    (tmp_path / "camera.json").write_text('{"fx": 1, "cx": 2, "cy": 3}')
    with pytest.raises(InputError, match=r"camera.json: no key 'fy'"):
        sensor_intrinsics(tmp_path / "camera.json")


def test_folder_without_models_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no obj_\*.ply"):
        load_models(tmp_path)


def _program(*arguments):
    command = [sys.executable, "workflow_scripts/render_scenes.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_program_renders_a_folder_and_leaves_nothing_beside_it(demo_folder, tmp_path):
    out = tmp_path / "train_synt" / "000000"
    arguments = ["--models", demo_folder / "models", "--camera", demo_folder / "camera.json", "--look", "train"]
    sets = ["--set", "width=96", "height=72", "instances=[2, 2]", "--images", 1, "--out", out]
    done = _program(*arguments, *sets)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in out.parent.iterdir()] == ["000000"]
    assert BopScene(out).rgb(0).shape == (72, 96, 3)


def test_program_refuses_a_name_without_a_number(demo_folder, tmp_path):
    arguments = ["--models", demo_folder / "models", "--camera", demo_folder / "camera.json"]
    done = _program(*arguments, "--out", tmp_path / "scene")
    assert done.returncode == 2
    assert "must end in the scene's number" in done.stderr
    assert not list(tmp_path.iterdir())
