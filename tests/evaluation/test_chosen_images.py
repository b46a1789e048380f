"""A dataset of other test images: linked files, targets of its own, and the scores that follow from them."""

import subprocess
import sys
from pathlib import Path

import pytest

from pose_models.datasets.bop import BopDataset
from pose_models.datasets.catalogue import catalogue_entry
from pose_models.datasets.estimates import write_estimates
from pose_models.evaluation.protocols import Run, score_files
from pose_models.evaluation.world import World
from pose_models.files import write_json

PROGRAM = Path(__file__).parents[2] / "workflow_scripts" / "choose_images.py"


def choose(dataset: Path, out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, PROGRAM, "--dataset", dataset, "--out", out, *arguments]
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)


@pytest.fixture
def few(made_dataset, tmp_path) -> Path:
    """The dataset with a list of targets that names one image."""
    root = tmp_path / "few"
    root.mkdir()
    for path in made_dataset.iterdir():
        (root / path.name).symlink_to(path)
    (root / "test_targets_bop19.json").unlink()
    (root / "dataset.yaml").write_text("delta_mm: 12.0\nsymmetric: [2]\n")
    write_json(root / "test_targets_bop19.json", [{"scene_id": 1, "im_id": 0, "obj_id": 2, "inst_count": 1}])
    return root


def test_all_images_of_a_dataset_become_targets(few, made_dataset, tmp_path, perfect):
    done = choose(few, tmp_path / "all")
    assert done.returncode == 0, done.stderr
    assert "4 images with targets" in done.stdout
    chosen, original = BopDataset(tmp_path / "all"), BopDataset(made_dataset)
    assert sorted(chosen.targets(), key=str) == sorted(original.targets(), key=str)
    assert not (tmp_path / "all" / "test").readlink().is_absolute(), "the project may be moved"
    entry = catalogue_entry("all", tmp_path / "all")
    assert (entry.delta_mm, entry.symmetric, entry.split) == (12.0, (2,), "test")
    write_estimates(tmp_path / "perfect_all-test.csv", perfect)
    for root, images, targets in ((few, 1, 2), (tmp_path / "all", 4, None)):
        (scores,) = score_files(World(BopDataset(root)), "tless-siso", [tmp_path / "perfect_all-test.csv"], Run())
        assert scores["counts"]["images"] == images, "images that nobody was asked about do not count"
        assert scores["recall_vsd_0.3"] == pytest.approx(1.0)
        assert targets is None or scores["counts"]["targets"] == targets, "all objects of the image, listed or not"


def test_some_images_are_chosen_by_a_list_and_a_wrong_list_is_one_sentence(made_dataset, tmp_path):
    (tmp_path / "list.txt").write_text("0002/000003\n0001/000000\n")
    done = choose(made_dataset, tmp_path / "some", "--images", str(tmp_path / "list.txt"))
    assert done.returncode == 0, done.stderr
    images = {(target.scene_id, target.im_id) for target in BopDataset(tmp_path / "some").targets()}
    assert images == {(1, 0), (2, 3)}
    (tmp_path / "list.txt").write_text("0002/000009\n")
    for out, sentence in (("other", "has no image 9 in scene 2"), ("some", "is there already")):
        done = choose(made_dataset, tmp_path / out, "--images", str(tmp_path / "list.txt"))
        assert done.returncode == 2
        assert sentence in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "other").exists()
