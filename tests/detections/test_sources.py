"""Published detections of every known format come out as the same internal ones; strange files are refused."""

import pickle
import sys
import types

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from pose_models.datasets.masks import decode
from pose_models.detections.published import read_offsets
from pose_models.detections.sources import read_source, recognise
from pose_models.files import InputError

SCENE, IMAGE, OBJ = [48, 48, 59], [1, 1, 1917], [2, 5, 2]
SCORE, LTRB = [0.9, 0.25, 0.5], [[10.0, 20, 40, 60], [5, 6, 7, 9], [100, 50, 101, 52]]
XYWH = [[10, 20, 30, 40], [5, 6, 2, 3], [100, 50, 1, 2]]
T_M = np.tile(np.eye(4), (3, 1, 1))
T_M[:, :3, :3] = Rotation.from_rotvec([[0.1, 0.2, 0.3], [2, 0, 0], [0, 0, -1]]).as_matrix()
T_M[:, :3, 3] = [[0.1, -0.2, 0.9], [0, 0.05, 1.1], [0.3, 0.3, 0.7]]


def dump(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))
    return path


def check(imported, scores=SCORE):
    d = imported.detections
    assert (d.scene_id.tolist(), d.im_id.tolist(), d.obj_id.tolist()) == (SCENE, IMAGE, OBJ)
    np.testing.assert_allclose(d.score, scores, rtol=1e-6)
    np.testing.assert_allclose(d.bbox_xywh, XYWH, rtol=1e-6)


def posecnn(tmp_path, offset_m=(0, 0, 0)):
    quaternion = Rotation.from_matrix(T_M[:, :3, :3]).as_quat()[:, [3, 0, 1, 2]]
    t = T_M[:, :3, 3] + T_M[:, :3, :3] @ np.array(offset_m)
    rois = np.column_stack([np.zeros(3), OBJ, LTRB, SCORE])
    poses = np.column_stack([quaternion, t])
    views = {"48/000001": {"rois": rois[:2], "poses": poses[:2]}, "59/001917": {"rois": rois[2:], "poses": poses[2:]}}
    return dump(tmp_path / "ycbv_posecnn.pkl", views)


def pix2pose(tmp_path, T=T_M):
    boxes, labels = np.array(LTRB)[:, [1, 0, 3, 2]], [f"obj_{obj:06d}" for obj in OBJ]
    rows = (slice(0, 2), slice(2, 3))
    views = [{"rois": boxes[i], "scores": np.array(SCORE)[i], "labels_txt": labels[i], "poses": T[i]} for i in rows]
    return dump(tmp_path / "pix2pose.pkl", dict(zip(("48/1", "59/1917"), views, strict=True)))


def nocs(tmp_path):
    masks = np.zeros((6, 8, 2), dtype=bool)
    masks[2:4, 1:5, 0] = True
    boxes = np.array(LTRB, dtype=np.int32)[:, [1, 0, 3, 2]]
    for name, i in (("results_test_scene_48_0001.pkl", slice(0, 2)), ("results_test_scene_59_1917.pkl", slice(2, 3))):
        n = len(boxes[i])
        content = {
            "class_ids": np.array(OBJ)[i],
            "rois": boxes[i],
            "scores": np.float32(SCORE)[i],
            "masks": masks[..., :n],
        }
        dump(tmp_path / "mrcnn" / "real_test" / name, content)
    return tmp_path / "mrcnn"


def surfemb(tmp_path):
    folder = tmp_path / "ycbv"
    folder.mkdir()
    arrays = {
        "scene_ids": SCENE,
        "view_ids": IMAGE,
        "obj_ids": OBJ,
        "scores": SCORE,
        "bboxes": LTRB,
        "times": [0.5, 0.5, 1],
    }
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", np.array(values))
    return folder


def fake_module(monkeypatch, name, **content):
    module = types.ModuleType(name)
    for key, value in content.items():
        value.__module__, value.__qualname__ = name, key
        setattr(module, key, value)
    monkeypatch.setitem(sys.modules, name, module)


class Collection:
    """Pickled under CosyPose's name and in its way: the state is a dict of tensors, infos, meta."""

    def __init__(self, infos, **tensors):
        self.infos, self.tensors = infos, tensors

    def __getstate__(self):
        return {"tensors": self.tensors, "infos": self.infos, "meta": {}}


class OldIndex:
    def __init__(self, values):
        self.values = values

    def __reduce__(self):
        return new_index, (OldIndex, {"data": np.array(self.values, dtype=object), "name": None})


def new_index(kind, content):
    raise AssertionError("only named, never called")


class OldBlocks:
    """pandas 0.25: state (axes, values, items, {"0.14.1": ...}); columns of one type share a block."""

    def __init__(self, columns):
        self.columns = columns

    def __getstate__(self):
        names = list(self.columns)
        kinds = {}
        for i, values in enumerate(self.columns.values()):
            kinds.setdefault(np.asarray(values).dtype.kind, []).append(i)
        blocks = []
        for places in kinds.values():
            values = [np.asarray(self.columns[names[i]]) for i in places]
            values = [v.astype(object) if v.dtype.kind == "U" else v for v in values]
            where = (
                slice(places[0], places[-1] + 1, 1)
                if places == list(range(places[0], places[-1] + 1))
                else np.array(places)
            )
            blocks.append({"values": np.stack(values), "mgr_locs": where})
        axes = [OldIndex(names), OldIndex([])]
        return axes, [b["values"] for b in blocks], [], {"0.14.1": {"axes": axes, "blocks": blocks}}


class OldFrame:
    def __init__(self, columns):
        self.columns = columns

    def __getstate__(self):
        return {"_data": OldBlocks(self.columns), "_typ": "dataframe", "_metadata": []}


def results(frame, path, is_zip=True, time=(0.5, 0.7, 1.0), **more):
    infos = {"scene_id": SCENE, "label": [f"obj_{obj:06d}" for obj in OBJ], "score": SCORE, "view_id": IMAGE}
    boxes, poses = torch.tensor(LTRB), torch.tensor(T_M, dtype=torch.float32)
    shifted = poses.clone()
    shifted[:, 2, 3] += 1
    predictions = {
        "maskrcnn_detections/detections": Collection(frame(infos), bboxes=boxes),
        "maskrcnn_detections/coarse/iteration=1": Collection(frame({**infos, "time": list(time)}), poses=shifted),
        "maskrcnn_detections/refiner/iteration=2": Collection(frame(infos), poses=shifted),
        "maskrcnn_detections/refiner/iteration=10": Collection(frame(infos), poses=poses),
    }
    torch.save({"predictions": predictions, "metrics": {}, **more}, path, _use_new_zipfile_serialization=is_zip)
    return path


@pytest.fixture
def old_names(monkeypatch):
    """Names of CosyPose and of pandas 0.25 while a file is written; reading must do without them."""
    fake_module(monkeypatch, "cosypose")
    fake_module(monkeypatch, "cosypose.utils")
    fake_module(monkeypatch, "cosypose.utils.tensor_collection", PandasTensorCollection=Collection)


@pytest.fixture
def old_pandas(monkeypatch, old_names):
    for name in ("pandas", "pandas.core", "pandas.core.internals", "pandas.core.indexes"):
        fake_module(monkeypatch, name)
    fake_module(monkeypatch, "pandas.core.frame", DataFrame=OldFrame)
    fake_module(monkeypatch, "pandas.core.internals.managers", BlockManager=OldBlocks)
    fake_module(monkeypatch, "pandas.core.indexes.base", Index=OldIndex, _new_Index=new_index)


@pytest.mark.parametrize("is_zip", [False, True])
def test_cosypose_results_with_tables_of_old_pandas(tmp_path, old_pandas, is_zip):
    path = results(OldFrame, tmp_path / "results.pth.tar", is_zip)
    assert recognise(path) == "cosypose"
    imported = read_source(path)
    check(imported)
    np.testing.assert_allclose(imported.T_cam_obj[:, :3, 3], 1000 * T_M[:, :3, 3], atol=1e-3)  # of iteration 10
    assert imported.detections.time.tolist() == [0.7, 0.7, 1.0]
    assert imported.notes == ("times differ within 1 images: the largest of an image counts",)


def test_cosypose_results_with_tables_of_the_pandas_that_is_installed(tmp_path, old_names):
    pandas = pytest.importorskip("pandas")

    def frame(columns):
        table = pandas.DataFrame(
            {key: np.array(v, dtype=object) if key == "label" else v for key, v in columns.items()}
        )
        table["label"] = table["label"].astype(object)
        table.columns = pandas.Index(list(columns), dtype=object)
        return table

    imported = read_source(results(frame, tmp_path / "results.pth.tar", time=(0.5, 0.5, 1)))
    check(imported)
    assert imported.detections.time.tolist() == [0.5, 0.5, 1.0]
    assert not imported.notes


class Malicious:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return exec, (f"open({str(self.mark)!r}, 'w')",)


def test_malicious_results_are_refused_and_not_executed(tmp_path, old_pandas):
    path = results(OldFrame, tmp_path / "results.pth.tar", more=Malicious(tmp_path / "executed"))
    with pytest.raises(
        InputError, match=r"results\.pth\.tar: no results of CosyPose.*names .*exec; nothing was executed"
    ):
        read_source(path)
    path = dump(tmp_path / "x.pkl", {"48/1": {"rois": Malicious(tmp_path / "executed")}})
    with pytest.raises(InputError, match="nothing was executed"):
        read_source(path)
    assert not (tmp_path / "executed").exists()


def test_posecnn_poses_come_in_bop_frames(tmp_path):
    offset = np.array([0.01, -0.02, 0.03])
    offsets = {2: (1000 * offset).tolist(), 5: (1000 * offset).tolist()}
    path = posecnn(tmp_path, offset)
    assert recognise(path) == "posecnn"
    imported = read_source(path, offsets_mm=offsets)
    check(imported)
    np.testing.assert_allclose(imported.T_cam_obj[:, :3, 3], 1000 * T_M[:, :3, 3], atol=1e-9)
    np.testing.assert_allclose(imported.estimates().R, T_M[:, :3, :3], atol=1e-12)


def test_posecnn_without_offsets_gives_boxes_and_says_so(tmp_path):
    imported = read_source(posecnn(tmp_path))
    check(imported)
    assert imported.T_cam_obj is None
    assert "--offsets" in imported.notes[0]


def test_posecnn_legacy_score_is_the_class(tmp_path):
    check(read_source(posecnn(tmp_path), legacy_score=True), scores=OBJ)


def test_offsets_file_of_cosypose(tmp_path):
    path = tmp_path / "offsets.txt"
    path.write_text("1  [1.5, -0.5, 3]\n21 [0, 0, 1e-1]\n")
    assert read_offsets(path) == {1: [1.5, -0.5, 3.0], 21: [0.0, 0.0, 0.1]}
    path.write_text("1 [1, 2]\n")
    with pytest.raises(InputError, match="line 1: expected an object id"):
        read_offsets(path)
    with pytest.raises(InputError, match="object 2 has no line"):
        read_source(posecnn(tmp_path), offsets_mm={5: [0.0, 0, 0]})


def test_pix2pose_boxes_are_turned_and_failed_poses_marked(tmp_path):
    T = T_M.copy()
    T[1, :3, 3] = 0
    path = pix2pose(tmp_path, T)
    assert recognise(path) == "pix2pose"
    imported = read_source(path)
    check(imported)
    assert imported.is_posed.tolist() == [True, False, True]
    np.testing.assert_allclose(imported.T_cam_obj[2, :3, 3], [300, 300, 700])


def test_nocs_masks_are_kept_as_run_lengths(tmp_path):
    folder = nocs(tmp_path)
    assert recognise(folder) == "nocs"
    imported = read_source(folder)
    check(imported)
    mask = decode(imported.detections.segmentation[0])
    assert mask.shape == (6, 8)
    assert mask[2:4, 1:5].all()
    assert mask.sum() == 8
    assert len(read_source(folder / "real_test" / "results_test_scene_59_1917.pkl").detections) == 1


def test_surfemb_arrays(tmp_path):
    folder = surfemb(tmp_path)
    assert recognise(folder) == "surfemb"
    check(read_source(folder))
    np.savez(tmp_path / "all.npz", **{file.stem: np.load(file) for file in folder.iterdir()})
    imported = read_source(tmp_path / "all.npz")
    check(imported)
    assert imported.detections.time.tolist() == [0.5, 0.5, 1.0]
    np.save(folder / "times.npy", np.array([1.0]))
    with pytest.raises(InputError, match="'times' has not as many rows as 'scores'"):
        read_source(folder)


def test_boxes_without_area_are_left_out_and_counted(tmp_path):
    folder = surfemb(tmp_path)
    boxes = np.array(LTRB)
    boxes[1, 2] = boxes[1, 0]
    np.save(folder / "bboxes.npy", boxes)
    imported = read_source(folder)
    assert imported.detections.obj_id.tolist() == [2, 2]
    assert imported.notes == ("1 of 3 boxes have no area or no finite score and were left out",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"48/1": {"rois": np.zeros((2, 7)), "poses": np.zeros((1, 7))}}, r"entry '48/1': 'poses' has shape \(1, 7\)"),
        ({"48-1": {"rois": np.zeros((2, 7)), "poses": np.zeros((2, 7))}}, "entry '48-1': expected 'scene/view'"),
        ({"48/1": {"rois": np.zeros((0, 7)), "poses": []}}, "no detections in it"),
        ({"48/1": {"rois": np.zeros((1, 7)), "poses": np.zeros((1, 7))}}, "none of its 1 boxes has an area"),
        ({"a": 1}, "no known format of detections"),
    ],
)
def test_strange_content_is_named(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        read_source(dump(tmp_path / "x.pkl", content))
