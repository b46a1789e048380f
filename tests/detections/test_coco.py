"""Detections files: what is read, what is refused and in which words, what is written."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from pose_models.detections.coco import read_detections, write_detections
from pose_models.files import InputError

GOOD = {"scene_id": 1, "image_id": 2, "category_id": 3, "score": 0.5, "bbox": [10.5, 20, 30, 40.25], "time": 0.25}


def _write(path: Path, records: object) -> Path:
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


def test_records_become_arrays_in_file_order(tmp_path):
    path = _write(tmp_path / "d.json", [GOOD, {**GOOD, "score": 0.75, "category_id": 1}])
    detections = read_detections(path)
    assert len(detections) == 2
    assert detections.obj_id.tolist() == [3, 1]
    assert detections.score.tolist() == [0.5, 0.75]
    np.testing.assert_array_equal(detections.bbox_xywh[0], [10.5, 20, 30, 40.25])
    np.testing.assert_array_equal(detections.bbox_ltrb[0], [10.5, 20, 40.5, 60.25])
    assert detections.segmentation is None


def test_time_is_minus_one_where_absent(tmp_path):
    record = {key: value for key, value in GOOD.items() if key != "time"}
    assert read_detections(_write(tmp_path / "d.json", [record])).time.tolist() == [-1.0]


@pytest.mark.parametrize("name", ["d.json", "d.json.gz"])
def test_round_trip_keeps_every_digit(tmp_path, name):
    rng = np.random.default_rng(0)
    records = [
        {**GOOD, "score": float(rng.uniform()), "bbox": rng.uniform(1, 99, 4).tolist(), "image_id": int(im), "time": -1}
        for im in rng.integers(0, 4, 30)
    ]
    first = read_detections(_write(tmp_path / "in.json", records)).sorted()
    write_detections(tmp_path / name, first)
    again = read_detections(tmp_path / name)
    for field in ("scene_id", "im_id", "obj_id", "score", "bbox_xywh", "time"):
        np.testing.assert_array_equal(getattr(again, field), getattr(first, field))


def test_written_file_is_sorted_and_independent_of_input_order(tmp_path):
    records = [{**GOOD, "score": s, "image_id": i} for i, s in ((2, 0.1), (1, 0.2), (1, 0.9), (2, 0.3))]
    for name, order in (("a", records), ("b", records[::-1])):
        write_detections(tmp_path / f"{name}.json.gz", read_detections(_write(tmp_path / f"{name}.json", order)))
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()
    written = json.loads(gzip.decompress((tmp_path / "a.json.gz").read_bytes()))
    assert [(r["image_id"], r["score"]) for r in written] == [(1, 0.9), (1, 0.2), (2, 0.3), (2, 0.1)]


def test_segmentation_is_kept_as_it_is(tmp_path):
    rle = {"counts": "abc", "size": [4, 5]}
    records = [{**GOOD, "score": 0.9, "segmentation": rle}, GOOD]
    write_detections(tmp_path / "out.json", read_detections(_write(tmp_path / "d.json", records)))
    written = json.loads((tmp_path / "out.json").read_text())
    assert written[0]["segmentation"] == rle
    assert "segmentation" not in written[1]


def test_record_with_segmentation_only_is_read_on_demand(tmp_path):
    record = {**GOOD, "bbox": [], "segmentation": {"counts": [1, 2], "size": [1, 3]}}
    path = _write(tmp_path / "d.json", [record])
    with pytest.raises(InputError, match="record 0: no key 'bbox'"):
        read_detections(path)
    assert np.isnan(read_detections(path, need_bbox=False).bbox_xywh).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scene_id": 1.0}, "record 1: 'scene_id' must be an integer, got 1.0"),
        ({"image_id": "7"}, "record 1: 'image_id' must be an integer, got '7'"),
        ({"category_id": True}, "record 1: 'category_id' must be an integer"),
        ({"score": float("nan")}, "record 1: 'score' must be a finite number"),
        ({"score": None}, "record 1: 'score' must be a finite number"),
        ({"bbox": [1, 2, 3]}, "record 1: 'bbox' must be 4 finite numbers"),
        ({"bbox": [1, 2, 3, float("inf")]}, "record 1: 'bbox' must be 4 finite numbers"),
        ({"bbox": [1, 2, 0, 4]}, "record 1: 'bbox' must have positive width and height"),
        ({"time": "fast"}, "record 1: 'time' must be a finite number"),
        ({"time": 0.3}, "record 1: time 0.3 s differs from 0.25 s of an earlier record of scene 1, image 2"),
    ],
)
def test_wrong_record_is_named(tmp_path, change, message):
    path = _write(tmp_path / "d.json", [GOOD, {**GOOD, **change}])
    with pytest.raises(InputError) as error:
        read_detections(path)
    assert str(error.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize("key", ["scene_id", "image_id", "category_id", "score", "bbox"])
def test_missing_key_is_named(tmp_path, key):
    path = _write(tmp_path / "d.json", [{k: v for k, v in GOOD.items() if k != key}])
    with pytest.raises(InputError, match=f"record 0: no key '{key}'"):
        read_detections(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "the list of detections is empty"),
        (b'{"a": 1}', "expected a list of detections"),
        (b"[1]", "record 0: expected an object"),
        (b'[{"scene_id": 1', "not valid JSON"),
    ],
)
def test_wrong_file_is_named(tmp_path, content, message):
    path = tmp_path / "d.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_detections(path)


def test_truncated_gzip_is_named(tmp_path):
    path = tmp_path / "d.json.gz"
    path.write_bytes(gzip.compress(json.dumps([GOOD] * 100).encode())[:-20])
    with pytest.raises(InputError, match="not valid JSON"):
        read_detections(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="detections file not found"):
        read_detections(tmp_path / "none.json")
