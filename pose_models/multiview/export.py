"""A group of views of a dataset as a scenario folder, to reconstruct and look at on its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np

from pose_models.datasets.bop import BopDataset, BopScene
from pose_models.datasets.estimates import Estimates, write_estimates
from pose_models.datasets.image_files import write_png
from pose_models.datasets.index import CAMERA, INSTANCES
from pose_models.detections.coco import Detections, write_detections
from pose_models.files import InputError, atomic_path, write_bytes, write_json
from pose_models.multiview.stage import frames_of
from pose_models.multiview.views import view_groups

KEPT = (".png", ".jpg")  # suffixes of images that are copied as they are


def export_scenario(
    dataset: BopDataset, split: str, estimates: Estimates, views: int, group: int, detections: Detections | None,
    out: Path,
) -> tuple[int, list[int]]:  # fmt: skip
    """Write a scenario folder (see `multiview.scenario`) of the group that the multi-view stage numbers `group`.

    Args:
        estimates: of any method, the candidates. views: per group. detections: drawn on the page, where given.

    Returns:
        Scene id and image ids of the group.

    Raises:
        InputError: there is no such group, or it has no estimates.
    """
    groups = view_groups(frames_of(dataset, split, estimates), views)
    if not 0 <= group < len(groups):
        raise InputError(f"{dataset.root}: has {len(groups)} groups of {views} views, from 0; there is no {group}")
    scene_id, im_ids = groups[group][0][0], sorted(im_id for _, im_id in groups[group])
    rows = np.flatnonzero((estimates.scene_id == scene_id) & np.isin(estimates.im_id, im_ids))
    if not len(rows):
        raise InputError(f"{dataset.root}: no estimates in scene {scene_id}, images {im_ids}; take another group")
    candidates, scene = estimates.take(rows), dataset.scene(split, scene_id)
    with atomic_path(out) as folder:
        folder.mkdir()
        write_estimates(folder / "candidates.csv", candidates)
        write_json(folder / "scene_camera.json", _entries(scene, im_ids, "camera"))
        if scene.has(INSTANCES):
            write_json(folder / "scene_gt.json", _entries(scene, im_ids, "gt"))
        if detections is not None:
            own = (detections.scene_id == scene_id) & np.isin(detections.im_id, im_ids)
            write_detections(folder / "detections.json", detections.select(own))
        for im_id in im_ids:
            _copy_image(scene, im_id, folder / "rgb")
        _copy_models(dataset, np.unique(candidates.obj_id).tolist(), folder / "models")
    return scene_id, im_ids


def _entries(scene: BopScene, im_ids: list[int], kind: str) -> dict[str, object]:
    """Annotations of images as they stand in the dataset."""
    which = CAMERA if kind == "camera" else INSTANCES
    texts = {im_id: scene.annotation(which, im_id) for im_id in im_ids}
    return {str(im_id): json.loads(text) for im_id, text in texts.items() if text is not None}


def _copy_image(scene: BopScene, im_id: int, folder: Path) -> None:
    name, content = scene.rgb_file(im_id)
    suffix = Path(name).suffix
    if suffix in KEPT:
        write_bytes(folder / f"{im_id:06d}{suffix}", content)
    else:
        folder.mkdir(exist_ok=True)
        write_png(folder / f"{im_id:06d}.png", cv2.cvtColor(scene.rgb(im_id), cv2.COLOR_RGB2BGR))


def _copy_models(dataset: BopDataset, obj_ids: list[int], folder: Path) -> None:
    """Meshes with their textures, and models_info.json of these objects."""
    folder.mkdir()
    for obj_id in obj_ids:
        for file in sorted(dataset.models.glob(f"obj_{obj_id:06d}.*")):
            shutil.copyfile(file, folder / file.name)
    infos = dataset.models_info()
    write_json(folder / "models_info.json", {str(i): infos[i] for i in obj_ids if i in infos})
