"""Which detections a run uses, and whether a file of detections belongs to a dataset at all."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pose_models.datasets.bop import BopDataset, Target
from pose_models.datasets.catalogue import catalogue_entry
from pose_models.detections.coco import Detections
from pose_models.files import InputError


def is_of_targets(detections: Detections, targets: Iterable[Target]) -> NDArray[np.bool_]:
    """(N,) whether the (scene, image, object) of a detection is a target."""
    wanted = {(target.scene_id, target.im_id, target.obj_id) for target in targets}
    keys = zip(detections.scene_id.tolist(), detections.im_id.tolist(), detections.obj_id.tolist(), strict=True)
    return np.array([key in wanted for key in keys], dtype=bool)


def by_targets(detections: Detections, targets: Iterable[Target]) -> Detections:
    """Keep the detections whose (scene, image, object) is a target, all of them, in their order (surfemb.md 10).

    There is no cut to `inst_count`: the scores of the poses decide later which count.
    """
    return detections.select(is_of_targets(detections, targets))


def check_dataset(
    detections: Detections, dataset: BopDataset, split: str, path: str | Path, is_partial: bool = False
) -> None:
    """Refuse detections that name scenes, images or objects which the dataset does not have.

    Args:
        detections: as read from `path` (positions are named in the message).
        dataset, split: what they should belong to.
        path: file to name in the message.
        is_partial: the dataset folder holds only part of the scenes and images; then only objects are checked.

    Raises:
        InputError: one sentence naming the first record that does not fit.
    """
    models = catalogue_entry(dataset.name, dataset.root).models
    _refuse(detections.obj_id, set(dataset.models_info(models)), "object", path, f"{dataset.root}/{models}")
    if is_partial:
        return
    _refuse(detections.scene_id, set(dataset.scene_ids(split)), "scene", path, f"{dataset.root}/{split}")
    for scene_id in np.unique(detections.scene_id).tolist():
        rows = np.flatnonzero(detections.scene_id == scene_id)
        scene = dataset.scene(split, scene_id)
        _refuse(detections.im_id[rows], set(scene.image_ids), "image", path, str(scene.path), rows)


def _refuse(
    ids: NDArray[np.int64],
    known: set[int],
    kind: str,
    path: str | Path,
    where: str,
    rows: NDArray[np.int64] | None = None,
) -> None:
    unknown = np.flatnonzero(~np.isin(ids, sorted(known)))
    if len(unknown):
        row = int(unknown[0] if rows is None else rows[unknown[0]])
        raise InputError(
            f"{path}: record {row} names {kind} {ids[unknown[0]]}, which {where} does not have; "
            "these detections belong to another dataset or split"
        )
