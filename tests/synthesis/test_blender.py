"""The photorealistic generator; tests that start Blender need `make blender` (`.ci/run` has made it)."""

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from pose_models.datasets.bop import BopScene
from pose_models.files import InputError
from pose_models.settings import validate
from pose_models.synthesis import blender
from pose_models.synthesis.blender import Sensor, draw_plan, load_meshes, read_sensor, run_blender
from pose_models.synthesis.blender_config import BLENDER_PRESETS, BlenderSettings
from pose_models.synthesis.blender_shard import write_shard

ROOT = Path(__file__).resolve().parents[2]
IMAGES = 10
NEAR = {"drop_half_mm": (60, 90), "drop_height_mm": (150, 250), "distance_mm": (330, 520), "nearest_mm": 120}
needs_blender = pytest.mark.skipif(
    not (blender.ENVIRONMENT / ".venv" / "outside" / "bin" / "blenderproc").exists(), reason="needs `make blender`"
)


def settings(**values):
    return BlenderSettings(width=320, height=240, samples=32, instances=(7, 9), distractors=(1, 2), **NEAR, **values)


def plan(folder, demo_folder, chosen, **changes):
    arguments = {"seed": 1, "shard": 0, "images": IMAGES} | changes
    sensor = read_sensor(demo_folder / "camera.json", chosen)
    return draw_plan(folder, load_meshes(demo_folder / "models"), sensor, chosen, **arguments), sensor


@pytest.fixture
def small_textures(monkeypatch):
    """Textures that cost nothing, for tests that do not look at them."""
    monkeypatch.setattr(blender, "TEXTURE_SIZE", 128)


def test_a_plan_is_a_function_of_settings_seed_and_shard(tmp_path, demo_folder, small_textures):
    def scenes(name, **changes):
        (tmp_path / name).mkdir()
        content = plan(tmp_path / name, demo_folder, settings(images_per_arrangement=4), **changes)[0].content
        return [{key: value for key, value in scene.items() if key != "texture_folder"} for scene in content["scenes"]]

    first = scenes("a")
    assert first == scenes("b")
    assert first != scenes("c", shard=1)
    assert first != scenes("d", seed=2)
    assert [scene["images"] for scene in first] == [4, 4, 2]
    assert scenes("e", images=4) == first[:1], "more images must keep the first ones"


def test_objects_are_drawn_equally_often_and_within_the_settings(tmp_path, demo_folder, small_textures):
    chosen = settings(roughness=(0.2, 0.4), metallic=(0.1, 0.3), images_per_arrangement=1)
    for scene in plan(tmp_path, demo_folder, chosen)[0].content["scenes"]:
        targets = [item["model"] for item in scene["objects"] if item["is_target"]]
        counts = [targets.count(key) for key in ("1", "2", "3")]
        assert 7 <= len(targets) <= 9
        assert max(counts) - min(counts) <= 1
        assert 1 <= len(scene["objects"]) - len(targets) <= 2
        assert all(0.2 <= item["roughness"] <= 0.4 and 0.1 <= item["metallic"] <= 0.3 for item in scene["objects"])
        assert 1000 <= np.linalg.norm(scene["lamp_mm"]) <= 1500
        assert scene["lamp_mm"][2] > 0


def test_textures_of_the_user_are_linked_one_per_scene(tmp_path, demo_folder):
    for name in ("Wood001", "Rock002", "Fence003"):
        (tmp_path / "cc" / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "cc" / name / f"{name}_2K-JPG_Color.jpg"), np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "cc" / "Fence003" / "Fence003_2K-JPG_Opacity.jpg").touch()
    (tmp_path / "out").mkdir()
    chosen = settings(images_per_arrangement=1)
    scenes = plan(tmp_path / "out", demo_folder, chosen, texture_folder=tmp_path / "cc")[0].content["scenes"]
    names = [[path.name for path in Path(scene["texture_folder"]).iterdir()] for scene in scenes]
    assert all(len(found) == 1 for found in names)
    assert {found[0] for found in names} == {"Wood001", "Rock002"}, "both, and no transparent one"


def test_scaling_the_sensor_keeps_what_a_pixel_sees(demo_folder):
    small = read_sensor(demo_folder / "camera.json", BlenderSettings())
    large = read_sensor(demo_folder / "camera.json", BlenderSettings(width=480, height=360))
    corner = np.linalg.inv(small.K) @ [-0.5, -0.5, 1]
    np.testing.assert_allclose(np.linalg.inv(large.K) @ [-0.5, -0.5, 1], corner, atol=1e-12)
    np.testing.assert_allclose(large.K[0, 0], 3 * small.K[0, 0])


def test_every_look_is_valid():
    for look, values in BLENDER_PRESETS.items():
        validate(BlenderSettings, values, look)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"width": 300, "height": 300}, "cannot become 300x300"),
        ({"distractor_folders": ("nowhere",)}, "nowhere: no obj_"),
    ],
)
def test_wrong_settings_give_one_sentence(tmp_path, demo_folder, change, sentence):
    with pytest.raises(InputError, match=re.escape(sentence)):
        plan(tmp_path, demo_folder, settings().model_copy(update=change))


def test_a_folder_without_textures_is_refused(tmp_path, demo_folder):
    with pytest.raises(InputError, match=r"no texture <name>/<name>_2K-JPG_Color\.jpg"):
        plan(tmp_path, demo_folder, settings(), texture_folder=tmp_path)


def test_a_missing_environment_names_the_remedy(tmp_path, demo_folder, monkeypatch):
    monkeypatch.setattr(blender, "ENVIRONMENT", tmp_path)
    with pytest.raises(InputError, match="make blender"):
        run_blender(tmp_path, plan(tmp_path, demo_folder, settings())[0], "cpu", 1)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory, demo_folder):
    """A shard of 10 images, 320x240 at 32 samples, as Blender has left it."""
    folder = tmp_path_factory.mktemp("raw")
    made, sensor = plan(folder, demo_folder, settings(images_per_arrangement=5))
    run_blender(folder, made, "cpu", 2)
    return folder, made, sensor


@needs_blender
@pytest.mark.slow
def test_ground_truth_agrees_with_blenders_own_segmentation_and_depth(rendered, tmp_path):
    raw, made, sensor = rendered
    agreement = write_shard(tmp_path / "shard_0000", raw, made, sensor, 0.1)
    assert len(agreement.ious) >= IMAGES, "too few unoccluded objects to say anything"
    assert min(agreement.ious) >= 0.98
    assert agreement.depth_error_mm < 0.1
    scene = BopScene(tmp_path / "shard_0000")
    assert scene.image_ids == list(range(IMAGES))
    for im_id in scene.image_ids:
        rgb, depth = scene.rgb(im_id), scene.depth(im_id)
        assert rgb.shape == (240, 320, 3)
        assert 20 < rgb.mean() < 235, "neither black nor burnt out"
        assert rgb.std() > 5
        for instance, info in zip(scene.ground_truth[im_id], scene.ground_truth_info[im_id], strict=True):
            name = f"{im_id:06d}_{instance.gt_id:06d}.png"
            visible = cv2.imread(str(scene.path / "mask_visib" / name), cv2.IMREAD_GRAYSCALE) > 0
            assert visible.sum() == info.px_count_visib
            if info.px_count_visib > 200:
                nearness = np.abs(np.median(depth[visible]) - instance.T_cam_obj[2, 3])
                assert nearness < 60, "an object's visible depth is within its own size of its origin"


@needs_blender
@pytest.mark.slow
def test_the_witness_notices_a_camera_that_is_off_by_a_pixel(rendered, tmp_path):
    raw, made, sensor = rendered
    K = np.add(sensor.K, [[0, 0, 1], [0, 0, 0], [0, 0, 0]])
    agreement = write_shard(tmp_path / "shard_0000", raw, made, Sensor(K, sensor.width, sensor.height), 0.1)
    assert min(agreement.ious) < 0.98


def run_program(demo_folder, out, *overrides):
    tiny = ["width=80", "height=60", "samples=4", "instances=[3,3]", "distractors=[1,1]"]
    near = [f"{key}={list(value) if isinstance(value, tuple) else value}" for key, value in NEAR.items()]
    command = [sys.executable, "workflow_scripts/render_photorealistic.py", "--models", str(demo_folder / "models")]
    command += ["--camera", str(demo_folder / "camera.json"), "--images", "2", "--device", "cpu", "--threads", "2"]
    command += ["--out", str(out), "--set", *tiny, *near, *overrides]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@needs_blender
@pytest.mark.slow
def test_two_runs_of_the_program_give_the_same_bytes(tmp_path, demo_folder):
    contents = []
    for name in ("a", "b"):
        out = tmp_path / name / "shard_0003"
        done = run_program(demo_folder, out)
        assert done.returncode == 0, done.stderr
        assert f"wrote {out}: 2 images" in done.stdout
        assert [path.name for path in out.parent.iterdir()] == ["shard_0003"], "nothing is left beside it"
        contents.append({str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()})
    assert contents[0] == contents[1]
    assert not [name for name in contents[0] if name.startswith("raw")]


@needs_blender
@pytest.mark.slow
def test_a_pile_that_takes_too_long_ends_with_a_sentence(tmp_path, demo_folder):
    done = run_program(demo_folder, tmp_path / "shard_0000", "placing_limit_s=0.01")
    assert done.returncode == 2
    assert "error: a pile was not placed within 0.01 s" in done.stderr
    assert not list(tmp_path.iterdir())
