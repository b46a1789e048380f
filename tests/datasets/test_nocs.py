"""The NOCS layout: pictures, depth, masks, meta lines, published ground truth, models."""

import os
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from pose_models.datasets.nocs import NocsDataset, NocsInstance
from pose_models.files import InputError

SIZE = (12, 16)


@pytest.fixture
def dataset(tmp_path) -> NocsDataset:
    rng = np.random.default_rng(0)
    for place, lines in (
        ("CAMERA/val/00012/0003", "1 3 02942699 5d42d432ec71bfa1d5004b533b242ce6\n2 0 00000000 some_chair\n"),
        ("Real/test/scene_2/0007", "1 6 mug_white_green_norm\n2 1 bottle_red_stanford_norm\n"),
        ("Real/test/scene_10/0000", "1 6 mug_white_green_norm\n"),
    ):
        stem = tmp_path / place
        stem.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(f"{stem}_color.png", rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8))
        cv2.imwrite(f"{stem}_coord.png", rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8))
        mask = np.full((*SIZE, 3), 255, dtype=np.uint8)
        mask[2:5, 3:9] = (40, 50, 1)  # BGR: the instance is in the red channel
        cv2.imwrite(f"{stem}_mask.png", mask)
        depth = np.arange(SIZE[0] * SIZE[1], dtype=np.uint16).reshape(SIZE) * 200
        depth[0, 0] = 32001
        if place.startswith("CAMERA"):
            encoded = np.stack([np.full(SIZE, 9), depth >> 8, depth & 255], axis=-1).astype(np.uint8)
            cv2.imwrite(f"{stem}_depth.png", encoded)
        else:
            cv2.imwrite(f"{stem}_depth.png", depth)
        Path(f"{stem}_meta.txt").write_text(lines)
    return NocsDataset(tmp_path)


def truth(**changes: object) -> dict[str, object]:
    content = {
        "gt_class_ids": np.array([6, 1], dtype=np.int32),
        "gt_bboxes": np.array([[1, 2, 3, 4], [5, 6, 7, 8]], dtype=np.int32),
        "gt_RTs": np.stack([np.diag([0.2, 0.2, 0.2, 1.0]), np.eye(4)]).astype(np.float32),
        "gt_scales": np.ones((2, 3), dtype=np.float32),
        "gt_handle_visibility": np.array([0, 1]),
    }
    return content | changes


def write_truth(root: Path, place: str, content: object) -> Path:
    path = root / place / "real_test" / "results_test_scene_2_0007.pkl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=2))
    return path


def test_images_are_listed_in_the_order_of_their_numbers(dataset):
    names = [(image.folder, image.name) for image in dataset.images("Real/test")]
    assert names == [("scene_2", "0007"), ("scene_10", "0000")]
    assert not next(dataset.images("CAMERA/val")).missing


def test_depth_of_both_kinds_is_millimetres(dataset):
    expected = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE) * 200
    camera, real = dataset.image("CAMERA/val", "00012", "0003"), dataset.image("Real/test", "scene_2", "0007")
    expected[0, 0] = 0  # 32001: invalid
    assert (camera.depth() == expected).all()
    expected[0, 0] = 32001  # a distance like any other where depth is a single channel
    assert (real.depth() == expected).all()


def test_pictures_masks_and_coordinates(dataset):
    image = dataset.image("Real/test", "scene_2", "0007")
    stored = cv2.imread(str(image.path("color")))
    assert (image.rgb() == stored[..., ::-1]).all()
    assert set(np.unique(image.instance_ids())) == {1, 255}
    assert (image.instance_ids() == 1).sum() == 18
    blue, green, red = np.moveaxis(cv2.imread(str(image.path("coord"))).astype(float) / 255, -1, 0)
    np.testing.assert_allclose(image.coordinates(), np.stack([red, green, 1 - blue], -1) - 0.5, atol=1e-6)


def test_cameras(dataset):
    assert dataset.image("CAMERA/val", "00012", "0003").K.tolist() == [[577.5, 0, 319.5], [0, 577.5, 239.5], [0, 0, 1]]
    assert dataset.image("Real/test", "scene_2", "0007").K[0, 0] == 591.0125


def test_meta_lines_and_models(dataset):
    camera = dataset.image("CAMERA/val", "00012", "0003").instances
    assert camera[0] == NocsInstance(1, 3, "5d42d432ec71bfa1d5004b533b242ce6", "02942699")
    assert camera[1].class_id == 0
    model = dataset.model_path("CAMERA/val", camera[0]).relative_to(dataset.root).as_posix()
    assert model == "obj_models/val/02942699/5d42d432ec71bfa1d5004b533b242ce6/model.obj"
    mug = dataset.image("Real/test", "scene_2", "0007").instances[0]
    path = dataset.model_path("Real/test", mug)
    assert path.relative_to(dataset.root).as_posix() == "obj_models/real_test/mug_white_green_norm.obj"
    path.parent.mkdir(parents=True)
    path.with_suffix(".txt").write_text("0.1\n0.08 0.12")
    assert dataset.box_mm("Real/test", mug) == pytest.approx([100, 80, 120])
    path.with_suffix(".txt").write_text("0.1 0.2")
    with pytest.raises(InputError, match=r"mug_white_green_norm\.txt: must hold the three sides"):
        dataset.box_mm("Real/test", mug)


@pytest.mark.parametrize("place", ["gts", "results/nocs_results"])
def test_published_truth(dataset, place):
    write_truth(dataset.root, place, truth())
    read = dataset.image("Real/test", "scene_2", "0007").truth()
    assert read.class_ids.tolist() == [6, 1]
    assert read.handle_visible.tolist() == [False, True]
    assert read.sRT[0, 0, 0] == pytest.approx(0.2)
    assert read.boxes[1].tolist() == [5, 6, 7, 8]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([1, 2], "holds no dictionary"),
        ({k: v for k, v in truth().items() if k != "gt_RTs"}, "has no key 'gt_RTs'"),
        (truth(gt_scales=np.ones((2, 2))), r"'gt_scales' must be finite numbers of shape \(2, 3\)"),
        (truth(gt_RTs=np.full((2, 4, 4), np.nan)), "'gt_RTs' must be finite"),
    ],
)
def test_wrong_truth_is_named(dataset, content, sentence):
    path = write_truth(dataset.root, "gts", content)
    with pytest.raises(InputError, match=sentence) as error:
        dataset.image("Real/test", "scene_2", "0007").truth()
    assert str(error.value).startswith(str(path))


class Harmful:
    def __reduce__(self):
        return os.system, ("touch harmed",)


def test_a_harmful_truth_is_not_run(dataset, monkeypatch):
    monkeypatch.chdir(dataset.root)
    write_truth(dataset.root, "gts", truth(gt_scales=Harmful()))
    with pytest.raises(InputError, match="nothing was executed"):
        dataset.image("Real/test", "scene_2", "0007").truth()
    assert not (dataset.root / "harmed").exists()


def test_what_is_missing_or_wrong_is_named(dataset):
    image = dataset.image("Real/test", "scene_2", "0007")
    with pytest.raises(InputError, match=r"gts/real_test/results_test_scene_2_0007\.pkl: file not found"):
        image.truth()
    with pytest.raises(InputError, match="no ground truth is published"):
        dataset.image("CAMERA/val", "00012", "0003").__class__(dataset.root, "Real/train", "a", "b").truth()
    image.path("coord").unlink()
    image.path("depth").write_bytes(b"")
    assert next(dataset.images("Real/test")).missing == ["0007_coord.png"]
    with pytest.raises(InputError, match=r"0007_coord\.png: file not found"):
        image.coordinates()
    with pytest.raises(InputError, match=r"0007_depth\.png: truncated"):
        image.depth()
    cv2.imwrite(str(image.path("depth")), np.zeros(SIZE, np.uint8))
    with pytest.raises(InputError, match=r"0007_depth\.png: a depth image is uint16"):
        image.depth()
    with pytest.raises(InputError, match="NOCS has the subsets CAMERA/train"):
        list(dataset.images("real"))
    (image.path("color").parent / "0007_meta.txt").write_text("1 6 mug\n2 9 x\n")
    with pytest.raises(InputError, match=r"0007_meta\.txt: line 2: class 9 is none of NOCS's"):
        dataset.image("Real/test", "scene_2", "0007").instances  # noqa: B018
