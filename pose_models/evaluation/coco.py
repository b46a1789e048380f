"""Protocol `coco`: average precision and recall of 2D boxes and masks (bop.md section 9).

The standard COCO metric with the two differences of the BOP evaluation: an annotation's `ignore` flag is respected,
and a detection's area is that of its box even where masks are compared. Box scores are given for amodal boxes
(`bbox`, the reference's default) and for boxes of the visible part (`bbox_modal`). Annotations are those of the scenes'
files where there are any, else they are made of the masks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models.datasets.bop import BopScene
from pose_models.datasets.masks import decode, mask_box
from pose_models.detections.coco import Detections, read_detections
from pose_models.evaluation.groundtruth import AMODAL, MODAL, CocoFile, annotations_there
from pose_models.evaluation.world import ImageKey, World
from pose_models.files import InputError, read_json

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_LEVELS = np.linspace(0.0, 1.0, 101)
MAX_DETECTIONS = (1, 10, 100)
AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
ANNOTATIONS = {"bbox": AMODAL, "bbox_modal": MODAL, "segm": AMODAL}


@dataclasses.dataclass(frozen=True)
class Boxed:
    """Detections or annotations of one object in one image.

    area: (N,) px. box: (N, 4) xywh. masks: (N, H*W/8) packed bits, or None. score: (N,), of detections only.
    ignore: (N,) flags, of annotations only.
    """

    area: Array
    box: Array
    masks: NDArray[np.uint8] | None
    score: Array
    ignore: Flags


@dataclasses.dataclass(frozen=True)
class Matched:
    """One object in one image under one area range: D detections, best first, at T overlaps.

    score: (D,). hit, ignored: (T, D). target_count: annotations that are not ignored.
    """

    score: Array
    hit: Flags
    ignored: Flags
    target_count: int


def score_detections(world: World, paths: Sequence[Path]) -> list[dict[str, Any]]:
    """One dictionary per file of detections: the twelve COCO numbers for boxes (amodal, modal) and masks."""
    return [_file_scores(world, path, read_detections(path, need_bbox=False)) for path in paths]


def _file_scores(world: World, path: Path, detections: Detections) -> dict[str, Any]:
    by_target = _by_target(path, detections)
    images = list(world.targets) if world.target_file else world.detection_images
    keys = list(zip(detections.scene_id.tolist(), detections.im_id.tolist(), strict=True))
    times = dict(zip(keys, detections.time.tolist(), strict=True))
    mean_time = -1.0 if min(times.values()) < 0 else float(np.mean(list(times.values())))
    result: dict[str, Any] = {}
    per_object: dict[str, Any] = {}
    for kind, name in ANNOTATIONS.items():
        if kind == "segm" and detections.segmentation is None:
            continue
        if not all(_is_annotated(world.scene(scene), name) for scene in {scene for scene, _ in images}):
            if kind == "bbox_modal":
                continue
            raise InputError(
                f"{world.dataset.root / world.facts.split}: no {name}; make it with workflow_scripts/annotate.py"
            )
        annotations = _annotations(world, images, name)
        tables = precision_and_recall(images, annotations, by_target, kind == "segm")
        result[kind] = {**summary(tables), "average_time_per_image": mean_time}
        per_object[kind] = {obj_id: summary({obj_id: table}) for obj_id, table in tables.items()}
    known = set(images)
    outside = sum(key not in known for key in keys)
    return {
        **result,
        "per_object": per_object,
        "seconds_per_image": mean_time,
        "counts": {
            "images": len(images),
            "detections": len(detections),
            "detections_used": len(detections) - outside,
            "detections_ignored": {"image is no target": outside} if outside else {},
            "images_without_detection": len(known - set(times)),
        },
    }


Targets = dict[tuple[int, int, int], Boxed]  # by scene, image, object
Tables = dict[int, dict[str, Array]]  # by object


def _by_target(path: Path, detections: Detections) -> Targets:
    """Detections by scene, image and object, best first (ties: file order)."""
    segmentation = detections.segmentation
    ids = np.stack([detections.scene_id, detections.im_id, detections.obj_id], axis=1)
    groups: dict[tuple[int, int, int], list[int]] = {}
    for row in np.argsort(-detections.score, kind="stable"):
        groups.setdefault(tuple(ids[row].tolist()), []).append(int(row))
    result = {}
    for key, rows in groups.items():
        rows = rows[: MAX_DETECTIONS[-1]]
        masks = []
        for row in rows if segmentation is not None else []:
            try:
                masks.append(decode(segmentation[row]))  # type: ignore[index]
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{path}: record {row}: unreadable segmentation ({error})") from None
        box = detections.bbox_xywh[rows]
        for i in np.flatnonzero(np.isnan(box[:, 0])):
            box[i] = mask_box(masks[i])
        by_mask = np.isnan(detections.bbox_xywh[rows][:, 0])
        area = box[:, 2] * box[:, 3]
        area[by_mask] = [masks[i].sum() for i in np.flatnonzero(by_mask)]
        none = np.zeros(len(rows), dtype=bool)
        result[key] = Boxed(area, box, _pack(masks), detections.score[rows], none)
    return result


def _pack(masks: Sequence[Flags]) -> NDArray[np.uint8] | None:
    return np.stack([np.packbits(mask.ravel()) for mask in masks]) if masks else None


def _is_annotated(scene: BopScene, name: str) -> bool:
    """Whether a scene has a file of COCO annotations, or the masks that it is made of."""
    return (scene.path / name).exists() or all((scene.mask_folder(visible)).is_dir() for visible in (True, False))


def _entries(scene: BopScene, name: str, im_ids: Iterable[int]) -> list[Any]:
    """COCO annotations: those of the scene's file, else made of its masks."""
    if (scene.path / name).exists():
        return list(read_json(scene.path / name)["annotations"])
    file = CocoFile(scene, scene.path.parent.parent.name)
    for im_id in sorted(im_ids):
        image = annotations_there(scene, im_id)
        file.add(image, image.masks if name == AMODAL else image.visible)
    return list(file.content["annotations"])


def _annotations(world: World, images: Iterable[ImageKey], name: str) -> Targets:
    result: Targets = {}
    wanted: dict[int, set[int]] = {}
    for scene_id, im_id in images:
        wanted.setdefault(scene_id, set()).add(im_id)
    for scene_id, im_ids in wanted.items():
        groups: dict[tuple[int, int, int], list[Any]] = {}
        file = world.scene(scene_id).path / name
        try:
            for entry in _entries(world.scene(scene_id), name, im_ids):
                if entry["image_id"] in im_ids:
                    groups.setdefault((scene_id, int(entry["image_id"]), int(entry["category_id"])), []).append(entry)
            for key, entries in groups.items():
                result[key] = Boxed(
                    area=np.array([entry["area"] for entry in entries], dtype=np.float64),
                    box=np.array([entry["bbox"] for entry in entries], dtype=np.float64).reshape(-1, 4),
                    masks=_pack([decode(entry["segmentation"]) for entry in entries]),
                    score=np.zeros(len(entries)),
                    ignore=np.array([bool(entry.get("ignore", False)) for entry in entries]),
                )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{file}: unreadable annotation ({error}); make it with workflow_scripts/annotate.py"
            ) from None
    return result


def precision_and_recall(
    images: Sequence[ImageKey], annotations: Targets, detections: Targets, by_mask: bool
) -> Tables:
    """By object that has annotations: `precision` (10 overlaps, 101 levels, 4 areas, 3 limits), `recall` (10, 4, 3).

    Entries are -1 where there is nothing to find.
    """
    result: Tables = {}
    for obj_id in sorted({key[2] for key in annotations}):
        keys = [
            (*image, obj_id) for image in images if (*image, obj_id) in annotations or (*image, obj_id) in detections
        ]
        precision = -np.ones((len(IOU_THRESHOLDS), len(RECALL_LEVELS), len(AREAS), len(MAX_DETECTIONS)))
        recall = -np.ones((len(IOU_THRESHOLDS), len(AREAS), len(MAX_DETECTIONS)))
        pairs = [(detections.get(key), annotations.get(key)) for key in keys]
        overlaps = [None if d is None or g is None else _overlaps(d, g, by_mask) for d, g in pairs]
        for a, limits in enumerate(AREAS.values()):
            matched = [match(d, g, iou, limits) for (d, g), iou in zip(pairs, overlaps, strict=True)]
            for m, limit in enumerate(MAX_DETECTIONS):
                precision[:, :, a, m], recall[:, a, m] = _accumulate(matched, limit)
        result[obj_id] = {"precision": precision, "recall": recall}
    return result


def _overlaps(d: Boxed, g: Boxed, by_mask: bool) -> Array:
    """IoU (D, G) of boxes or masks."""
    if by_mask:
        if d.masks is None or g.masks is None or d.masks.shape[1] != g.masks.shape[1]:
            raise InputError("masks of detections and annotations differ in size; use masks of the whole image")
        common = np.array([np.bitwise_count(mask[None] & g.masks).sum(axis=1) for mask in d.masks], dtype=np.float64)
        size_d, size_g = (np.bitwise_count(masks).sum(axis=1).astype(np.float64) for masks in (d.masks, g.masks))
    else:
        low = np.maximum(d.box[:, None, :2], g.box[None, :, :2])
        high = np.minimum(d.box[:, None, :2] + d.box[:, None, 2:], g.box[None, :, :2] + g.box[None, :, 2:])
        common = np.prod(np.maximum(high - low, 0), axis=-1)
        size_d, size_g = d.box[:, 2] * d.box[:, 3], g.box[:, 2] * g.box[:, 3]
    joint = size_d[:, None] + size_g[None, :] - common
    return np.asarray(np.divide(common, joint, out=np.zeros_like(common), where=joint > 0))


def match(d: Boxed | None, g: Boxed | None, iou: Array | None, limits: tuple[float, float]) -> Matched:
    """COCO's matching of one object in one image at every overlap threshold, within one range of areas."""
    outside = np.zeros(0, dtype=bool) if d is None else (d.area < limits[0]) | (d.area > limits[1])
    ignore = np.zeros(0, dtype=bool) if g is None else g.ignore | (g.area < limits[0]) | (g.area > limits[1])
    count = len(outside)
    hit = np.zeros((len(IOU_THRESHOLDS), count), dtype=bool)
    ignored = np.zeros_like(hit)
    order = np.argsort(ignore, kind="stable")  # annotations that count come first
    for t, threshold in enumerate(IOU_THRESHOLDS if iou is not None else ()):
        taken = np.zeros(len(ignore), dtype=bool)
        for i in range(count):
            best, least = -1, min(threshold, 1 - 1e-10)
            for j in order:
                if taken[j]:
                    continue
                if best >= 0 and not ignore[best] and ignore[j]:
                    break
                if iou[i, j] >= least:  # type: ignore[index]
                    best, least = int(j), iou[i, j]  # type: ignore[index]
            if best >= 0:
                taken[best] = hit[t, i] = True
                ignored[t, i] = ignore[best]
    ignored |= ~hit & outside[None, :]
    return Matched(np.zeros(0) if d is None else d.score, hit, ignored, int((~ignore).sum()))


def _accumulate(matched: Sequence[Matched], limit: int) -> tuple[Array, Array]:
    """Precision (T, 101) and recall (T,) of one object over all images, `limit` detections per image."""
    targets = sum(m.target_count for m in matched)
    if not targets:
        return -np.ones((len(IOU_THRESHOLDS), len(RECALL_LEVELS))), -np.ones(len(IOU_THRESHOLDS))
    order = np.argsort(-np.concatenate([m.score[:limit] for m in matched]), kind="stable")
    hit = np.concatenate([m.hit[:, :limit] for m in matched], axis=1)[:, order]
    ignored = np.concatenate([m.ignored[:, :limit] for m in matched], axis=1)[:, order]
    found = np.cumsum(hit & ~ignored, axis=1).astype(np.float64)
    wrong = np.cumsum(~hit & ~ignored, axis=1).astype(np.float64)
    precision = np.zeros((len(IOU_THRESHOLDS), len(RECALL_LEVELS)))
    recall = np.zeros(len(IOU_THRESHOLDS))
    for t in range(len(IOU_THRESHOLDS)):
        if not len(order):
            continue
        levels = found[t] / targets
        values = found[t] / (found[t] + wrong[t] + np.spacing(1))
        values = np.maximum.accumulate(values[::-1])[::-1]
        recall[t] = levels[-1]
        at = np.searchsorted(levels, RECALL_LEVELS, side="left")
        precision[t] = np.r_[values, 0.0][at]
    return precision, recall


def summary(tables: Tables) -> dict[str, float]:
    """The twelve COCO numbers; -1 where undefined."""
    areas = list(AREAS)

    def mean(values: Array) -> float:
        return float(values[values > -1].mean()) if (values > -1).any() else -1.0

    precision = np.stack([t["precision"] for t in tables.values()]) if tables else -np.ones((1, 10, 101, 4, 3))
    recall = np.stack([t["recall"] for t in tables.values()]) if tables else -np.ones((1, 10, 4, 3))
    result = {"AP": mean(precision[:, :, :, 0, 2])}
    result |= {"AP50": mean(precision[:, 0, :, 0, 2]), "AP75": mean(precision[:, 5, :, 0, 2])}
    result |= {f"AP_{area}": mean(precision[:, :, :, areas.index(area), 2]) for area in areas[1:]}
    result |= {f"AR{limit}": mean(recall[:, :, 0, m]) for m, limit in enumerate(MAX_DETECTIONS)}
    result |= {f"AR_{area}": mean(recall[:, :, areas.index(area), 2]) for area in areas[1:]}
    return result
