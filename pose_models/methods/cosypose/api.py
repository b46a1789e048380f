"""CosyPose on images in memory (see `pose_models.methods.api`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from pose_models.files import InputError
from pose_models.methods.api import Estimate, OfModel, checked_view, find_models, inference_settings
from pose_models.methods.cosypose.estimate import Estimator
from pose_models.methods.cosypose.model import load_model
from pose_models.methods.results import NO_POSE
from pose_models.training.devices import lease_device


class CosyPose(OfModel[Estimator]):
    """A trained CosyPose model; implements `pose_models.methods.api.PoseEstimator`."""

    @classmethod
    def from_checkpoint(
        cls, path: str | Path, *, models: str | Path | None = None, surface: str | Path | None = None,
        device: str = "auto", settings: Mapping[str, Any] | None = None,
    ) -> Self:  # fmt: skip
        """Read a model; see `PoseEstimator.from_checkpoint`. Surface samples are not needed."""
        checkpoint = Path(path)
        model = load_model(checkpoint)
        infer = inference_settings(checkpoint, model.settings.infer, settings)
        return cls(Estimator(model, infer, find_models(checkpoint, models), lease_device(device)))

    def estimate(
        self, image: ArrayLike, K: ArrayLike, boxes: ArrayLike, obj_ids: Sequence[int], depth: ArrayLike | None = None,
        scores: ArrayLike | None = None, poses: ArrayLike | None = None,
    ) -> list[Estimate]:  # fmt: skip
        """Estimate the pose of the object in each box; see `PoseEstimator.estimate`.

        CosyPose gives poses no scores of its own: an estimate's is that of its box. `times`: `start`, `coarse`,
        `refiner`, an equal share of the image's each.

        Args:
            scores: (N,) of the boxes, 1 where they are not given.
            poses: (N, 4, 4) mm, where to start in place of the boxes, such as estimates of another method or of the
                previous frame; with `settings={"coarse_iterations": 0}` they are only refined.
        """
        if depth is not None:
            raise InputError("depth: CosyPose does not use it; leave it out and refine its estimates by ICP")
        view = checked_view(image, K, boxes, obj_ids, depth, self.object_ids)
        count = len(view.obj_ids)
        score = np.ones(count) if scores is None else np.asarray(scores, dtype=np.float64)
        if score.shape != (count,):
            raise InputError(f"scores: expected ({count},), one per box, got {score.shape}")
        first = None if poses is None else np.asarray(poses, dtype=np.float64)
        if first is not None and (first.shape != (count, 4, 4) or not np.isfinite(first).all()):
            raise InputError(f"poses: expected ({count}, 4, 4) finite numbers, one per box, got {first.shape}")
        if not count:
            return []
        if first is None:
            passes = self.estimator.estimate(view.image, view.K, view.obj_ids, view.boxes_ltrb)
        else:
            passes = self.estimator.refine(view.image, view.K, view.obj_ids, first)
        times = {stage: seconds / count for stage, seconds in passes.times.items()}
        estimates = []
        for number, (obj_id, T) in enumerate(zip(view.obj_ids, passes.T_cam_obj[-1], strict=True)):
            x, y, width, height = view.boxes_xywh[number].tolist()
            found = bool(np.isfinite(T).all()) and T[2, 3] > 0
            value = float(score[number]) if found else -np.inf
            estimates.append(Estimate(obj_id, T if found else NO_POSE, value, (x, y, width, height), times))
        return estimates
