"""Readers of detections that papers published: PoseCNN and Pix2Pose as CosyPose imports them (cosypose.md 11), NOCS
Mask R-CNN results (ssc6d.md 2.3), SurfEmb's arrays (surfemb.md 10).

Each reader gives a dict of arrays: scene_id, im_id, obj_id (N,) int64; score (N,) float64; ltrb (N, 4) float64, left,
top, right, bottom px; where the source has them, T_cam_obj (N, 4, 4) float64 mm (nan where the method failed), time
(N,) s for the whole image, and segmentation, N run lengths (None where absent). Pickles are read without running what
they name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from pose_models.datasets.masks import encode
from pose_models.datasets.pickles import load_arrays
from pose_models.files import InputError
from pose_models.geometry.transforms import from_rotation_translation
from pose_models.program import progress

Columns = dict[str, Any]
NOCS_FILE = re.compile(r"results_[a-z]+_(?:scene_)?(\d+)_(\d+)\.pkl$")
SURFEMB_ARRAYS = {"scene_id": "scene_ids", "im_id": "view_ids", "obj_id": "obj_ids", "score": "scores",
                  "ltrb": "bboxes", "time": "times"}  # fmt: skip
FAR_M = 100.0  # a pose of Pix2Pose further away is a failure


def posecnn_to_bop(quaternion_wxyz: ArrayLike, t_m: ArrayLike, offset_m: ArrayLike) -> NDArray[np.float64]:
    """Poses of PoseCNN in the frames of BOP's YCB-V models: T_bop = T_posecnn translation(offset)^-1 (cosypose.md 11).

    Args:
        quaternion_wxyz: (N, 4), any length. t_m: (N, 3) m.
        offset_m: (N, 3) m, what BOP added to the model's original vertices.

    Returns:
        T_cam_obj (N, 4, 4), m.
    """
    q = np.asarray(quaternion_wxyz, dtype=np.float64)
    R = Rotation.from_quat(q[:, [1, 2, 3, 0]]).as_matrix()
    return from_rotation_translation(R, np.asarray(t_m) - np.einsum("nij,nj->ni", R, np.asarray(offset_m)))


def read_offsets(path: str | Path) -> dict[int, list[float]]:
    """Offsets (mm) by object id from CosyPose's `offsets.txt` of YCB-V: lines `1  [x, y, z]`.

    Raises:
        InputError: naming the line.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InputError(f"{path}: file not found") from None
    offsets: dict[int, list[float]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        match = re.fullmatch(r"\s*(\d+)\s*[:,]?\s*(\[.*\])\s*", line)
        values = _list(match.group(2)) if match else []
        if match is None or len(values) != 3:
            raise InputError(f"{path}: line {number}: expected an object id and [x, y, z] in mm, got '{line.strip()}'")
        offsets[int(match.group(1))] = values
    return offsets


def read_posecnn(
    path: str | Path, content: Any, offsets: Mapping[int, list[float]] | None, legacy_score: bool = False
) -> Columns:
    """PoseCNN's results on YCB-V: by "scene/view", `rois` (n, 7) image, class, x1, y1, x2, y2, score; `poses` (n, 7).

    Args:
        path: to name in messages. content: of the pickle.
        offsets: mm by object id; None: no poses.
        legacy_score: take the class id as the score, as CosyPose's published 5-view numbers did by mistake.
    """
    views = list(_views(path, content, {"rois": 7, "poses": 7}))
    rois = np.concatenate([view["rois"] for *_, view in views])
    columns = _ids(views, rois[:, 1].astype(np.int64))
    columns |= {"score": rois[:, 1 if legacy_score else 6].astype(np.float64), "ltrb": rois[:, 2:6].astype(np.float64)}
    if offsets is not None:
        poses = np.concatenate([view["poses"] for *_, view in views]).astype(np.float64)
        missing = sorted(set(columns["obj_id"].tolist()) - set(offsets))
        if missing:
            raise InputError(f"{path}: object {missing[0]} has no line in the file of offsets; give that of YCB-V")
        shift = np.array([offsets[i] for i in columns["obj_id"].tolist()]) / 1000.0
        is_posed = np.isfinite(poses).all(axis=1) & (np.linalg.norm(poses[:, :4], axis=1) > 0)
        columns["T_cam_obj"] = np.full((len(poses), 4, 4), np.nan)
        columns["T_cam_obj"][is_posed] = _to_mm(
            posecnn_to_bop(poses[is_posed, :4], poses[is_posed, 4:], shift[is_posed])
        )
    return columns


def read_pix2pose(path: str | Path, content: Any) -> Columns:
    """Pix2Pose's RetinaNet results on T-LESS: by "scene/view", `rois` (n, 4) y1, x1, y2, x2; scores; labels; poses m.

    Poses without translation, or further away than 100 m, failed: they are nan.
    """
    views = list(_views(path, content, {"rois": 4, "scores": None, "labels_txt": None, "poses": (4, 4)}))
    labels = [re.search(r"(\d+)$", str(label)) for *_, view in views for label in view["labels_txt"]]
    if not all(labels):
        raise InputError(f"{path}: a label does not end with the object's number (obj_000012)")
    columns = _ids(views, np.array([int(label.group(1)) for label in labels if label], dtype=np.int64))
    rois = np.concatenate([view["rois"] for *_, view in views]).astype(np.float64)
    T = np.concatenate([view["poses"] for *_, view in views]).astype(np.float64)
    failed = ~np.isfinite(T).all(axis=(1, 2)) | (T[:, :3, 3] == 0).all(axis=1) | (T[:, :3, 3].max(axis=1) > FAR_M)
    T[failed] = np.nan
    score = np.concatenate([view["scores"] for *_, view in views]).astype(np.float64)
    return columns | {"score": score, "ltrb": rois[:, [1, 0, 3, 2]], "T_cam_obj": _to_mm(T)}


def read_nocs(path: str | Path) -> Columns:
    """Mask R-CNN results of NOCS: a folder of `results_<set>_<folder>_<image>.pkl`, one per image, or one such file.

    obj_id is the class id (1 bottle, 2 bowl, 3 camera, 4 can, 5 laptop, 6 mug); scene_id is the number of the folder.
    """
    path = Path(path)
    files = sorted(path.rglob("results_*.pkl")) if path.is_dir() else [path]
    parts: list[Columns] = []
    for file in progress(files, "NOCS results"):
        match = NOCS_FILE.search(file.name)
        if match is None:
            raise InputError(f"{file}: expected a name such as results_test_scene_1_0000.pkl")
        content = load_arrays(file)
        view = _checked(file, "", content, {"class_ids": None, "rois": 4, "scores": None})
        n, masks = len(view["class_ids"]), np.asarray(content.get("masks", np.zeros(0)))
        if masks.size and (masks.ndim != 3 or masks.shape[2] != n):
            raise InputError(f"{file}: 'masks' has shape {masks.shape} instead of (height, width, {n})")
        parts.append(
            {
                "scene_id": np.full(n, int(match.group(1))),
                "im_id": np.full(n, int(match.group(2))),
                "obj_id": view["class_ids"].astype(np.int64),
                "score": view["scores"].astype(np.float64),
                "ltrb": view["rois"].astype(np.float64)[:, [1, 0, 3, 2]],
                "segmentation": [encode(masks[..., i]) if masks.size else None for i in range(n)],
            }
        )
    if not parts:
        raise InputError(f"{path}: no results_*.pkl found")
    columns: Columns = {key: np.concatenate([p[key] for p in parts]) for key in parts[0] if key != "segmentation"}
    return columns | {"segmentation": [rle for part in parts for rle in part["segmentation"]]}


def read_surfemb(path: str | Path) -> Columns:
    """SurfEmb's arrays: a folder with scene_ids.npy, view_ids.npy, ..., or an .npz with arrays of these names."""
    path = Path(path)
    columns: Columns = {}
    try:
        archive = None if path.is_dir() else np.load(path)
        for key, name in SURFEMB_ARRAYS.items():
            values = np.load(path / f"{name}.npy") if archive is None else archive[name]
            columns[key] = values.astype(np.int64 if key.endswith("_id") else np.float64)
    except (OSError, KeyError, ValueError) as error:  # arrays of objects are refused: nothing is unpickled
        raise InputError(f"{path}: no detections of SurfEmb that could be read ({error})") from None
    n = len(columns["score"])
    wrong = [SURFEMB_ARRAYS[k] for k, v in columns.items() if v.shape != ((n, 4) if k == "ltrb" else (n,))]
    if wrong:
        raise InputError(f"{path}: '{wrong[0]}' has not as many rows as 'scores'; fetch the arrays again")
    return columns


def _views(path: str | Path, content: Any, expected: Mapping[str, Any]) -> Iterator[tuple[int, int, Columns]]:
    """Scene id, image id and arrays of each entry "scene/view", in file order."""
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path}: expected entries named 'scene/view', got {type(content).__name__}")
    for key, entry in content.items():
        match = re.fullmatch(r"(\d+)/(\d+)", str(key))
        if match is None:
            raise InputError(f"{path}: entry '{key}': expected 'scene/view', such as '48/000001'")
        yield int(match.group(1)), int(match.group(2)), _checked(path, f"entry '{key}': ", entry, expected)


def _checked(path: str | Path, where: str, entry: Any, expected: Mapping[str, Any]) -> Columns:
    """The arrays of an entry, as many rows in each; `expected` gives the shape of a row (None: a value)."""
    if not isinstance(entry, dict):
        raise InputError(f"{path}: {where}expected arrays by name, got {type(entry).__name__}")
    arrays: Columns = {}
    n = None
    for name, row in expected.items():
        if name not in entry:
            raise InputError(f"{path}: {where}no '{name}'; is it of another method? name it with --format")
        shape = () if row is None else (row,) if isinstance(row, int) else row
        values = np.asarray(entry[name])
        values = values.reshape((0, *shape)) if values.size == 0 else values
        n = len(values) if n is None else n
        if values.shape != (n, *shape):
            raise InputError(f"{path}: {where}'{name}' has shape {values.shape} instead of {(n, *shape)}")
        arrays[name] = values
    return arrays


def _ids(views: list[tuple[int, int, Columns]], obj_id: NDArray[np.int64]) -> Columns:
    counts = [len(view["rois"]) for *_, view in views]
    scene_id = np.repeat(np.array([scene for scene, *_ in views], dtype=np.int64), counts)
    return {
        "scene_id": scene_id,
        "im_id": np.repeat(np.array([v for _, v, _ in views], np.int64), counts),
        "obj_id": obj_id,
    }


def _to_mm(T: NDArray[np.float64]) -> NDArray[np.float64]:
    T = T.copy()
    T[:, :3, 3] *= 1000.0
    return T


def _list(text: str) -> list[float]:
    try:
        return [float(value) for value in json.loads(text)]
    except (ValueError, TypeError):
        return []
