"""BOP'19 localisation: average recall over VSD, MSSD and MSPD (bop.md section 7).

Every ground truth of a target image becomes one row of a `Recalled` table that says by which estimate it was found at
each of the 120 settings; all numbers (per object, per scene, per bin, intervals) are means over rows of it.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models.datasets.estimates import Estimates
from pose_models.evaluation import kernels
from pose_models.evaluation.pairs import VSD_TAUS, Block, ErrorOptions, Group, Job
from pose_models.evaluation.world import ImageKey, World

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

SHARES = np.round(np.arange(0.05, 0.51, 0.05), 2)  # thresholds of VSD and, as shares of the diameter, of MSSD
PIXELS = np.arange(5.0, 51.0, 5.0)  # thresholds of MSPD at an image width of 640
REFERENCE_WIDTH = 640.0
CM_DEG = "5cm_5deg"  # the larger of TE / 50 mm and RE / 5 degrees; a match is below 1


@dataclasses.dataclass(frozen=True)
class ErrorRows:
    """One error type in the stack of errors that is matched: its name, its rows (K) and their thresholds (K, T)."""

    name: str
    thresholds: Array
    labels: tuple[str, ...]


def bop19_errors(with_vsd: bool = True) -> tuple[ErrorRows, ...]:
    """The error types of the BOP'19 score."""
    vsd = ErrorRows("vsd", np.tile(SHARES, (len(VSD_TAUS), 1)), tuple(f"tau {tau:.2f}" for tau in VSD_TAUS))
    rest = (ErrorRows("mssd", SHARES[None], ("mssd",)), ErrorRows("mspd", PIXELS[None], ("mspd",)))
    return (vsd, *rest) if with_vsd else rest


def options_of(errors: Sequence[ErrorRows]) -> ErrorOptions:
    """What has to be computed for the given error types."""
    names = {error.name for error in errors}
    if CM_DEG in names:
        names = names - {CM_DEG} | {"re", "te"}
    return ErrorOptions(frozenset(names))


@dataclasses.dataclass(frozen=True)
class Recalled:
    """Ground truths (N rows) of the target images of one result file and what found them.

    valid: (N,) whether the row counts. matched: (N, K, T) row number of the estimate in the result file, -1 = not
    found; K rows of errors, T thresholds each. visib_fract, distance_mm (N,): of the ground truth.
    """

    scene_id: Rows
    im_id: Rows
    obj_id: Rows
    gt_id: Rows
    valid: NDArray[np.bool_]
    visib_fract: Array
    distance_mm: Array
    matched: NDArray[np.int32]

    def recall(self, chosen: NDArray[np.bool_] | None = None) -> Array:
        """Recall (K, T) over the valid rows, or over those of them that are chosen (N,); 0 if there is none."""
        rows = self.valid if chosen is None else self.valid & chosen
        count = int(rows.sum())
        return np.asarray((self.matched[rows] >= 0).sum(axis=0) / max(count, 1))


def runs(keys: NDArray[np.int64]) -> tuple[Rows, Rows]:
    """First and past-the-last positions of the runs of equal rows in sorted keys (N, C)."""
    changes = np.flatnonzero((keys[1:] != keys[:-1]).any(axis=1)) + 1
    starts = np.r_[0, changes][: len(keys)].astype(np.int64)
    return starts, np.r_[starts[1:], len(keys)][: len(starts)].astype(np.int64)


class RowsByTarget:
    """Rows of a result file by (scene, image, object), best score first; ties keep the order of the file."""

    def __init__(self, estimates: Estimates) -> None:
        e = estimates
        order = np.lexsort((np.arange(len(e)), -e.score, e.obj_id, e.im_id, e.scene_id))
        keys = np.stack([e.scene_id, e.im_id, e.obj_id], axis=1)[order]
        starts, ends = runs(keys)
        self._rows = {
            (int(s), int(i), int(o)): order[a:b] for (s, i, o), a, b in zip(keys[starts], starts, ends, strict=True)
        }

    def get(self, key: ImageKey, obj_id: int) -> Rows:
        """Row numbers (E,) of an object in an image."""
        return self._rows.get((*key, obj_id), np.zeros(0, dtype=np.int64))


def target_jobs(
    world: World, files: Sequence[Estimates], keep: Callable[[int], int | None] = lambda inst_count: inst_count
) -> list[Job]:
    """Jobs of the localisation task: per target the best-scored `keep(inst_count)` estimates (None: all of them)."""
    tables = [RowsByTarget(estimates) for estimates in files]
    return [
        Job(
            key,
            tuple(
                Group(file, obj_id, table.get(key, obj_id)[: keep(inst_count)])
                for file, table in enumerate(tables)
                for obj_id, inst_count in objects.items()
            ),
        )
        for key, objects in world.targets.items()
    ]


def valid_instances(world: World, key: ImageKey) -> NDArray[np.bool_]:
    """(G,) whether a ground truth of an image counts: the inst_count most visible ones of each target object."""
    truth = world.truth(key)
    left = Counter(world.targets[key])
    valid = np.zeros(len(truth.obj_id), dtype=bool)
    for gt_id in np.argsort(-truth.visib_fract, kind="stable"):
        obj_id = int(truth.obj_id[gt_id])
        if left[obj_id] > 0:
            left[obj_id] -= 1
            valid[gt_id] = True
    return valid


def normalised(world: World, block: Block, errors: Sequence[ErrorRows]) -> Array:
    """Errors (K, E, G) of a block in the units of the thresholds: shares of the diameter, pixels at 640."""
    rows = []
    for error in errors:
        values = _normalised(world, block, error.name)
        rows.append(values if values.ndim == 3 else values[None])
    return np.concatenate(rows)


def _normalised(world: World, block: Block, name: str) -> Array:
    if name == CM_DEG:
        return np.maximum(block.errors["te"] / 50.0, block.errors["re"] / 5.0)
    if name in ("mssd", "add", "adi", "ad"):
        return block.errors[name] / world.object(block.group.obj_id).diameter_mm
    if name == "mspd":
        return block.errors[name] * (REFERENCE_WIDTH / world.facts.image_width)
    return block.errors[name]


def recalled(world: World, blocks: Iterable[Block], errors: Sequence[ErrorRows], best_order: bool = False) -> Recalled:
    """Match the estimates of one result file to the ground truth at every threshold.

    Args:
        world: models, ground truth, targets.
        blocks: of one result file; each may hold more estimates than the target's inst_count only if `best_order`.
        errors: the error types.
        best_order: rank estimates by their errors instead of their scores (see `perfect_ranking`).
    """
    thresholds = np.concatenate([error.thresholds for error in errors])
    found: dict[ImageKey, NDArray[np.int32]] = {}
    valid = {key: valid_instances(world, key) for key in world.targets}
    for key, flags in valid.items():
        found[key] = np.full((len(flags), *thresholds.shape), -1, dtype=np.int32)
    matcher = perfect_ranking if best_order else kernels.match
    for block in blocks:
        if not len(block.group.rows) or not len(block.gt_ids):
            continue
        matched = matcher(normalised(world, block, errors), thresholds, valid[block.key][block.gt_ids])
        rows = np.r_[block.group.rows, -1].astype(np.int32)  # position -1 (nothing) stays -1
        found[block.key][block.gt_ids] = np.moveaxis(rows[matched], -1, 0)
    return _table(world, found, valid)


def _table(world: World, found: dict[ImageKey, NDArray[np.int32]], valid: dict[ImageKey, Any]) -> Recalled:
    keys = list(found)
    truths = [world.truth(key) for key in keys]
    counts = [len(truth.obj_id) for truth in truths]
    if not keys:
        raise ValueError("no target images")
    return Recalled(
        scene_id=np.repeat([key[0] for key in keys], counts),
        im_id=np.repeat([key[1] for key in keys], counts),
        obj_id=np.concatenate([truth.obj_id for truth in truths]),
        gt_id=np.concatenate([np.arange(count) for count in counts]),
        valid=np.concatenate([valid[key] for key in keys]),
        visib_fract=np.concatenate([truth.visib_fract for truth in truths]),
        distance_mm=np.concatenate([np.linalg.norm(truth.t, axis=1) for truth in truths]),
        matched=np.concatenate([found[key] for key in keys]),
    )


def perfect_ranking(errors: Array, thresholds: Array, valid: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Matching that the best possible scores would give: pairs are taken by ascending error, each side once.

    As the valid ground truths are no more than inst_count, no estimate that is taken would have been cut off. Same
    arguments and result as `kernels.match`.
    """
    K, E, G = errors.shape
    matched = np.full((*thresholds.shape, G), -1, dtype=np.int32)
    for k in range(K):
        values = np.where(valid[None, :], errors[k], np.inf)
        for _ in range(min(E, int(valid.sum()))):
            e, g = np.unravel_index(np.argmin(values), values.shape)
            if not np.isfinite(values[e, g]):
                break
            matched[k, values[e, g] < thresholds[k], g] = e
            values[e, :] = values[:, g] = np.inf
    return matched


def averages(recall: Array, errors: Sequence[ErrorRows]) -> dict[str, float]:
    """AR of each error type and their mean `ar`, from recalls (..., K, T) of one set of rows."""
    result, row = {}, 0
    for error in errors:
        count = len(error.thresholds)
        result[error.name] = float(recall[row : row + count].mean())
        row += count
    return {"ar": float(np.mean(list(result.values()))), **result}
