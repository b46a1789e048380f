"""Object-level matching: which candidates of different views are one physical object (cosypose.md 12.2-12.5).

Two pairs of candidates of equal objects fix the relative pose of two views. Of many such hypotheses per ordered pair of
views, the one under which most candidates meet is kept; candidates that meet become edges of a graph whose strongly
connected components are the objects.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pose_models.geometry.transforms import invert
from pose_models.multiview.boxes import Box
from pose_models.multiview.config import MatchSettings

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
CHUNK = 50_000  # relative poses at work at once, each with 13 + S numbers


@dataclasses.dataclass(frozen=True)
class Candidates:
    """N pose candidates: view_id, obj_id (N,) int64, score (N,), T_cam_obj (N, 4, 4) mm."""

    view_id: Indices
    obj_id: Indices
    score: Array
    T_cam_obj: Array

    def __len__(self) -> int:
        return len(self.view_id)

    def select(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Candidates:
        """Some of them."""
        return Candidates(self.view_id[rows], self.obj_id[rows], self.score[rows], self.T_cam_obj[rows])


@dataclasses.dataclass(frozen=True)
class ViewPair:
    """An ordered pair of views with T_first_second (4, 4) mm; matches (M, 2) are candidates that meet under it."""

    first: int
    second: int
    T_first_second: Array
    matches: Indices


@dataclasses.dataclass(frozen=True)
class Matching:
    """Objects seen in several views.

    object_index: (N,) number of each candidate's object, -1 where it has none. pairs: view pairs with a hypothesis.
    view_groups: views that hang together.
    """

    object_index: Indices
    pairs: tuple[ViewPair, ...]
    view_groups: tuple[tuple[int, ...], ...]


def match(
    candidates: Candidates,
    boxes: Mapping[int, Box],
    settings: MatchSettings,
    T_world_cam: Mapping[int, Array] | None = None,
) -> Matching:
    """Match the candidates of one group of views.

    Args:
        candidates: those below the score limit are expected to be gone.
        boxes: by object id.
        settings: thresholds; `faithful` repeats what the reference loses.
        T_world_cam: camera poses by view id where they are known.
    """
    views = np.unique(candidates.view_id)
    pairs = []
    is_first = True
    for first, second in itertools.permutations(views.tolist(), 2):
        tentative = tentative_matches(candidates, first, second)
        if T_world_cam is None:
            relative = hypotheses(candidates, boxes, tentative, settings, (first, second))
            least = settings.min_inliers
        else:
            enough = len(tentative) >= (2 if settings.faithful else 1)
            relative = (invert(T_world_cam[first]) @ T_world_cam[second])[None][: int(enough)]
            least = settings.min_inliers if settings.faithful else settings.min_inliers_known_cameras
        if not len(relative):
            continue
        skipped = 1 if settings.faithful and is_first else 0  # the reference can never choose its very first one
        is_first = False
        best = _best(candidates, boxes, tentative, relative[skipped:], settings.threshold_mm, least)
        if best is not None:
            pairs.append(ViewPair(first, second, relative[skipped + best[0]], best[1]))
    return Matching(_objects(candidates, pairs), tuple(pairs), _view_groups(views, pairs))


def tentative_matches(candidates: Candidates, first: int, second: int) -> Indices:
    """Pairs (M, 2) of candidates of the two views with equal objects."""
    a, b = (np.flatnonzero(candidates.view_id == view) for view in (first, second))
    i, j = np.nonzero(candidates.obj_id[a][:, None] == candidates.obj_id[b][None])
    return np.stack([a[i], b[j]], axis=1)


def seeds(count: int, settings: MatchSettings, views: tuple[int, int]) -> Indices:
    """Ordered pairs (H, 2) of different ones of `count` tentative matches: all, or as many as the settings allow."""
    total = count * (count - 1)
    if settings.faithful and total > settings.max_hypotheses:
        rng = np.random.RandomState(settings.seed)
        nested = ((i, j) for i in rng.permutation(count) for j in rng.permutation(count) if i != j)
        return np.array(list(itertools.islice(nested, settings.max_hypotheses)), dtype=np.int64)
    number = np.arange(total)
    if total > settings.max_hypotheses:
        rng_of_pair = np.random.default_rng([settings.seed, *views])
        number = np.sort(rng_of_pair.choice(total, settings.max_hypotheses, replace=False))
    i, j = np.divmod(number, max(count - 1, 1))
    return np.stack([i, j + (j >= i)], axis=1)


def hypotheses(
    candidates: Candidates, boxes: Mapping[int, Box], tentative: Indices, settings: MatchSettings,
    views: tuple[int, int],
) -> Array:  # fmt: skip
    """Relative poses T_first_second (H, 4, 4): of the symmetries of the first match, the one that fits the second."""
    chosen = seeds(len(tentative), settings, views)
    T = candidates.T_cam_obj
    turned = [_turned(T, boxes[int(candidates.obj_id[a])], a, b) for a, b in tentative.tolist()]
    result = np.zeros((len(chosen), 4, 4))
    for m, (g, d) in enumerate(tentative.tolist()):
        members = np.flatnonzero(chosen[:, 1] == m)
        box = boxes[int(candidates.obj_id[g])]
        for rows in np.array_split(members, 1 + sum(len(turned[i]) for i in chosen[members, 0]) // CHUNK):
            if not len(rows):
                continue
            T_first_second = np.concatenate([turned[i] for i in chosen[rows, 0]])
            distance, _ = box.relative_distance(_between(invert(T[d]), invert(T_first_second), T[g]))
            counts = [len(turned[i]) for i in chosen[rows, 0]]
            starts = np.cumsum([0, *counts])
            best = [lo + distance[lo:hi].argmin() for lo, hi in itertools.pairwise(starts)]
            result[rows] = T_first_second[best]
    return result


def _turned(T: Array, box: Box, a: int, b: int) -> Array:
    """Relative poses (S, 4, 4) of two views in which candidates a and b are one object, for each symmetry."""
    return np.asarray((T[a] @ box.symmetries) @ invert(T[b]))


def _between(left: Array, T: Array, right: Array) -> Array:
    """left @ T @ right for (4, 4), (N, 4, 4) and (4, 4), as two matrix products instead of 2 N small ones."""
    product = (T.reshape(-1, 4) @ right).reshape(-1, 4, 4)
    return np.asarray((left @ product.transpose(1, 0, 2).reshape(4, -1)).reshape(4, -1, 4).transpose(1, 0, 2))


def _best(
    candidates: Candidates, boxes: Mapping[int, Box], tentative: Indices, relative: Array, limit_mm: float,
    least: int,
) -> tuple[int, Indices] | None:  # fmt: skip
    """The hypothesis with most inliers, then the smallest sum of distances, and its matches; None below `least`."""
    if not len(relative) or not len(tentative):
        return None
    distance = np.full((len(relative), len(tentative)), np.inf)
    T, inverse = candidates.T_cam_obj, invert(relative)
    for m, (a, b) in enumerate(tentative.tolist()):
        box = boxes[int(candidates.obj_id[a])]
        T_ba = _between(invert(T[b]), inverse, T[a])
        near = np.flatnonzero(~box.is_far(T_ba, limit_mm))
        distance[near, m] = box.relative_distance(T_ba[near])[0]
    is_inlier = distance <= limit_mm
    best: tuple[tuple[int, float], int, Indices] | None = None
    most = is_inlier.sum(axis=1)
    for h in np.argsort(-most, kind="stable").tolist():
        if most[h] < max(least, best[0][0] if best else 0):
            break
        rows = np.flatnonzero(is_inlier[h])
        taken = _unique(tentative, rows[np.argsort(distance[h, rows], kind="stable")])
        rank = (len(taken), -float(distance[h, taken].sum()))
        if len(taken) >= least and (best is None or rank > best[0] or (rank == best[0] and h < best[1])):
            best = rank, h, tentative[taken]
    return None if best is None else (best[1], best[2])


def _unique(tentative: Indices, rows: Indices) -> Indices:
    """Of tentative matches in this order, those whose candidates are both still free."""
    left: set[int] = set()
    right: set[int] = set()
    taken = []
    for row in rows.tolist():
        a, b = tentative[row].tolist()
        if a not in left and b not in right:
            left.add(a)
            right.add(b)
            taken.append(row)
    return np.array(taken, dtype=np.int64)


def _components(edges: Indices, count: int) -> Indices:
    """Strongly connected component (N,) of each node of a directed graph."""
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=True, connection="strong")[1], dtype=np.int64)


def _objects(candidates: Candidates, pairs: list[ViewPair]) -> Indices:
    """Object of each candidate, numbered in the order of their first candidates; -1 for those that stand alone."""
    edges = np.concatenate([np.zeros((0, 2), dtype=np.int64), *(pair.matches for pair in pairs)])
    component = _components(edges, len(candidates))
    number: dict[int, int] = {}
    sizes = np.bincount(component, minlength=1)
    return np.array([-1 if sizes[c] < 2 else number.setdefault(c, len(number)) for c in component], dtype=np.int64)


def _view_groups(views: Indices, pairs: list[ViewPair]) -> tuple[tuple[int, ...], ...]:
    """Views that hang together through selected pairs, each group ascending; views without a pair are left out."""
    position = {view: i for i, view in enumerate(views.tolist())}
    edges = np.array([(position[p.first], position[p.second]) for p in pairs], dtype=np.int64).reshape(-1, 2)
    component = _components(edges, len(views))
    groups = [tuple(views[component == c].tolist()) for c in np.unique(component[edges.ravel()])]
    return tuple(sorted(group for group in groups if len(group) > 1))
