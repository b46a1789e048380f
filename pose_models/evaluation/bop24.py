"""Protocol `bop24`: 6D detection as mean average precision over MSSD and MSPD (bop.md section 8).

Parity with the reference by default: in an image, only estimates of objects that have a ground truth there are looked
at, so false positives of absent objects cost nothing. The strict variant counts them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models.datasets.estimates import Estimates
from pose_models.evaluation import kernels
from pose_models.evaluation.localisation import PIXELS, REFERENCE_WIDTH, SHARES, runs
from pose_models.evaluation.pairs import Block, ErrorOptions, Group, Job, compute_errors
from pose_models.evaluation.protocols import ResultFile, Run
from pose_models.evaluation.world import MIN_VISIBLE, ImageKey, World

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

MILLIMETRES = np.arange(2.0, 21.0, 2.0)
KINDS = ("mssd", "mspd", "mssd_mm")
THRESHOLDS = np.stack([SHARES, PIXELS, MILLIMETRES])
RECALL_LEVELS = np.linspace(0.0, 1.0, 101)


def average_precision(hits: NDArray[np.bool_], target_count: int) -> float:
    """AP over 101 recall levels.

    Args:
        hits: (D,) whether a detection found a target, best score first.
        target_count: number of targets; 0 gives 0.
    """
    if not len(hits) or not target_count:
        return 0.0
    found = np.cumsum(hits)
    recall = np.r_[0.0, found / target_count, 1.0]
    precision = np.r_[0.0, found / np.arange(1, len(hits) + 1), 0.0]
    best = np.maximum.accumulate(precision[::-1])[::-1]  # recall ascends, so this is the maximum at recall >= r
    return float(best[np.searchsorted(recall, RECALL_LEVELS, side="left")].mean())


@dataclasses.dataclass
class _ObjectTally:
    """Detections of one object over all images, in the reference's order (image by image), and its targets."""

    score: list[Array]
    hit: list[NDArray[np.bool_]]  # (3 kinds, 10 thresholds, E) each
    ignored: list[NDArray[np.bool_]]
    targets: int = 0

    def precisions(self) -> Array:
        """AP (3 kinds, 10 thresholds)."""
        result = np.zeros(THRESHOLDS.shape)
        if not self.score:
            return result
        order = np.argsort(-np.concatenate(self.score), kind="stable")
        hit = np.concatenate(self.hit, axis=2)[..., order]
        ignored = np.concatenate(self.ignored, axis=2)[..., order]
        for index in np.ndindex(*THRESHOLDS.shape):
            result[index] = average_precision(hit[index][~ignored[index]], self.targets)
        return result


def kept_rows(estimates: Estimates, limit: int) -> tuple[dict[ImageKey, Rows], Rows]:
    """Rows of each image, best first and at most `limit`, and the rows cut off."""
    order = np.lexsort((np.arange(len(estimates)), -estimates.score, estimates.im_id, estimates.scene_id))
    images = np.stack([estimates.scene_id, estimates.im_id], axis=1)[order]
    starts, ends = runs(images)
    kept, cut = {}, [np.zeros(0, dtype=np.int64)]
    for (scene, image), start, end in zip(images[starts], starts, ends, strict=True):
        kept[int(scene), int(image)] = order[start : min(end, start + limit)]
        cut.append(order[start + limit : end])
    return kept, np.concatenate(cut)


def detection_jobs(world: World, files: Sequence[Estimates]) -> list[Job]:
    """Jobs of the detection task: per image and file, the kept estimates of every evaluated object that is there."""
    kept = [kept_rows(estimates, world.facts.entry.estimates_per_image)[0] for estimates in files]
    jobs = []
    for key in world.detection_images:
        present = [int(i) for i in np.unique(world.truth(key).obj_id)]
        groups = []
        for file, estimates in enumerate(files):
            rows = kept[file].get(key, np.zeros(0, dtype=np.int64))
            groups += [Group(file, obj_id, rows[estimates.obj_id[rows] == obj_id]) for obj_id in present]
        jobs.append(Job(key, tuple(groups)))
    return jobs


def scores(world: World, files: Sequence[ResultFile], run: Run) -> list[dict[str, Any]]:
    """One dictionary per result file."""
    estimates = [file.estimates for file in files]
    jobs = detection_jobs(world, estimates)
    options = ErrorOptions(frozenset({"mssd", "mspd"}))
    blocks: list[list[Block]] = [[] for _ in files]
    for image in run.progress(compute_errors(world, estimates, jobs, options, run.workers), "images", len(jobs)):
        for block in image:
            blocks[block.group.file].append(block)
    return [_file_scores(world, file, own, run.strict) for file, own in zip(files, blocks, strict=True)]


def stacked_errors(world: World, block: Block) -> Array:
    """Errors (3, E, G) of a block in the units of `THRESHOLDS`."""
    mssd, mspd = block.errors["mssd"], block.errors["mspd"]
    diameter = world.object(block.group.obj_id).diameter_mm
    return np.stack([mssd / diameter, mspd * (REFERENCE_WIDTH / world.facts.image_width), mssd])


def tallies(world: World, estimates: Estimates, blocks: Sequence[Block], strict: bool) -> dict[int, _ObjectTally]:
    """Hits, ignored detections and targets of every object."""
    result = {obj_id: _ObjectTally([], [], []) for obj_id in world.facts.object_ids}
    for block in blocks:
        tally = result.get(block.group.obj_id)
        if tally is None:
            continue
        visible = world.truth(block.key).visib_fract[block.gt_ids] >= MIN_VISIBLE
        tally.targets += int(visible.sum())
        count = len(block.group.rows)
        if not count:
            continue
        matched = kernels.match(stacked_errors(world, block), THRESHOLDS, np.ones(len(visible), dtype=bool))
        hit, ignored = (np.zeros((*THRESHOLDS.shape, count), dtype=bool) for _ in range(2))
        for g, is_target in enumerate(visible):
            for k, t in np.argwhere(matched[..., g] >= 0):
                (hit if is_target else ignored)[k, t, matched[k, t, g]] = True
        tally.score.append(estimates.score[block.group.rows])
        tally.hit.append(hit)
        tally.ignored.append(ignored)
    if strict:
        for obj_id, score in absent_scores(world, estimates).items():
            if obj_id in result:
                empty = np.zeros((*THRESHOLDS.shape, len(score)), dtype=bool)
                result[obj_id].score.append(score)
                result[obj_id].hit.append(empty)
                result[obj_id].ignored.append(empty)
    return result


def absent_scores(world: World, estimates: Estimates) -> dict[int, Array]:
    """Scores, by object, of kept estimates in evaluated images in which their object does not occur."""
    kept, _ = kept_rows(estimates, world.facts.entry.estimates_per_image)
    scores_of: dict[int, list[float]] = {}
    for key in world.detection_images:
        present = set(world.truth(key).obj_id.tolist())
        for row in kept.get(key, []):
            obj_id = int(estimates.obj_id[row])
            if obj_id not in present:
                scores_of.setdefault(obj_id, []).append(float(estimates.score[row]))
    return {obj_id: np.array(values) for obj_id, values in scores_of.items()}


def _file_scores(world: World, file: ResultFile, blocks: list[Block], strict: bool) -> dict[str, Any]:
    tally = tallies(world, file.estimates, blocks, strict)
    precision = {obj_id: item.precisions() for obj_id, item in tally.items() if item.targets}
    mean = np.mean(list(precision.values()), axis=(0, 2)) if precision else np.zeros(len(KINDS))
    by_kind = dict(zip(KINDS, map(float, mean), strict=True))
    return {
        "bop24_mAP": (by_kind["mssd"] + by_kind["mspd"]) / 2,
        **{f"bop24_mAP_{kind}": by_kind[kind] for kind in KINDS},
        "bop25_mAP": by_kind["mssd"],
        "bop25_mAP_mm": by_kind["mssd_mm"],
        "bop24_average_time_per_image": file.estimates.mean_time(),
        "seconds_per_image": file.estimates.mean_time(),
        "strict": strict,
        "counts": _counts(world, file.estimates, blocks, tally, strict),
        "per_object": {
            obj_id: {**{k: float(values[i].mean()) for i, k in enumerate(KINDS)}, "targets": tally[obj_id].targets}
            for obj_id, values in precision.items()
        },
        "curves": {
            kind: {
                "thresholds": THRESHOLDS[i].tolist(),
                "ap": {obj_id: values[i].tolist() for obj_id, values in precision.items()},
            }
            for i, kind in enumerate(KINDS)
        },
    }


def _counts(
    world: World, estimates: Estimates, blocks: list[Block], tally: dict[int, _ObjectTally], strict: bool
) -> dict[str, Any]:
    images = set(world.detection_images)
    inside = np.array(
        [k in images for k in zip(estimates.scene_id.tolist(), estimates.im_id.tolist(), strict=True)], bool
    )
    _, cut = kept_rows(estimates, world.facts.entry.estimates_per_image)
    used = sum(len(block.group.rows) for block in blocks)
    known = np.isin(estimates.scene_id, world.scene_ids)
    ignored = {
        "scene is not in the split": int((~known).sum()),
        "image is no target": int((known & ~inside).sum()),
        f"beyond the best {world.facts.entry.estimates_per_image} of its image": int(inside[cut].sum()),
    }
    absent = len(estimates) - used - sum(ignored.values())
    if strict:
        used += absent
    else:
        ignored["object is not in its image (counted with --strict)"] = absent
    with_estimates = {(block.key, block.group.obj_id) for block in blocks if len(block.group.rows)}
    return {
        "images": len(images),
        "targets": sum(item.targets for item in tally.values()),
        "estimates": len(estimates),
        "estimates_used": used,
        "estimates_ignored": {reason: count for reason, count in ignored.items() if count},
        "image_objects_without_estimate": sum((b.key, b.group.obj_id) not in with_estimates for b in blocks),
    }
