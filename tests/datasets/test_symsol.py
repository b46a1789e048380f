"""The SYMSOL layout: pictures and rotations, little memory, clear refusals."""

import tracemalloc

import cv2
import numpy as np
import pytest

from pose_models.datasets import symsol
from pose_models.datasets.symsol import SymsolSplit
from pose_models.files import InputError
from pose_models.geometry.transforms import random_rotation


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BOPFLOW_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    for split, views in (("train", 50), ("test", 7)):
        folder = tmp_path / "symsol" / split
        (folder / "images").mkdir(parents=True)
        arrays = {"cyl": random_rotation(rng, views, 72).astype(np.float32), "sphereX": random_rotation(rng, views, 1)}
        np.savez_compressed(folder / "rotations.npz", **arrays)
        for view in range(2):
            picture = rng.integers(0, 256, (224, 224, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / "images" / f"cyl_{view:05d}.png"), picture)
    return tmp_path / "symsol"


def test_rotations_and_their_equivalents(root, monkeypatch):
    monkeypatch.setattr(symsol, "_CHUNK_BYTES", 72 * 9 * 4 * 3 + 5)  # pieces of three views, the last one smaller
    split = SymsolSplit(root, "train", "cyl")
    stored = np.load(root / "train" / "rotations.npz")["cyl"]
    assert len(split) == 50
    assert (split.rotations == stored[:, 0]).all()
    assert (split.equivalents(49) == stored[49]).all()
    assert SymsolSplit(root, "test", "sphereX").equivalents(3).shape == (1, 3, 3)
    assert (SymsolSplit(root, "train", "cyl").rotations == stored[:, 0]).all()  # from the cache


def test_pictures_are_rgb(root):
    split = SymsolSplit(root, "test", "cyl")
    assert (split.rgb(1) == cv2.imread(str(split.image_path(1)))[..., ::-1]).all()
    with pytest.raises(InputError, match=r"cyl_00006\.png: file not found"):
        split.rgb(6)


def test_training_rotations_need_little_memory(tmp_path):
    folder = tmp_path / "train"
    folder.mkdir()
    np.savez(folder / "rotations.npz", cyl=np.ones((3000, 720, 3, 3), dtype=np.float32))  # 78 MB
    tracemalloc.start()
    assert len(SymsolSplit(tmp_path, "train", "cyl")) == 3000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 45e6


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.zeros((5, 3, 3)), r"'cyl' must be numbers of shape \(views, equivalents, 3, 3\), it has \(5, 3, 3\)"),
        (np.full((5, 2, 3, 3), np.nan), "'cyl' holds numbers that are not finite"),
    ],
)
def test_wrong_arrays_are_named(root, array, sentence):
    np.savez(root / "train" / "rotations.npz", cyl=array)
    with pytest.raises(InputError, match=sentence):
        len(SymsolSplit(root, "train", "cyl"))


def test_what_is_missing_is_named(root):
    with pytest.raises(InputError, match="not 'train' of 'cylinder'"):
        SymsolSplit(root, "train", "cylinder")
    with pytest.raises(InputError, match=r"rotations\.npz: has no array 'cone'"):
        len(SymsolSplit(root, "train", "cone"))
    file = root / "train" / "rotations.npz"
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(InputError, match=r"rotations\.npz: unreadable"):
        len(SymsolSplit(root, "train", "cyl"))
    file.unlink()
    with pytest.raises(InputError, match=r"rotations\.npz: file not found"):
        SymsolSplit(root, "train", "cyl")
