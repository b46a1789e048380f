"""Run lengths of masks, and COCO scores of detections whose quality is known."""

import json
import shutil

import numpy as np
import pytest

from pose_models.datasets.bop import BopDataset
from pose_models.datasets.masks import decode, encode, mask_box
from pose_models.evaluation.protocols import Run, score_files
from pose_models.evaluation.world import World
from pose_models.files import InputError


@pytest.mark.parametrize("shape", [(1, 1), (4, 7), (30, 20)])
def test_run_lengths_round_trip(shape):
    rng = np.random.default_rng(0)
    for share in (0.0, 0.3, 1.0):
        mask = rng.random(shape) < share
        rle = encode(mask)
        assert sum(rle["counts"]) == mask.size
        np.testing.assert_array_equal(decode(rle), mask)


def test_run_lengths_go_down_the_columns_and_start_with_zeros():
    assert encode(np.array([[True, False], [True, True]]))["counts"] == [0, 2, 1, 1]


def compress(counts):
    """COCO's text of run lengths, as its reference describes it: differences from the third run on, 5 bits each."""
    text = ""
    for i, count in enumerate(counts):
        x = count - counts[i - 2] if i > 2 else count
        while True:
            bits, x = x & 0x1F, x >> 5
            more = x != -1 if bits & 0x10 else x != 0
            text += chr((bits | 0x20 if more else bits) + 48)
            if not more:
                break
    return text


def test_compressed_text_is_read():
    mask = np.random.default_rng(1).random((37, 53)) < 0.4
    rle = encode(mask)
    np.testing.assert_array_equal(decode({**rle, "counts": compress(rle["counts"])}), mask)


def test_runs_that_do_not_fill_the_image_are_refused():
    with pytest.raises(ValueError, match="instead of 3 x 3"):
        decode({"counts": [4], "size": [3, 3]})


def test_box_has_plus_one():
    mask = np.zeros((9, 9), bool)
    mask[2:4, 3:8] = True
    assert mask_box(mask) == [3, 2, 5, 2]
    assert mask_box(np.zeros((3, 3), bool)) == [0, 0, 0, 0]


def detections_of(root, **change):
    """The annotations of a dataset as detections."""
    result = []
    for scene_id in (1, 2):
        content = json.loads((root / "test" / f"{scene_id:06d}" / "scene_gt_coco.json").read_text())
        for a in content["annotations"]:
            kept = {key: a[key] for key in ("image_id", "category_id", "bbox", "segmentation")}
            result.append({"scene_id": scene_id, "score": 0.9, "time": 0.1, **kept, **change})
    return result


def test_annotations_as_detections_score_one(made_dataset, tmp_path):
    path = tmp_path / "d.json"
    path.write_text(json.dumps(detections_of(made_dataset)))
    (scores,) = score_files(World(BopDataset(made_dataset)), "coco", [path], Run())
    for kind in ("bbox", "segm"):
        assert scores[kind]["AP"] == pytest.approx(1.0)
        assert scores[kind]["AR100"] == pytest.approx(1.0)
    assert scores["bbox_modal"]["AP"] <= 1.0


def test_boxes_come_from_masks_where_absent(made_dataset, tmp_path):
    path = tmp_path / "d.json"
    path.write_text(json.dumps(detections_of(made_dataset, bbox=None)))
    (scores,) = score_files(World(BopDataset(made_dataset)), "coco", [path], Run())
    assert scores["segm"]["AP"] == pytest.approx(1.0)
    assert scores["bbox_modal"]["AP"] == pytest.approx(1.0)


def test_a_broken_mask_is_named(made_dataset, tmp_path):
    path = tmp_path / "d.json"
    path.write_text(json.dumps(detections_of(made_dataset, segmentation={"counts": [3], "size": [5, 5]})))
    with pytest.raises(InputError, match=r"d\.json: record \d+: unreadable segmentation"):
        score_files(World(BopDataset(made_dataset)), "coco", [path], Run())


def test_annotations_are_made_of_masks_where_there_are_none(made_dataset, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(made_dataset, root)
    path = tmp_path / "d.json"
    records = detections_of(root)
    for number, record in enumerate(records):
        record["bbox"] = [value + number % 3 for value in record["bbox"]]
    path.write_text(json.dumps(records))
    (from_files,) = score_files(World(BopDataset(root)), "coco", [path], Run())
    for file in root.glob("test/*/scene_gt_coco*.json"):
        file.unlink()
    (from_masks,) = score_files(World(BopDataset(root)), "coco", [path], Run())
    assert 0 < from_files["bbox"]["AP"] < 1
    for kind in ("bbox", "bbox_modal", "segm", "per_object"):
        assert from_masks[kind] == from_files[kind]
    shutil.rmtree(next(root.glob("test/*/mask")))
    with pytest.raises(InputError, match=r"no scene_gt_coco\.json; make it with workflow_scripts/annotate\.py"):
        score_files(World(BopDataset(root)), "coco", [path], Run())
