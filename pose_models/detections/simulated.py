"""The detection source `simulated`: ground-truth boxes, disturbed as a real detector disturbs them.

It reads ground truth, which no method may do; whoever uses it says so (the source's name stands in the file name and in
every report). Each instance draws from a generator of its own, seeded by (seed, scene, image, gt id), so a box does not
depend on which other instances or images are there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from pose_models.datasets.bop import BopDataset, BopScene, Target
from pose_models.detections.coco import Detections, from_records
from pose_models.detections.config import SimulatedSettings

Array = NDArray[np.float64]
FALSE_POSITIVE_STREAM = 10**6
"""Stands in the place of the gt id in the seed of an image's false positives."""


def simulate(
    dataset: BopDataset, split: str, targets: Iterable[Target], settings: SimulatedSettings, seed: int
) -> Detections:
    """Simulated detections of all target objects, images in ascending order.

    Args:
        dataset, split: where ground truth and its visibility are read.
        targets: objects of an image that are no target get no box.
        settings: how strong the disturbance is.
        seed: equal seeds give equal boxes.
    """
    wanted: dict[tuple[int, int], set[int]] = {}
    for target in targets:
        wanted.setdefault((target.scene_id, target.im_id), set()).add(target.obj_id)
    records: list[dict[str, Any]] = []
    scene: BopScene | None = None
    for (scene_id, im_id), obj_ids in sorted(wanted.items()):
        if scene is None or scene.scene_id != scene_id:
            scene = dataset.scene(split, scene_id)
        records += _image(scene, im_id, obj_ids, settings, seed)
    return from_records(records)


def jitter_box(box_xywh: Array, rng: np.random.Generator, center_jitter: float, size_jitter: float) -> Array:
    """Shift the centre of a box (x, y, w, h) px by normal shares of its size and scale its sides log-normally."""
    draws = rng.standard_normal(4)
    center = box_xywh[:2] + box_xywh[2:] / 2 + draws[:2] * center_jitter * box_xywh[2:]
    size = box_xywh[2:] * np.exp(draws[2:] * size_jitter)
    return np.concatenate([center - size / 2, size])


def clip_box(box_xywh: Array, width: int, height: int) -> Array:
    """The part of a box (x, y, w, h) px that lies in the image; width or height 0 if none does."""
    low = np.clip(box_xywh[:2], 0, [width, height])
    high = np.clip(box_xywh[:2] + box_xywh[2:], 0, [width, height])
    return np.concatenate([low, high - low])


def box_iou(a_xywh: Array, b_xywh: Array) -> float:
    """Intersection over union of two boxes (x, y, w, h) px."""
    low = np.maximum(a_xywh[:2], b_xywh[:2])
    high = np.minimum(a_xywh[:2] + a_xywh[2:], b_xywh[:2] + b_xywh[2:])
    overlap = float(np.prod(np.clip(high - low, 0, None)))
    union = float(np.prod(a_xywh[2:]) + np.prod(b_xywh[2:])) - overlap
    return overlap / union if union > 0 else 0.0


def _image(
    scene: BopScene, im_id: int, obj_ids: set[int], settings: SimulatedSettings, seed: int
) -> list[dict[str, Any]]:
    height, width = scene.rgb(im_id).shape[:2]
    records = []
    infos = scene.ground_truth_info[im_id]
    for instance, info in zip(scene.ground_truth[im_id], infos, strict=True):
        if instance.obj_id not in obj_ids or info.px_count_visib == 0:
            continue
        rng = np.random.default_rng([seed, scene.scene_id, im_id, instance.gt_id])
        box = info.bbox_obj if settings.box == "amodal" else info.bbox_visib
        found = _found_box(np.array(box, dtype=np.float64), info.visib_fract, (width, height), settings, rng)
        if found is not None:
            records.append(_record(scene.scene_id, im_id, instance.obj_id, *found))
    rng = np.random.default_rng([seed, scene.scene_id, im_id, FALSE_POSITIVE_STREAM])
    for _ in range(rng.poisson(settings.false_positives)):
        obj_id = int(rng.choice(sorted(obj_ids)))
        side = rng.uniform(0.08, 0.3, 2) * min(width, height)
        corner = rng.uniform(0, 1, 2) * (np.array([width, height]) - side)
        records.append(_record(scene.scene_id, im_id, obj_id, np.concatenate([corner, side]), rng.uniform(0.05, 0.5)))
    return records


def _found_box(
    box: Array, visib_fract: float, size: tuple[int, int], settings: SimulatedSettings, rng: np.random.Generator
) -> tuple[Array, float] | None:
    """Disturbed box and score of one instance, None if the detector misses it; draws the same numbers either way."""
    box = box + np.array([0, 0, 1, 1])  # scene_gt_info boxes are max - min, COCO boxes count the pixels
    luck, noise = rng.uniform(), rng.standard_normal()
    disturbed = clip_box(jitter_box(box, rng, settings.center_jitter, settings.size_jitter), *size)
    found_share = float(expit((visib_fract - settings.visib_half) / settings.visib_spread))
    if luck >= found_share or disturbed[2:].min() < 1:
        return None
    quality = box_iou(disturbed, clip_box(box, *size)) * (0.5 + 0.5 * visib_fract)
    return disturbed, float(np.clip(quality + settings.score_noise * noise, 0.01, 0.999))


def _record(scene_id: int, im_id: int, obj_id: int, box: Array, score: float) -> dict[str, Any]:
    # Nothing was detected, so no time was spent on it: 0 rather than a number that looks measured.
    return {
        "scene_id": scene_id,
        "image_id": im_id,
        "category_id": obj_id,
        "score": score,
        "bbox": box.tolist(),
        "time": 0.0,
    }
