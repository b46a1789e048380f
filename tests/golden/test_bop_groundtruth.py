"""Reference vectors of BOP evaluation: scene_gt_info, masks and COCO annotations of synbop.zip."""

import json
import shutil

import numpy as np
import pytest

from pose_models.datasets.bop import BopDataset
from pose_models.datasets.masks import decode
from pose_models.evaluation.groundtruth import AMODAL, INFO, MODAL, annotate_image, write_scene
from pose_models.meshes.mesh import load_mesh


@pytest.fixture(scope="module")
def made_and_given(golden_zips, tmp_path_factory):
    """Pairs of scenes: annotated here, annotated by the reference."""
    dataset, _ = golden_zips("bop", "synbop*.zip")[0]
    copy = tmp_path_factory.mktemp("made") / dataset.name
    shutil.copytree(dataset, copy)
    made, given = BopDataset(copy), BopDataset(dataset)
    pairs = []
    for scene_id in made.scene_ids("test"):
        scene = made.scene("test", scene_id)
        images = [annotate_image(scene, i, lambda o: load_mesh(made.model_path(o)), 15.0) for i in scene.image_ids]
        write_scene(scene, images, made.name)
        pairs.append((made.scene("test", scene_id), given.scene("test", scene_id)))
    return pairs


def test_infos(made_and_given):
    for made, given in made_and_given:
        assert set(made.ground_truth_info) == set(given.ground_truth_info)
        for im_id, expected in given.ground_truth_info.items():
            for got, want in zip(made.ground_truth_info[im_id], expected, strict=True):
                for key in ("px_count_all", "px_count_valid", "px_count_visib"):
                    assert abs(getattr(got, key) - getattr(want, key)) <= 3
                assert got.visib_fract == pytest.approx(want.visib_fract, abs=0.003)
                for key in ("bbox_obj", "bbox_visib"):
                    assert np.abs(np.subtract(getattr(got, key), getattr(want, key))).max() <= 1


def test_masks(made_and_given):
    for made, given in made_and_given:
        for im_id, instances in given.ground_truth.items():
            for instance in instances:
                for visible in (True, False):
                    difference = made.mask(im_id, instance.gt_id, visible) ^ given.mask(im_id, instance.gt_id, visible)
                    assert difference.sum() <= 3


@pytest.mark.parametrize("name", [AMODAL, MODAL])
def test_coco_annotations(made_and_given, name):
    for made, given in made_and_given:
        got, want = (json.loads((scene.path / name).read_text()) for scene in (made, given))
        assert got["categories"] == want["categories"]
        assert [i["id"] for i in got["images"]] == [i["id"] for i in want["images"]]
        assert [i["file_name"] for i in got["images"]] == [i["file_name"] for i in want["images"]]
        assert len(got["annotations"]) == len(want["annotations"])
        for a, b in zip(got["annotations"], want["annotations"], strict=True):
            for key in ("id", "image_id", "category_id", "iscrowd", "ignore", "width", "height"):
                assert a[key] == b[key]
            assert abs(a["area"] - b["area"]) <= 3
            assert np.abs(np.subtract(a["bbox"], b["bbox"])).max() <= 1
            assert (decode(a["segmentation"]) ^ decode(b["segmentation"])).sum() <= 3


def test_info_file_has_the_keys_of_the_reference(made_and_given):
    for made, given in made_and_given:
        got, want = (json.loads((scene.path / INFO).read_text()) for scene in (made, given))
        image = next(iter(want))
        assert set(got[image][0]) == set(want[image][0])
