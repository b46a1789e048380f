"""Meters: which estimate takes which ground truth, and what papers before BOP count from it (cosypose.md 9.3).

A meter matches the estimates of one object in one image with its ground truths: by decreasing score, each takes the
still free ground truth of the lowest error within the meter's limit. Recall, area under the curve, average precision
and mean errors are numbers of the table that results.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pose_models.evaluation import kernels

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Rows = NDArray[np.int64]

MAX_ERROR_MM = 100.0  # where the AUC's curve ends
MIN_VISIBLE = 0.1
RECALL_SHARE = 0.1  # of the diameter


@dataclasses.dataclass(frozen=True)
class Meter:
    """How estimates are matched.

    error: name in `errors.BY_NAME`. limit: largest error of a match as a share of the diameter. near: a match's
    translations are less than a diameter apart. top: how many of the best-scored estimates take part, `targets` for as
    many as the target has instances. counted: ground truths that count: all, those visible to a tenth, or as many of
    the most visible ones as the target has instances.
    """

    error: str
    limit: float = math.inf
    near: bool = False
    top: Literal["one", "targets", "all"] = "one"
    counted: Literal["all", "visible", "targets"] = "all"

    def best(self, count: int, inst_count: int) -> int:
        """How many of `count` estimates take part."""
        return min(count, {"one": 1, "targets": inst_count, "all": count}[self.top])

    def valid(self, visib_fract: Array, inst_count: int) -> Flags:
        """(G,) which ground truths count."""
        if self.counted == "targets":
            chosen = np.zeros(len(visib_fract), dtype=bool)
            chosen[np.argsort(-visib_fract, kind="stable")[:inst_count]] = True
            return chosen
        if self.counted == "visible":
            return np.asarray((visib_fract >= MIN_VISIBLE) & (inst_count > 0))
        return np.ones(len(visib_fract), dtype=bool)

    def match(self, errors: Array, distance: Array, diameter: float, valid: Flags) -> Rows:
        """Positions of the estimates (G,) that took the ground truths, -1 = none.

        Args:
            errors, distance: (E, G) errors, and distances of the translations, in the diameter's unit; best score
                first.
            valid: (G,) which ground truths may be taken.
        """
        errors = np.where(distance < diameter, errors, np.inf) if self.near else errors
        limit = np.nextafter(self.limit * diameter, np.inf)  # the kernel matches strictly below
        return np.asarray(kernels.match(errors[None], np.array([[limit]]), valid)[0, 0], dtype=np.int64)


@dataclasses.dataclass(frozen=True)
class Group:
    """What a meter found for one object in one image.

    valid: (G,). matched: (G,) position of the estimate, -1 = none. error: (G,), infinite where there is none. score:
    (E,) of all estimates, best first, of which the meter may have left out the last. instances: ground truths that
    count towards recall.
    """

    obj_id: int
    diameter: float
    valid: Flags
    matched: Rows
    error: Array
    score: Array
    instances: int


def measure(
    meter: Meter, obj_id: int, diameter: float, errors: Array, distance: Array, score: Array, visib_fract: Array,
    inst_count: int,
) -> Group:  # fmt: skip
    """Apply a meter to one object in one image.

    Args:
        errors, distance: (E, G), see `Meter.match`; score: (E,) descending; visib_fract: (G,).
        inst_count: instances of the object that the image's targets name.
    """
    taking_part = meter.best(len(score), inst_count)
    valid = meter.valid(visib_fract, inst_count)
    matched = meter.match(errors[:taking_part], distance[:taking_part], diameter, valid)
    error = np.where(matched >= 0, errors[matched, np.arange(len(valid))] if len(errors) else np.inf, np.inf)
    count = int(valid.sum())
    instances = min(count, 1) if meter.top == "one" else count
    return Group(obj_id, diameter, valid, matched, error, score, instances)


@dataclasses.dataclass(frozen=True)
class Table:
    """The groups of one meter over a dataset."""

    groups: tuple[Group, ...]

    def of(self, obj_id: int) -> Table:
        """The groups of one object."""
        return Table(tuple(group for group in self.groups if group.obj_id == obj_id))

    @property
    def object_ids(self) -> list[int]:
        """Objects with a ground truth that counts."""
        return sorted({group.obj_id for group in self.groups if group.instances})

    @property
    def errors(self) -> Array:
        """Errors of all ground truths that count, infinite where none was matched."""
        return np.concatenate([np.zeros(0), *(group.error[group.valid] for group in self.groups)])

    @property
    def instances(self) -> int:
        """Number of ground truths that recall is over."""
        return sum(group.instances for group in self.groups)

    @property
    def matches(self) -> int:
        """Number of matched ground truths."""
        return int(np.isfinite(self.errors).sum())

    def recall(self, share: float = RECALL_SHARE) -> float:
        """Share of the instances that were found with an error below a share of the diameter."""
        found = sum(int((g.error[g.valid] < share * g.diameter).sum()) for g in self.groups)
        return found / self.instances if self.instances else 0.0

    def area_under_curve(self, unit_mm: float = 1.0) -> float:
        """AUC up to 10 cm; nan if no error is that small. unit_mm: millimetres per unit of the errors."""
        return area_under_curve(self.errors * unit_mm)

    def average_precision(self) -> float:
        """Area under the precision-recall curve of all estimates, by score; those left out count as wrong."""
        taken = [np.isin(np.arange(len(g.score)), g.matched) for g in self.groups]
        positive = np.concatenate([np.zeros(0, dtype=bool), *taken])
        score = np.concatenate([np.zeros(0), *(group.score for group in self.groups)])
        return average_precision(score, positive, self.instances)

    def per_object(self, number: Callable[[Table], float]) -> dict[int, float]:
        """A number for each object."""
        return {obj_id: number(self.of(obj_id)) for obj_id in self.object_ids}


def area_under_curve(errors_mm: Array) -> float:
    """AUC of errors (N,) up to 10 cm, missed instances infinite (cosypose.md 9.2); nan if none is within 10 cm."""
    errors = np.sort(np.asarray(errors_mm, dtype=np.float64))
    accuracy = np.arange(1, len(errors) + 1) / max(len(errors), 1)
    kept = errors <= MAX_ERROR_MM
    if not kept.any():
        return math.nan
    distance = np.r_[0.0, errors[kept], MAX_ERROR_MM]
    accuracy = np.maximum.accumulate(np.r_[0.0, accuracy[kept], accuracy[kept][-1]])
    steps = np.flatnonzero(distance[1:] != distance[:-1]) + 1
    return float(np.sum((distance[steps] - distance[steps - 1]) * accuracy[steps]) / MAX_ERROR_MM)


def average_precision(score: Array, positive: Flags, instances: int) -> float:
    """Average precision of scored estimates (N,), of which `positive` (N,) found one of `instances` ground truths.

    The sum over score values of precision times the recall gained; equal scores count together.
    """
    if not instances or not positive.any():
        return 0.0
    order = np.argsort(-score, kind="stable")
    last_of_value = np.r_[np.diff(score[order]) != 0, True]
    found = np.cumsum(positive[order])[last_of_value]
    seen = np.flatnonzero(last_of_value) + 1
    return float(np.sum(np.diff(np.r_[0, found]) / instances * found / seen))
