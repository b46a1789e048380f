"""What all methods' inference shares: the way through the images, time by stage, estimates as rows of a result file."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pose_models import program
from pose_models.datasets.bop import BopDataset, BopScene
from pose_models.datasets.estimates import Estimates
from pose_models.detections.coco import Detections, read_detections
from pose_models.detections.filter import by_targets, check_dataset
from pose_models.methods.partial import PartialResults

NO_POSE = np.full((4, 4), np.nan)


class Clock:
    """Seconds by stage; waits for the device before it is read."""

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self.times: dict[str, float] = {}
        self._cuda = torch.device(device).type == "cuda"
        self._last = self._now()

    def _now(self) -> float:
        if self._cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    def lap(self, stage: str) -> None:
        """Count the time since the last lap to a stage."""
        now = self._now()
        self.times[stage] = self.times.get(stage, 0.0) + now - self._last
        self._last = now


def detections_of_targets(path: Path, dataset: BopDataset, split: str) -> Detections:
    """The detections of a file that poses are to be estimated for: of target objects, by image, best first.

    Raises:
        InputError: the file is unreadable or belongs to another dataset or split.
    """
    detections = read_detections(path)
    check_dataset(detections, dataset, split, path)
    return by_targets(detections, dataset.targets()).sorted()


def infer_images(
    partial: PartialResults,
    dataset: BopDataset,
    split: str,
    detections: Detections | Estimates,
    infer_image: Callable[[BopScene, int, NDArray[np.int64]], list[dict[str, Any]]],
) -> list[dict[str, Any]]:
    """Records of all images of detections, or of estimates, in order; those that `partial` has are not made again.

    Args:
        infer_image: scene, image id and rows of what the image has to their records.
    """
    images = sorted(set(zip(detections.scene_id.tolist(), detections.im_id.tolist(), strict=True)))
    scenes = {scene_id: dataset.scene(split, scene_id) for scene_id, _ in images}
    for scene_id, im_id in program.progress(images, "inference"):
        name = f"{scene_id}/{im_id}"
        if name not in partial.done:
            rows = np.flatnonzero((detections.scene_id == scene_id) & (detections.im_id == im_id))
            partial.add(name, infer_image(scenes[scene_id], im_id, rows))
    return [record for scene_id, im_id in images for record in partial.done[f"{scene_id}/{im_id}"]]


def to_estimates(
    detections: Detections, T_cam_obj: NDArray[np.float64], score: NDArray[np.float64], seconds: NDArray[np.float64]
) -> Estimates:
    """Estimates of N detections; an image's time is its detector's plus that of all its poses.

    Args:
        T_cam_obj: (N, 4, 4) mm, nan where there is no pose: such rows are left out. score, seconds: (N,).
    """
    images = np.stack([detections.scene_id, detections.im_id], axis=1)
    _, image = np.unique(images, axis=0, return_inverse=True)
    total = np.bincount(image.ravel(), weights=seconds).astype(np.float64)
    time_of = np.asarray(np.maximum(detections.time, 0.0) + total[image.ravel()], dtype=np.float64)
    found = np.isfinite(T_cam_obj).all(axis=(1, 2)) & np.isfinite(score)
    every = Estimates(
        scene_id=detections.scene_id,
        im_id=detections.im_id,
        obj_id=detections.obj_id,
        score=score,
        R=T_cam_obj[:, :3, :3],
        t=T_cam_obj[:, :3, 3],
        time=time_of,
    )
    return every.take(found)
