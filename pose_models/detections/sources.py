"""Detections of any source that is known, in the one internal format: BOP COCO results (see `coco.py`).

The format is recognised from the file or named by the caller. What a source has beside boxes is kept where it can be:
masks as run lengths beside their boxes, poses as estimates, whose row i belongs to detection i.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models.datasets.estimates import Estimates
from pose_models.datasets.pickles import load_arrays
from pose_models.detections import published
from pose_models.detections.coco import TIME_TOLERANCE_S, Detections, read_detections
from pose_models.detections.cosypose_results import read_cosypose
from pose_models.files import InputError

FORMATS = {
    "bop": "BOP COCO results, such as BOP's default detections (.json, .json.gz)",
    "cosypose": "results.pth.tar of CosyPose, Mask R-CNN boxes",
    "posecnn": "PoseCNN on YCB-V, as CosyPose imports it (.pkl)",
    "pix2pose": "Pix2Pose's RetinaNet on T-LESS, as CosyPose imports it (.pkl)",
    "nocs": "Mask R-CNN results of NOCS (folder of results_*.pkl)",
    "surfemb": "SurfEmb's arrays (folder of .npy, or .npz)",
}


@dataclasses.dataclass(frozen=True)
class Imported:
    """Detections, the poses that came with them (T_cam_obj (N, 4, 4) mm, nan where one failed), what was left out."""

    detections: Detections
    T_cam_obj: NDArray[np.float64] | None = None
    notes: tuple[str, ...] = ()

    def select(self, index: NDArray[Any]) -> Imported:
        """The detections at `index` (positions, or N booleans) with their poses."""
        T = None if self.T_cam_obj is None else self.T_cam_obj[index]
        return dataclasses.replace(self, detections=self.detections.select(index), T_cam_obj=T)

    @property
    def is_posed(self) -> NDArray[np.bool_]:
        """(N,) whether a detection has a pose."""
        if self.T_cam_obj is None:
            return np.zeros(len(self.detections), dtype=bool)
        return np.asarray(np.isfinite(self.T_cam_obj).all(axis=(1, 2)))

    def estimates(self) -> Estimates:
        """The poses as estimates, row i of detection i; every detection must have a pose."""
        if self.T_cam_obj is None or not self.is_posed.all():
            raise ValueError("a detection has no pose")
        d = self.detections
        return Estimates(
            d.scene_id, d.im_id, d.obj_id, d.score, self.T_cam_obj[:, :3, :3], self.T_cam_obj[:, :3, 3], d.time
        )


def recognise(path: str | Path) -> str:
    """Name of a file's or folder's format (a key of `FORMATS`).

    Raises:
        InputError: it is none of them.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: detections not found")
    if path.is_dir():
        if (path / "scene_ids.npy").exists():
            return "surfemb"
        if next(path.rglob("results_*.pkl"), None) is not None:
            return "nocs"
    elif path.name.endswith((".json", ".json.gz")):
        return "bop"
    elif path.name.endswith((".pth.tar", ".pth", ".pt")):
        return "cosypose"
    elif path.suffix == ".npz":
        return "surfemb"
    elif path.suffix == ".pkl":
        return _kind_of_pickle(load_arrays(path)) or _unknown(path)
    return _unknown(path)


def _unknown(path: Path) -> str:
    raise InputError(f"{path}: no known format of detections; known: {', '.join(FORMATS)} (name it with --format)")


def _kind_of_pickle(content: Any) -> str | None:
    if not isinstance(content, dict) or not content:
        return None
    if {"class_ids", "rois"} <= set(content):
        return "nocs"
    entry = next(iter(content.values()))
    if not isinstance(entry, dict) or "rois" not in entry:
        return None
    return "pix2pose" if "labels_txt" in entry else "posecnn"


def read_source(
    path: str | Path,
    format: str | None = None,
    offsets_mm: Mapping[int, list[float]] | None = None,
    legacy_score: bool = False,
    need_bbox: bool = True,
) -> Imported:
    """Read detections of any known format, in file order.

    Args:
        path: file or folder.
        format: a key of `FORMATS`; None: recognised.
        offsets_mm: PoseCNN only: by object id, what BOP added to the vertices of YCB-V's models; without it the poses
            would be in other frames than the models, so they are left out.
        legacy_score: PoseCNN only: class ids as scores, as CosyPose's published 5-view numbers had them.
        need_bbox: refuse BOP records without a box.

    Raises:
        InputError: unknown format, unreadable or malicious file, no detections.
    """
    path = Path(path)
    kind = format or recognise(path)
    if kind not in FORMATS:
        raise InputError(f"--format {kind}: not known; known: {', '.join(FORMATS)}")
    if kind == "bop":
        return Imported(read_detections(path, need_bbox))
    if kind == "cosypose":
        return _checked(path, read_cosypose(path))
    if kind == "surfemb":
        return _checked(path, published.read_surfemb(path))
    if kind == "nocs":
        return _checked(path, published.read_nocs(path))
    content = load_arrays(path)
    if kind == "pix2pose":
        return _checked(path, published.read_pix2pose(path, content))
    imported = _checked(path, published.read_posecnn(path, content, offsets_mm, legacy_score))
    if offsets_mm is None:
        note = "its poses are in PoseCNN's own object frames and were left out; --offsets brings them to BOP's"
        imported = dataclasses.replace(imported, notes=(*imported.notes, note))
    return imported


def _checked(path: Path, columns: dict[str, Any]) -> Imported:
    """Columns of a reader as detections; boxes without area and values that are not finite are left out and counted."""
    ltrb, score = columns["ltrb"], columns["score"]
    if len(score) == 0:
        raise InputError(f"{path}: no detections in it; run the detector again")
    xywh = np.concatenate([ltrb[:, :2], ltrb[:, 2:] - ltrb[:, :2]], axis=1)
    scene_id, im_id, obj_id = columns["scene_id"], columns["im_id"], columns["obj_id"]
    time, notes = _image_times(scene_id, im_id, columns.get("time", np.full(len(score), -1.0)))
    segmentation = tuple(columns["segmentation"]) if "segmentation" in columns else None
    detections = Detections(scene_id, im_id, obj_id, score, xywh, time, segmentation)
    imported = Imported(detections, columns.get("T_cam_obj"), notes)
    is_good = np.isfinite(xywh).all(axis=1) & np.isfinite(score) & (xywh[:, 2:] > 0).all(axis=1)
    if is_good.all():
        return imported
    if not is_good.any():
        raise InputError(f"{path}: none of its {len(score)} boxes has an area; is it of another format?")
    note = f"{int((~is_good).sum())} of {len(score)} boxes have no area or no finite score and were left out"
    return dataclasses.replace(imported.select(is_good), notes=(*notes, note))


def _image_times(
    scene_id: NDArray[np.int64], im_id: NDArray[np.int64], time: NDArray[np.float64]
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Times (N,) of whole images: where the rows of an image disagree, the largest; and a note that says so."""
    time = np.where(np.isfinite(time), time, -1.0)
    _, image = np.unique(np.stack([scene_id, im_id], axis=1), axis=0, return_inverse=True)
    largest = np.full(image.max() + 1, -np.inf)
    np.maximum.at(largest, image, time)
    differ = np.unique(image[largest[image] - time > TIME_TOLERANCE_S])
    if not len(differ):
        return time, ()
    return largest[image], (f"times differ within {len(differ)} images: the largest of an image counts",)
