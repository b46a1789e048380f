"""BOP's lm and lmo as PVNet and RePOSE read them."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from pose_models.datasets.bop import BopDataset
from pose_models.datasets.bop_writer import InstanceRecord, SceneWriter
from pose_models.datasets.linemod import FRAMES, NAMES, TEST_FRAMES, Sources, convert_linemod, spread_views
from pose_models.files import InputError
from pose_models.geometry.transforms import from_rotation_translation, random_rotation, rotation_angle
from pose_models.meshes.mesh import Mesh, load_mesh, save_ply
from pose_models.meshes.ply import read_ply

ROOT = Path(__file__).resolve().parents[2]
K = [[572.4114, 0, 32.5], [0, 573.57043, 24.2], [0, 0, 1]]
FRAME_COUNT = 20


def scene(folder: Path, obj_ids: list[int], images: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    writer = SceneWriter(folder)
    for im_id in images:
        records = []
        for n, obj_id in enumerate(obj_ids):
            T = from_rotation_translation(random_rotation(rng), np.array([rng.normal(), rng.normal(), 900 + im_id]))
            mask = np.zeros((48, 64), dtype=bool)
            mask[5 : 20 + n, 10 + n : 30] = True
            info = {f"px_count_{name}": int(mask.sum()) for name in ("all", "valid", "visib")}
            box = [10 + n, 5, 19 - n, 14 + n]
            info |= {"visib_fract": 0.05 if im_id == 3 else 1.0, "bbox_obj": box, "bbox_visib": box}
            records.append(InstanceRecord(obj_id, T, info, mask, mask))
        picture = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        writer.add(im_id, picture, np.full((48, 64), 900, np.uint16), K, 1.0, records)
    writer.close()


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for obj_id in (1, 2, 5):
        vertices = rng.normal(size=(40, 3)) * [30, 40, 50]
        colors = rng.integers(0, 256, (40, 3), dtype=np.uint8)
        faces = rng.permutation(39).reshape(13, 3)
        save_ply(root / "lm" / "models" / f"obj_{obj_id:06d}.ply", Mesh(vertices, faces, colors))
        scene(root / "lm" / "test" / f"{obj_id:06d}", [9, obj_id], list(range(0, 2 * FRAME_COUNT, 2)), obj_id)
    scene(root / "lmo" / "test" / "000002", [1], [0, 7], 8)
    folder = root / "lmo" / "test" / "000002"
    for name in ("scene_gt.json", "scene_gt_info.json"):
        content = json.loads((folder / name).read_text())
        content["7"] = []  # one frame does not show the object
        (folder / name).write_text(json.dumps(content))
    for number in range(2):
        scene(root / "lm" / "train_pbr" / f"{number:06d}", [1, 5], [0, 3, 4], 20 + number)
    return root


@pytest.fixture(scope="module")
def ape(data, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("out") / "pvnet"
    counts = convert_linemod(Sources(data / "lm", data / "lmo", rendered=3), [1, 5], out)
    assert counts["ape"] == {"train": 3, "test": 17, "occ": 1, "train_pbr": 3}
    return out


def test_counts_of_the_published_split():
    assert FRAMES.keys() == TEST_FRAMES.keys() == NAMES.keys()
    assert {173, 189} >= {
        min(FRAMES[i] - TEST_FRAMES[i] for i in NAMES),
        max(FRAMES[i] - TEST_FRAMES[i] for i in NAMES),
    }


def test_frames_say_what_bop_says(data, ape):
    folder, lm = ape / "linemod" / "ape", BopDataset(data / "lm").scene("test", 1)
    mesh = load_mesh(data / "lm" / "models" / "obj_000001.ply")
    seen = set()
    for part in ("train", "test"):
        content = json.loads((folder / f"{part}.json").read_text())
        listed = (folder / f"{part}.txt").read_text().split()
        assert listed == [image["file_name"] for image in content["images"]]
        for image, entry in zip(content["images"], content["annotations"], strict=True):
            im_id = int(Path(image["file_name"]).stem)
            seen.add(im_id)
            assert Path(image["file_name"]).read_bytes() == lm.rgb_file(im_id)[1]
            assert (image["width"], image["height"]) == (64, 48)
            truth = next(gt for gt in lm.ground_truth[im_id] if gt.obj_id == 1)
            assert truth.gt_id == 1
            np.testing.assert_allclose(np.array(entry["pose"])[:, :3], truth.T_cam_obj[:3, :3])
            np.testing.assert_allclose(np.array(entry["pose"])[:, 3] * 1000, truth.T_cam_obj[:3, 3])
            np.testing.assert_allclose(np.load(folder / "pose" / f"pose{im_id}.npy"), entry["pose"])
            mask = cv2.imread(entry["mask_path"], cv2.IMREAD_UNCHANGED)
            assert ((mask[..., 0] != 0) == lm.mask(im_id, 1)).all()
            points = np.array(entry["fps_3d"]) * 1000 @ truth.T_cam_obj[:3, :3].T + truth.T_cam_obj[:3, 3]
            uvw = points @ np.array(entry["K"]).T
            np.testing.assert_allclose(entry["fps_2d"], uvw[:, :2] / uvw[:, 2:])
            assert np.isclose(np.array(entry["fps_3d"])[:, None] * 1000, mesh.vertices, atol=1e-4).all(-1).any(1).all()
            assert (entry["cls"], entry["category_id"], entry["type"]) == ("ape", 1, "real")
    assert seen == set(lm.image_ids)


def test_models_and_keypoints_are_metres(data, ape):
    folder = ape / "linemod" / "ape"
    mesh = load_mesh(data / "lm" / "models" / "obj_000001.ply")
    np.testing.assert_allclose(read_ply(folder / "ape.ply").vertices * 1000, mesh.vertices, atol=1e-4)
    rows = [line.split() for line in (folder / "ape.obj").read_text().splitlines()]
    vertices = np.array([row[1:] for row in rows if row[0] == "v"], dtype=float)
    np.testing.assert_allclose(vertices[:, :3] * 1000, mesh.vertices, atol=1e-4)
    np.testing.assert_allclose(vertices[:, 3:] * 255, mesh.colors, atol=0.1)
    assert [[int(i) - 1 for i in row[1:]] for row in rows if row[0] == "f"] == mesh.faces.tolist()
    assert np.loadtxt(folder / "farthest.txt").shape == (8, 3)


def test_occlusion_frames_without_the_object_are_left_out(ape):
    content = json.loads((ape / "linemod" / "ape" / "occ.json").read_text())
    assert [Path(image["file_name"]).stem for image in content["images"]] == ["color_00000"]
    assert content["annotations"][0]["mask_path"].endswith("occlusion_linemod/masks/ape/0.png")
    assert Path(content["annotations"][0]["mask_path"]).exists()
    assert (ape / "linemod" / "ape" / "test_occlusion.txt").read_text().split() == [content["images"][0]["file_name"]]


def test_rendered_images_show_the_object_and_have_pixel_centres_at_integers(ape):
    content = json.loads((ape / "linemod" / "ape" / "train_pbr.json").read_text())
    names = [Path(image["file_name"]).stem for image in content["images"]]
    assert names == ["000000_000000", "000000_000004", "000001_000000"]  # image 3 shows 5 % of it
    assert np.array(content["annotations"][0]["K"])[0, 2] == K[0][2] - 0.5


def test_published_lists_are_used(data, tmp_path):
    folder = tmp_path / "lists" / "ape"
    folder.mkdir(parents=True)
    (folder / "train.txt").write_text("LINEMOD/ape/JPEGImages/000004.jpg\nLINEMOD/ape/JPEGImages/000010.jpg\n")
    sources = Sources(data / "lm", lists=tmp_path / "lists", jpeg_quality=90)
    convert_linemod(sources, [1], tmp_path / "out")
    lines = (tmp_path / "out" / "linemod" / "ape" / "train.txt").read_text().split()
    assert [Path(line).name for line in lines] == ["000004.jpg", "000010.jpg"]
    assert Path(lines[0]).read_bytes().startswith(b"\xff\xd8")
    (folder / "train.txt").write_text("000005\n")
    with pytest.raises(InputError, match=r"ape/train\.txt: '000005' is no frame of the scene"):
        convert_linemod(sources, [1], tmp_path / "again")
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("count", [1, 7, 30, 100])
def test_spread_views_differ_more_than_any_other_choice_in_order(count):
    R = random_rotation(np.random.default_rng(1), 100)
    chosen = spread_views(R, count)
    assert len(chosen) == count
    assert chosen == sorted(chosen)
    angles = rotation_angle(np.swapaxes(R[chosen], -1, -2)[:, None] @ R[chosen])
    if 1 < count < 100:
        least = angles[~np.eye(count, dtype=bool)].min()
        spread_of_first = rotation_angle(np.swapaxes(R[:count], -1, -2)[:, None] @ R[:count])
        assert least > spread_of_first[~np.eye(count, dtype=bool)].min()


def test_program_leaves_nothing_when_a_frame_is_wrong(data, tmp_path):
    script = ROOT / "workflow_scripts" / "convert_dataset.py"
    command = [sys.executable, str(script), "linemod", "--lm", str(data / "lm"), "--out", str(tmp_path / "out")]
    done = subprocess.run([*command, "--objects", "1", "2"], capture_output=True, text=True, check=True)
    assert "benchvise: 3 train, 17 test" in done.stdout
    for arguments, sentence in (
        (["--objects", "3"], "object 3: PVNet's LINEMOD has the objects 1, 2, 4"),
        (["--objects", "2", "--rendered", "3"], "object 2 is seen in 0 images only, not 3"),
        (["--objects", "1", "--jpeg-quality", "0"], "--jpeg-quality 0: must be 1 to 100"),
    ):
        failed = subprocess.run([*command[:-1], str(tmp_path / "no"), *arguments], capture_output=True, text=True)
        assert failed.returncode == 2
        assert sentence in failed.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
