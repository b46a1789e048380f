"""CosyPose's refiner for the estimates of any method: passes of render-and-compare from the poses that there are."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models.datasets.bop import BopDataset, BopScene
from pose_models.datasets.estimates import Estimates
from pose_models.detections.coco import Detections
from pose_models.files import file_digest, json_digest
from pose_models.methods.cosypose.config import InferSettings, RefineSettings
from pose_models.methods.cosypose.estimate import Estimator
from pose_models.methods.cosypose.model import load_model
from pose_models.methods.partial import PartialResults
from pose_models.methods.passes import FILE, write_passes
from pose_models.methods.results import infer_images


def refine(
    settings: RefineSettings, checkpoint: Path, dataset: BopDataset, split: str, estimates: Estimates, out: Path,
    device: str,
) -> Estimates:  # fmt: skip
    """Refine N estimates; scores and order stay, and so does a pose that the passes lose.

    Beside `out` lies `poses.npz`: poses after every pass, and seconds by stage. A killed run continues at the image
    where it was. An image's time is that of its estimates plus that of its passes.

    Args:
        out: the file that the estimates will be written to; partial results lie beside it.

    Raises:
        InputError: no such checkpoint, one without a refiner, or an object that it does not know.
    """
    infer = InferSettings(coarse_iterations=0, refiner_iterations=settings.passes, batch_size=settings.batch_size)
    estimator = Estimator(load_model(checkpoint), infer, dataset.models, device)
    estimator.index(np.unique(estimates.obj_id).tolist())
    meshes = [file_digest(dataset.model_path(obj_id)) for obj_id in estimator.model.object_ids]
    arrays = [getattr(estimates, field.name).tolist() for field in dataclasses.fields(Estimates)]
    key = json_digest(
        ["passes", settings.digest(), file_digest(checkpoint), str(dataset.root.resolve()), split, arrays, *meshes]
    )
    R, t, time = estimates.R.copy(), estimates.t.copy(), estimates.time.copy()
    with PartialResults(out, key) as partial:
        of_image = functools.partial(_refine_image, estimator, estimates)
        records = infer_images(partial, dataset, split, estimates, of_image)
        for record in records:
            row, T = record["row"], np.array(record["T"][-1], dtype=np.float64)
            if np.isfinite(T).all() and T[2, 3] > 0:
                R[row], t[row] = T[:3, :3], T[:3, 3]
            if time[row] >= 0:
                time[row] += record["seconds"]
        done = estimates.take(np.array([record["row"] for record in records], dtype=np.int64))
        poses = np.array([record["T"] for record in records], dtype=np.float64)
        times = [record["stages"] for record in records]
        write_passes(out.parent / FILE, _without_boxes(done), estimator.pass_names, poses, done.score, times)
    return dataclasses.replace(estimates, R=R, t=t, time=time)


def _refine_image(
    estimator: Estimator, estimates: Estimates, scene: BopScene, im_id: int, rows: NDArray[np.int64]
) -> list[dict[str, Any]]:
    """Records of one image's estimates: row, poses after every pass, the image's seconds, an equal share by stage."""
    T = np.tile(np.eye(4), (len(rows), 1, 1))
    T[:, :3, :3], T[:, :3, 3] = estimates.R[rows], estimates.t[rows]
    passes = estimator.refine(scene.rgb(im_id), scene.camera(im_id).K, estimates.obj_id[rows].tolist(), T)
    stages = {stage: seconds / len(rows) for stage, seconds in passes.times.items()}
    return [
        {
            "row": row,
            "T": passes.T_cam_obj[:, number].tolist(),
            "seconds": sum(passes.times.values()),
            "stages": stages,
        }
        for number, row in enumerate(rows.tolist())
    ]


def _without_boxes(estimates: Estimates) -> Detections:
    """Estimates as detections of which no box is known."""
    boxes = np.full((len(estimates), 4), np.nan)
    return Detections(
        estimates.scene_id, estimates.im_id, estimates.obj_id, estimates.score, boxes, np.zeros(len(estimates))
    )
