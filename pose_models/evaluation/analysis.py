"""What one number hides: confidence intervals, visibility, distance, ranking, and which of two results is better.

All of it comes from the `Recalled` tables of the BOP'19 score. Intervals are percentiles of a bootstrap over images,
because instances of one image succeed and fail together.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models.evaluation.localisation import ErrorRows, Recalled, averages

Array = NDArray[np.float64]

RESAMPLES = 1000
CONFIDENCE = 0.95
VISIBILITY_EDGES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
DISTANCE_BINS = 5
MOST_DIFFERENT = 20


def error_means(table: Recalled, errors: Sequence[ErrorRows]) -> tuple[Array, list[str]]:
    """How well each row (N) was found: its recall averaged over the settings of each error, (N, len(errors) + 1).

    The first column is the mean of the errors' columns. The mean over valid rows is the average recall, as AR is linear
    in what is found.
    """
    found = table.matched >= 0
    columns, row = [], 0
    for error in errors:
        count = len(error.thresholds)
        columns.append(found[:, row : row + count].mean(axis=(1, 2)))
        row += count
    values = np.stack([np.mean(columns, axis=0), *columns], axis=1) if columns else np.zeros((len(found), 1))
    return values, ["ar", *(error.name for error in errors)]


def image_sums(table: Recalled, values: Array) -> tuple[Array, Array]:
    """Sums of the valid rows' values (I, C) and their numbers (I,), by image in the order of the table."""
    images = np.stack([table.scene_id, table.im_id], axis=1)
    _, index = np.unique(images, axis=0, return_inverse=True)
    count = int(index.max()) + 1 if len(index) else 0
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, index[table.valid], values[table.valid])
    return sums, np.bincount(index[table.valid], minlength=count).astype(np.float64)


def resampling_weights(image_count: int, rng: np.random.Generator, resamples: int = RESAMPLES) -> Array:
    """How often each image is drawn in each resample: (resamples, images)."""
    return rng.multinomial(image_count, np.full(image_count, 1 / image_count), size=resamples).astype(np.float64)


def intervals(table: Recalled, errors: Sequence[ErrorRows], seed: int = 0) -> dict[str, dict[str, float]]:
    """Confidence interval {low, high, standard_error} of AR and of each error's AR."""
    values, names = error_means(table, errors)
    sums, counts = image_sums(table, values)
    weights = resampling_weights(len(counts), np.random.default_rng(seed))
    means = (weights @ sums) / np.maximum(weights @ counts, 1)[:, None]
    return {name: _interval(means[:, i]) for i, name in enumerate(names)}


def _interval(samples: Array) -> dict[str, float]:
    low, high = np.quantile(samples, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return {"low": float(low), "high": float(high), "standard_error": float(samples.std(ddof=1))}


def by_bins(table: Recalled, errors: Sequence[ErrorRows]) -> dict[str, list[dict[str, Any]]]:
    """AR by visible fraction (fixed edges) and by distance from the camera (quantiles of the instances)."""
    distance = table.distance_mm[table.valid]
    edges = np.unique(np.quantile(distance, np.linspace(0, 1, DISTANCE_BINS + 1))) if len(distance) else np.zeros(2)
    return {
        "by_visibility": _bins(table, errors, table.visib_fract, np.array(VISIBILITY_EDGES)),
        "by_distance_mm": _bins(table, errors, table.distance_mm, edges),
    }


def _bins(table: Recalled, errors: Sequence[ErrorRows], values: Array, edges: Array) -> list[dict[str, Any]]:
    result = []
    for low, high in itertools.pairwise(edges):
        last = high == edges[-1]
        chosen = (values >= low) & ((values <= high) if last else (values < high))
        count = int((table.valid & chosen).sum())
        if count:
            scores = averages(table.recall(chosen), errors)
            result.append({"from": float(low), "to": float(high), "instances": count, **scores})
    return result


def compare(first: Recalled, second: Recalled, errors: Sequence[ErrorRows], seed: int = 0) -> dict[str, Any]:
    """Second minus first on the same targets: differences with paired intervals, per object, and by image.

    `share_of_resamples_better` is how often the second was ahead over the resamples: 0.975 or more (0.025 or less) is
    what a two-sided test at 5 % would call a difference.
    """
    values, names = error_means(first, errors)
    other, _ = error_means(second, errors)
    sums, counts = image_sums(first, other - values)
    weights = resampling_weights(len(counts), np.random.default_rng(seed))
    means = (weights @ sums) / np.maximum(weights @ counts, 1)[:, None]
    total = sums.sum(axis=0) / max(counts.sum(), 1)
    return {
        "difference": {
            name: {"value": float(total[i]), **_interval(means[:, i]),
                   "share_of_resamples_better": float((means[:, i] > 0).mean() + 0.5 * (means[:, i] == 0).mean())}
            for i, name in enumerate(names)
        },
        "per_object": {
            int(obj): _object_difference(first, values[:, 0], other[:, 0], first.obj_id == obj, seed)
            for obj in np.unique(first.obj_id[first.valid])
        },
        "most_different_images": most_different(first, values[:, 0], other[:, 0]),
    }  # fmt: skip


def _object_difference(table: Recalled, a: Array, b: Array, chosen: NDArray[np.bool_], seed: int) -> dict[str, Any]:
    rows = table.valid & chosen
    images = np.stack([table.scene_id, table.im_id], axis=1)[rows]
    _, index = np.unique(images, axis=0, return_inverse=True)
    counts = np.bincount(index).astype(np.float64)
    sums = np.bincount(index, weights=(b - a)[rows])
    weights = resampling_weights(len(counts), np.random.default_rng(seed))
    return {
        "first": float(a[rows].mean()),
        "second": float(b[rows].mean()),
        "difference": float((b - a)[rows].mean()),
        **_interval((weights @ sums) / (weights @ counts)),
        "instances": int(rows.sum()),
    }


def most_different(table: Recalled, a: Array, b: Array, count: int = MOST_DIFFERENT) -> list[dict[str, Any]]:
    """Images by the size of the difference of their AR, largest first; images without a difference are left out."""
    keys = np.stack([table.scene_id, table.im_id], axis=1)
    images, index = np.unique(keys, axis=0, return_inverse=True)
    size = np.maximum(np.bincount(index[table.valid], minlength=len(images)), 1)
    first, second = (
        np.bincount(index[table.valid], weights=v[table.valid], minlength=len(images)) / size for v in (a, b)
    )
    order = np.argsort(-np.abs(second - first), kind="stable")[:count]
    return [
        {
            "scene_id": int(images[i, 0]),
            "im_id": int(images[i, 1]),
            "first": float(first[i]),
            "second": float(second[i]),
            "difference": float(second[i] - first[i]),
        }
        for i in order
        if second[i] != first[i]
    ]
