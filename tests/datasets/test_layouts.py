"""The three layouts, several sensors, grey and TIFF images, cameras that are no pinhole: one reader for all of them."""

import hashlib
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from pose_models.datasets.bop import BopDataset, BopScene
from pose_models.datasets.index import INFOS
from pose_models.datasets.layouts import convert_split
from pose_models.files import InputError

ROOT = Path(__file__).resolve().parents[2]
SIZE = (24, 32)
KEYS = [(1, 4), (1, 9), (3, 0), (3, 7), (3, 8)]


def picture(seed: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, channels), dtype=np.uint8)


def raw_depth(seed: int) -> np.ndarray:
    return np.random.default_rng([seed, 1]).integers(0, 5000, SIZE, dtype=np.uint16)


def masks(seed: int) -> dict[int, np.ndarray]:
    found = {n: np.random.default_rng([seed, 2, n]).random(SIZE) < 0.3 for n in range(3)}
    found[2][:] = False  # a hidden instance
    return found


def entries(seed: int) -> dict[str, object]:
    rng = np.random.default_rng([seed, 3])
    camera = {"cam_K": [30.5, 0, 16, 0, 30.25, 12, 0, 0, 1], "depth_scale": 0.1, "view_level": 3}
    gt = [
        {"cam_R_m2c": rng.standard_normal(9).tolist(), "cam_t_m2c": rng.standard_normal(3).tolist(), "obj_id": n}
        for n in (5, 2, 5)
    ]
    infos = [
        {"bbox_obj": [1, 2, 3, 4], "bbox_visib": [-1] * 4, "px_count_all": 9, "px_count_valid": 5 + seed}
        | {"px_count_visib": 1, "visib_fract": 0.125}
        for _ in gt
    ]
    return {"camera": camera, "gt": gt, "gt_info": infos}


def rle(mask: np.ndarray) -> dict[str, object]:
    """Written pixel by pixel, unlike the program's."""
    counts, value, run = [], False, 0
    for pixel in mask.T.reshape(-1):
        if bool(pixel) != value:
            counts.append(run)
            value, run = bool(pixel), 0
        run += 1
    return {"counts": [*counts, run], "size": list(mask.shape)}


def encoded(image: np.ndarray, suffix: str) -> bytes:
    return cv2.imencode(suffix, image)[1].tobytes()


def files(key: tuple[int, int]) -> dict[str, bytes]:
    """Image-wise files of an image, by the end of their names."""
    seed = 100 * key[0] + key[1]
    texts = {name: json.dumps(entry).encode() for name, entry in entries(seed).items()}
    runs = json.dumps({str(n): rle(mask) for n, mask in masks(seed).items()}).encode()
    color = {"rgb.png": encoded(picture(seed), ".png")} if key[0] == 1 else {"rgb.jpg": encoded(picture(seed), ".jpg")}
    return (
        {f"{name}.json": text for name, text in texts.items()}
        | {"mask.json": runs, "mask_visib.json": runs, "depth.png": encoded(raw_depth(seed), ".png")}
        | color
    )


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BOPFLOW_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def imagewise(tmp_path) -> BopDataset:
    folder = tmp_path / "made" / "train_wise"
    folder.mkdir(parents=True)
    for key in KEYS:
        for end, content in files(key).items():
            (folder / f"{key[0]:06d}_{key[1]:06d}.{end}").write_bytes(content)
    (folder / "readme.txt").write_text("not an image")
    return BopDataset(tmp_path / "made")


@pytest.fixture
def shards(tmp_path) -> BopDataset:
    folder = tmp_path / "made" / "train_web"
    folder.mkdir(parents=True)
    for number, keys in enumerate(([KEYS[3], KEYS[0]], [KEYS[4], KEYS[2], KEYS[1]])):
        with tarfile.open(folder / f"shard-{number:06d}.tar", "w") as archive:
            for key in keys:
                for end, content in files(key).items():
                    info = tarfile.TarInfo(f"{key[0]:06d}_{key[1]:06d}.{end}")
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
    return BopDataset(tmp_path / "made")


def check(dataset: BopDataset, split: str) -> None:
    """All that the files say is what the reader gives."""
    assert dataset.scene_ids(split) == [1, 3]
    for scene_id in (1, 3):
        scene = dataset.scene(split, scene_id)
        assert scene.scene_id == scene_id
        assert scene.image_ids == [im_id for s, im_id in KEYS if s == scene_id]
        for im_id in scene.image_ids:
            seed = 100 * scene_id + im_id
            said = entries(seed)
            assert scene.camera(im_id).K.ravel().tolist() == said["camera"]["cam_K"]
            for found, entry in zip(scene.ground_truth[im_id], said["gt"], strict=True):
                assert (found.obj_id, found.T_cam_obj[:3, 3].tolist()) == (entry["obj_id"], entry["cam_t_m2c"])
                assert found.T_cam_obj[:3, :3].ravel().tolist() == entry["cam_R_m2c"]
            assert [info.px_count_valid for info in scene.ground_truth_info[im_id]] == [5 + seed] * 3
            if scene_id == 1:
                assert (scene.rgb(im_id)[..., ::-1] == picture(seed)).all()
            assert hashlib.sha256(scene.rgb_file(im_id)[1]).digest() in {
                hashlib.sha256(content).digest() for content in files((scene_id, im_id)).values()
            }
            assert scene.has_depth(im_id)
            assert scene.depth(im_id) == pytest.approx(raw_depth(seed) * 0.1)
            assert scene.image_size(im_id) == (32, 24)
            for gt_id, mask in masks(seed).items():
                assert (scene.mask(im_id, gt_id) == mask).all()
                assert (scene.mask(im_id, gt_id, visible=False) == mask).all()


def test_imagewise_files(imagewise):
    check(imagewise, "train_wise")
    check(BopDataset(imagewise.root), "train_wise")  # from the cache
    assert imagewise.scene("train_wise", 1).rgb_path(4).name == "000001_000004.rgb.png"


def test_shards(shards):
    check(shards, "train_web")
    check(BopDataset(shards.root), "train_web")
    with pytest.raises(InputError, match=r"000001_000004\.rgb\.png: lies in an archive"):
        shards.scene("train_web", 1).rgb_path(4)


@pytest.mark.parametrize("first", ["imagewise", "webdataset"])
def test_there_and_back_changes_no_image_and_no_number(imagewise, first):
    convert_split(imagewise, "train_wise", "classic", imagewise.root / "train")
    check(imagewise, "train")
    convert_split(imagewise, "train", first, imagewise.root / "train_there", per_shard=2, seed=3)
    check(imagewise, "train_there")
    convert_split(imagewise, "train_there", "classic", imagewise.root / "train_back")
    check(imagewise, "train_back")
    before, after = imagewise.root / "train", imagewise.root / "train_back"
    names = sorted(path.relative_to(before) for path in before.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(after) for path in after.rglob("*") if path.is_file())
    for name in names:
        assert (before / name).read_bytes() == (after / name).read_bytes(), name
    view_level = json.loads((after / "000003" / "scene_camera.json").read_text())["7"]["view_level"]
    assert view_level == 3  # also what this reader does not use


def test_shards_are_shuffled_listed_and_repeatable(imagewise):
    for out in ("web_a", "web_b"):
        convert_split(imagewise, "train_wise", "webdataset", imagewise.root / out, per_shard=2, seed=1)
    listed = json.loads((imagewise.root / "web_a" / "key_to_shard.json").read_text())
    assert sorted(listed) == [f"{s:06d}_{i:06d}" for s, i in KEYS]
    for number in range(3):
        name = f"shard-{number:06d}.tar"
        with tarfile.open(imagewise.root / "web_a" / name) as archive:
            keys = {member.name.partition(".")[0] for member in archive}
        assert keys == {key for key, shard in listed.items() if shard == number}
        contents = [(imagewise.root / out / name).read_bytes() for out in ("web_a", "web_b")]
        assert contents[0] == contents[1]
    assert list(listed) != sorted(listed)


def test_a_cut_shard_is_refused(shards):
    path = shards.root / "train_web" / "shard-000001.tar"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match=r"shard-000001\.tar"):
        shards.scene_ids("train_web")


def test_an_image_that_is_in_two_shards_is_refused(shards):
    folder = shards.root / "train_web"
    (folder / "shard-000002.tar").write_bytes((folder / "shard-000001.tar").read_bytes())
    with pytest.raises(InputError, match="two shards hold the same image"):
        shards.scene_ids("train_web")


def test_a_wrong_record_in_a_shard_is_named(imagewise):
    name = "000003_000007.gt.json"
    (imagewise.root / "train_wise" / name).write_text(json.dumps([{"obj_id": 1, "cam_R_m2c": [1] * 9}]))
    with pytest.raises(InputError, match=rf"{name}, instance 0 has no key 'cam_t_m2c'"):
        imagewise.scene("train_wise", 3)


def test_a_split_without_ground_truth_gives_images(imagewise):
    for path in (imagewise.root / "train_wise").glob("*.gt*.json"):
        path.unlink()
    scene = imagewise.scene("train_wise", 3)
    assert scene.rgb(7).shape == (*SIZE, 3)
    with pytest.raises(InputError, match=r"000003_\*\.gt\.json: file not found"):
        scene.ground_truth  # noqa: B018
    with pytest.raises(InputError, match="there is no image of scene 2"):
        imagewise.scene("train_wise", 2)


def test_program_refuses_to_overwrite_and_leaves_nothing_half(imagewise):
    script = ROOT / "workflow_scripts" / "convert_dataset.py"
    command = [sys.executable, str(script), "layout", "--dataset", str(imagewise.root), "--split", "train_wise"]
    command += ["--to", "classic", "--out", str(imagewise.root / "train")]
    victim = imagewise.root / "train_wise" / "000003_000008.mask.json"
    good = victim.read_bytes()
    victim.write_text('{"0": {"counts": [5], "size": [24, 32]}}')
    failed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    assert "000003_000008.mask.json: unreadable masks" in failed.stderr.splitlines()[-1]
    assert {path.name for path in imagewise.root.iterdir()} == {"train_wise"}
    victim.write_bytes(good)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "5 images in 2 scenes" in done.stdout
    check(imagewise, "train")
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "is there already" in again.stderr.splitlines()[-1]


def classic(folder: Path, sensor: str = "", **images: np.ndarray) -> None:
    end = f"_{sensor}" if sensor else ""
    said = entries(0)
    folder.mkdir(parents=True, exist_ok=True)
    for name, entry in said.items():
        (folder / f"scene_{name}{end}.json").write_text(json.dumps({"0": entry}))
    for place, image in images.items():
        name, _, suffix = place.rpartition("__")
        (folder / name).mkdir(exist_ok=True)
        (folder / name / f"000000.{suffix}").write_bytes(encoded(image, f".{suffix}"))


def test_sensors_have_their_own_annotations_images_and_masks(tmp_path):
    folder = tmp_path / "ipd" / "test" / "000002"
    classic(folder, "photoneo", rgb_photoneo__png=picture(1), depth_photoneo__png=raw_depth(1))
    classic(folder, "cam1", gray_cam1__png=picture(2, 1))
    for gt_id, mask in masks(7).items():
        (folder / "mask_visib_cam1").mkdir(exist_ok=True)
        cv2.imwrite(str(folder / "mask_visib_cam1" / f"000000_{gt_id:06d}.png"), mask.astype(np.uint8) * 255)
    assert BopScene(folder).sensor == BopDataset(tmp_path / "ipd").scene("test", 2).sensor == "photoneo"  # catalogue's
    own = (folder.parents[1]).rename(tmp_path / "own")
    with pytest.raises(InputError, match="annotations of the sensors cam1, photoneo; name one as `sensor`"):
        BopDataset(own).scene("test", 2).cameras  # noqa: B018 - a property; reading it is what raises
    (own / "dataset.yaml").write_text("sensor: cam1")
    assert BopDataset(own).scene("test", 2).annotation_file(INFOS).name == "scene_gt_info_cam1.json"
    own.rename(tmp_path / "ipd")
    depth_camera = BopDataset(tmp_path / "ipd", sensor="photoneo").scene("test", 2)
    assert (depth_camera.rgb(0)[..., ::-1] == picture(1)).all()
    assert depth_camera.depth(0) == pytest.approx(raw_depth(1) * 0.1)
    assert depth_camera.annotation_file(INFOS).name == "scene_gt_info_photoneo.json"
    gray = BopDataset(tmp_path / "ipd", sensor="cam1").scene("test", 2)
    assert (gray.rgb(0) == picture(2, 1)).all()
    assert not gray.has_depth(0)
    assert (gray.mask(0, 1) == masks(7)[1]).all()
    assert len(gray.ground_truth[0]) == 3


def test_a_sensor_may_be_the_name_of_its_image_folder(tmp_path):
    classic(tmp_path / "000001", "gray1", gray1__jpg=picture(1, 1))
    assert BopScene(tmp_path / "000001", "gray1").rgb(0).shape == (*SIZE, 3)


def test_gray_and_depth_tiff_images(tmp_path):
    classic(tmp_path / "000001", gray__tif=picture(3, 1), depth__tif=raw_depth(3))
    scene = BopScene(tmp_path / "000001")
    assert (scene.rgb(0) == picture(3, 1)).all()
    assert scene.depth(0) == pytest.approx(raw_depth(3) * 0.1)
    assert scene.image_size(0) == (32, 24)


def fisheye(kind: str, params: list[float]) -> dict[str, object]:
    model = {"image_width": 1408, "image_height": 1407, "projection_model_type": kind, "projection_params": params}
    return {"cam_model": model, "depth_scale": 1.0}


def test_a_camera_that_is_no_pinhole_is_read_and_refused_where_a_matrix_is_needed(tmp_path):
    classic(tmp_path / "000001")
    params = [600.5, 700, 701] + [0.01 * n for n in range(12)]
    cameras = {"0": fisheye("CameraModelType.FISHEYE624", params), "5": fisheye("PinholePlane", [600, 610, 700, 710])}
    (tmp_path / "000001" / "scene_camera.json").write_text(json.dumps(cameras))
    scene = BopScene(tmp_path / "000001")
    lens = scene.camera(0).lens
    assert (lens.name, lens.width, lens.height) == ("FISHEYE624", 1408, 1407)
    assert lens.params == tuple(params)
    with pytest.raises(
        InputError, match=r"scene_camera\.json: image 0: the camera model is FISHEYE624.*needs a pinhole"
    ):
        scene.camera(0).K  # noqa: B018
    assert scene.camera(5).K.tolist() == [[600, 0, 700], [0, 610, 710], [0, 0, 1]]


def test_no_camera_for_an_image_is_named(tmp_path):
    classic(tmp_path / "000001")
    with pytest.raises(InputError, match=r"scene_camera\.json: no entry for image 3"):
        BopScene(tmp_path / "000001").camera(3)
