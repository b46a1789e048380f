"""SurfEmb on images in memory (see `pose_models.methods.api`)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from pose_models.methods.api import Estimate, OfModel, View, checked_view, find_folders, inference_settings
from pose_models.methods.results import NO_POSE
from pose_models.methods.surfemb.infer import CropAnswer, Estimator
from pose_models.methods.surfemb.model import load_model
from pose_models.training.devices import lease_device


class SurfEmb(OfModel[Estimator]):
    """A trained SurfEmb model; implements `pose_models.methods.api.PoseEstimator`.

    The first estimate of an object also computes its keys and loads its mesh; `prepare` does it ahead.
    """

    @classmethod
    def from_checkpoint(
        cls, path: str | Path, *, models: str | Path | None = None, surface: str | Path | None = None,
        device: str = "auto", settings: Mapping[str, Any] | None = None,
    ) -> Self:  # fmt: skip
        """Read a model; see `PoseEstimator.from_checkpoint`. Released checkpoints: import_released.py first."""
        checkpoint = Path(path)
        model = load_model(checkpoint)
        infer = inference_settings(checkpoint, model.settings.infer, settings)
        meshes, samples = find_folders(checkpoint, models, surface)
        return cls(Estimator(model, infer, meshes, samples, lease_device(device)))

    def prepare(self, obj_ids: Sequence[int] | None = None) -> None:
        """Load meshes and compute keys of some objects, or of all, so that no estimate has to wait for them."""
        for obj_id in self.object_ids if obj_ids is None else obj_ids:
            self.estimator.surface(obj_id)

    def estimate(
        self, image: ArrayLike, K: ArrayLike, boxes: ArrayLike, obj_ids: Sequence[int], depth: ArrayLike | None = None
    ) -> list[Estimate]:
        """Estimate the pose of the object in each box; see `PoseEstimator.estimate`.

        Scores are those of the paper: 0 is perfect, about -2 is chance. `times`: `network` (the mean
        of the image's boxes, which share batches on a GPU), `pose` and, with a depth image, `depth`.
        """
        view = checked_view(image, K, boxes, obj_ids, depth, self.object_ids)
        self.prepare(sorted(set(view.obj_ids)))
        clock, crops = Clock(), [self.estimator.crop(box) for box in view.boxes_ltrb]
        answers = self.estimator.answer_crops(view.image, view.K, view.obj_ids, crops)
        clock.lap("network")
        seconds = clock.times["network"] / max(len(answers), 1)
        return [self._estimate(view, index, answer, seconds) for index, answer in enumerate(answers)]

    def _estimate(self, view: View, index: int, answer: CropAnswer, network_seconds: float) -> Estimate:
        estimator, obj_id = self.estimator, view.obj_ids[index]
        clock = Clock({"network": network_seconds})
        found = estimator.estimate(answer, obj_id, np.random.default_rng([estimator.settings.seed, index]))
        clock.lap("pose")
        T = NO_POSE if found is None else found.T_cam_obj
        if found is not None and view.depth is not None:
            T = estimator.correct_depth(answer, T, obj_id, view.depth, view.K)
            clock.lap("depth")
        x, y, width, height = view.boxes_xywh[index].tolist()
        score = -np.inf if found is None else found.score
        return Estimate(obj_id, T, score, (x, y, width, height), clock.times)


class Clock:
    """Seconds between laps, by name."""

    def __init__(self, times: Mapping[str, float] | None = None) -> None:
        self.times = dict(times or {})
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Note the time since the last lap."""
        now = time.perf_counter()
        self.times[name], self._last = now - self._last, now
