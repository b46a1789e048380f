"""What all methods' inference shares: time by stage, and estimates of detections as rows of a result file."""

from __future__ import annotations

import time

import numpy as np
import torch
from numpy.typing import NDArray

from pose_models.datasets.estimates import Estimates
from pose_models.detections.coco import Detections

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
