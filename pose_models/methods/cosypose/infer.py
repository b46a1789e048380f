"""Inference of CosyPose: images and detections to estimates, resumable image by image."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models.datasets.bop import BopDataset, BopScene
from pose_models.datasets.estimates import write_estimates
from pose_models.detections.coco import Detections
from pose_models.files import InputError, file_digest, json_digest, write_json
from pose_models.methods.cosypose.config import CosyPoseSettings, NetworkSettings
from pose_models.methods.cosypose.estimate import Estimator
from pose_models.methods.cosypose.model import load_model
from pose_models.methods.partial import PartialResults
from pose_models.methods.passes import FILE, write_passes
from pose_models.methods.results import NO_POSE, detections_of_targets, infer_images, to_estimates


def infer(
    settings: CosyPoseSettings, checkpoint: Path, dataset_folder: Path, split: str, detections_file: Path,
    surface_folder: Path, out: Path, device: str,
) -> None:  # fmt: skip
    """Estimate the pose of every detection of a target object and write `out` in BOP format.

    A killed run continues at the image where it was. Scores are those of the detections. Beside `out` lie
    `settings.json` and `poses.npz`: poses after every pass, and seconds by stage. Surface samples are not needed.
    """
    model = load_model(checkpoint)
    check_network(checkpoint, model.settings.network, settings.network)
    dataset = BopDataset(dataset_folder)
    detections = detections_of_targets(detections_file, dataset, split)
    estimator = Estimator(model, settings.infer, dataset.models, device)
    estimator.index(np.unique(detections.obj_id).tolist())
    meshes = [file_digest(dataset.model_path(obj_id)) for obj_id in model.object_ids]
    inputs = [settings.infer.digest(), file_digest(checkpoint), file_digest(detections_file), *meshes]
    with PartialResults(out, key=json_digest(inputs)) as partial:
        of_image = functools.partial(_infer_image, estimator, detections)
        records = infer_images(partial, dataset, split, detections, of_image)
        rows_done = [record["row"] for record in records]
        T = np.array([record["T"][-1] for record in records], dtype=np.float64).reshape(-1, 4, 4)
        found = np.isfinite(T).all(axis=(1, 2)) & (T[:, 2, 3] > 0)
        T = np.where(found[:, None, None], T, NO_POSE)
        seconds = np.array([record["seconds"] for record in records], dtype=np.float64)
        done = detections.select(rows_done)
        passes = np.array([record["T"] for record in records], dtype=np.float64)
        times = [record["stages"] for record in records]
        write_passes(out.parent / FILE, done, estimator.pass_names, passes, done.score, times)
        write_json(out.parent / "settings.json", settings.model_dump(mode="json"))
        write_estimates(out, to_estimates(done, T, done.score, seconds))
    print(f"{len(records)} detections, {int((~found).sum())} without a pose (left out of {out.name})")


def check_network(checkpoint: Path, trained: NetworkSettings, wanted: NetworkSettings) -> None:
    """Refuse a checkpoint whose network is another than the run's.

    Raises:
        InputError: names the first setting that differs.
    """
    for name in ("backbone", "rotation", "height", "width", "start", "render_center", "box_points"):
        own, other = getattr(trained, name), getattr(wanted, name)
        if own != other:
            raise InputError(f"{checkpoint}: was trained with network.{name}={own}, the run has {other}; set it alike")


def _infer_image(
    estimator: Estimator, detections: Detections, scene: BopScene, im_id: int, rows: NDArray[np.int64]
) -> list[dict[str, Any]]:
    """Records of one image's detections: row, poses after every pass, an equal share of the image's seconds."""
    obj_ids = detections.obj_id[rows].tolist()
    passes = estimator.estimate(scene.rgb(im_id), scene.camera(im_id).K, obj_ids, detections.bbox_ltrb[rows])
    stages = {stage: seconds / len(rows) for stage, seconds in passes.times.items()}
    return [
        {"row": row, "T": passes.T_cam_obj[:, number].tolist(), "seconds": sum(stages.values()), "stages": stages}
        for number, row in enumerate(rows.tolist())
    ]
