"""The poses that a method goes through on the way to its estimate: `poses.npz` beside `estimates.csv`."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models.detections.coco import Detections
from pose_models.files import InputError, atomic_path

FILE = "poses.npz"
NAMES = "passes"  # the one array that is not by detection


@dataclasses.dataclass(frozen=True)
class PassPoses:
    """Poses of N detections after each of P passes.

    names: (P,), the first poses first. scene_id, im_id, obj_id, score: (N,). bbox_xywh: (N, 4) px, the boxes they began
    with, nan where poses began with poses. T_cam_obj: (N, P, 4, 4) mm, nan where there is none.
    """

    names: tuple[str, ...]
    scene_id: NDArray[np.int64]
    im_id: NDArray[np.int64]
    obj_id: NDArray[np.int64]
    score: NDArray[np.float64]
    bbox_xywh: NDArray[np.float64]
    T_cam_obj: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.score)


def write_passes(
    path: Path, detections: Detections, names: Sequence[str], T_cam_obj: NDArray[np.float64],
    score: NDArray[np.float64], seconds: Sequence[Mapping[str, float]], **more: NDArray[Any],
) -> None:  # fmt: skip
    """Write what a result file has no room for.

    Arrays of length N, one entry per detection: index (N, 3) scene, image and object id; bbox (N, 4) x, y, w, h px;
    T (N, P, 4, 4) mm, nan where there is no pose; score (N,); seconds_<stage> (N,); `more`. Besides, `passes` (P,):
    their names.

    Args:
        T_cam_obj: (N, P, 4, 4). seconds: of each detection, by stage.
    """
    stages = sorted({stage for times in seconds for stage in times})
    arrays: dict[str, Any] = {
        NAMES: np.array(names),
        "index": np.stack([detections.scene_id, detections.im_id, detections.obj_id], axis=1),
        "bbox": detections.bbox_xywh,
        "T": T_cam_obj.reshape(-1, len(names), 4, 4),
        "score": score,
        **more,
        **{f"seconds_{stage}": np.array([times.get(stage, 0.0) for times in seconds]) for stage in stages},
    }
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


def read_passes(path: Path) -> PassPoses:
    """Read what `write_passes` wrote.

    Raises:
        InputError: missing, unreadable, or without an array.
    """
    if not path.exists():
        raise InputError(f"{path}: not found; infer.py writes it beside its estimates")
    try:
        with np.load(path, allow_pickle=False) as content:
            names, index, boxes, T, score = (content[name] for name in (NAMES, "index", "bbox", "T", "score"))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: unreadable or of another version ({error}); run infer.py again") from None
    if T.shape != (len(index), len(names), 4, 4) or boxes.shape != (len(index), 4):
        raise InputError(f"{path}: {len(index)} detections and {len(names)} passes do not fit poses {T.shape}")
    scene_id, im_id, obj_id = index.T.astype(np.int64)
    return PassPoses(tuple(names.tolist()), scene_id, im_id, obj_id, score, boxes, T)
