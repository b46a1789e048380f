"""Refinement of an estimate against the depth image: render, align the visible side, keep what explains more.

The published refiner (cosypose.md section 15) aligns centroids within a predicted mask, runs ICP, and believes it where
its own residual is small, which made T-LESS worse. Here estimates come without masks: the object's silhouette at the
estimate stands for it; starts are the estimate, its shift along the viewing ray that agrees with most pixels, and the
one that joins the centroids; and a result has to explain clearly more of the depth image than the estimate did. Where
depth and colour are misaligned as a whole, as in T-LESS, `stage` finds by how many pixels, and depth is looked at with
shifted intrinsics.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pose_models.geometry.depth_images import normals_from_depth, points_from_depth
from pose_models.geometry.icp import Alignment, point_to_plane
from pose_models.geometry.transforms import apply
from pose_models.refinement.config import DepthRefinementSettings
from pose_models.render.raycast import RayCaster

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

TARGETS = 20000  # measured points of a window; more are thinned out evenly
MARGIN_PX = 16  # beyond a window: what filling holes and blurring reach


@dataclasses.dataclass(frozen=True)
class Refinement:
    """What became of an estimate.

    T_cam_obj: (4, 4) mm. before, after: shares of the silhouette that speak for the estimate and for the result.
    """

    T_cam_obj: Array
    before: float
    after: float
    accepted: bool


@dataclasses.dataclass(frozen=True)
class Window:
    """A part of a depth image: depth (h, w) mm, 0 where it is not usable; points, normals (h, w, 3); K (3, 3) of it."""

    depth: Array
    points: Array
    normals: Array
    K: Array

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.depth.shape[1], self.depth.shape[0]


class DepthImage:
    """A depth image (H, W) mm, 0 = not measured, with intrinsics K (3, 3), pixel centres at integers."""

    def __init__(self, depth_mm: ArrayLike, K: ArrayLike, settings: DepthRefinementSettings) -> None:
        self.depth, self.K, self.settings = np.asarray(depth_mm, np.float64), np.asarray(K, np.float64), settings

    def window(self, box: tuple[int, int, int, int]) -> Window:
        """The part inside a box (left, top, right, bottom; ends excluded), which may reach beyond the image."""
        height, width = self.depth.shape
        left, top, right, bottom = max(box[0], 0), max(box[1], 0), min(box[2], width), min(box[3], height)
        x, y = max(left - MARGIN_PX, 0), max(top - MARGIN_PX, 0)
        part = self.depth[y : bottom + MARGIN_PX, x : right + MARGIN_PX]
        K = _moved(self.K, x, y)
        whole = self.settings.faithful
        normals = normals_from_depth(part, K, whole=whole)
        points = points_from_depth(part, K, whole=whole)
        inner = np.s_[top - y : bottom - y, left - x : right - x]
        z = part[inner]
        usable = np.where((z > self.settings.near_mm) & (z < self.settings.far_mm), z, 0.0)
        return Window(usable, points[inner], normals[inner], _moved(self.K, left, top))


def _moved(K: Array, x: int, y: int) -> Array:
    """Intrinsics of the part of an image that begins at column x and row y."""
    moved = K.copy()
    moved[:2, 2] -= x, y
    return moved


class DepthRefiner:
    """Refines estimates of one dataset's objects.

    Args:
        caster: the ray caster of an object.
        diameters: mm, by object id.
    """

    def __init__(
        self, caster: Callable[[int], RayCaster], diameters: dict[int, float], settings: DepthRefinementSettings
    ) -> None:
        self.caster, self.diameters, self.settings = caster, diameters, settings

    def refine(self, image: DepthImage, obj_id: int, T_cam_obj: ArrayLike) -> Refinement:
        """Refine one estimate (4, 4) mm; it stays as it is where the depth image says too little."""
        T = np.asarray(T_cam_obj, dtype=np.float64)
        caster, reach = self.caster(obj_id), self.settings.reach * self.diameters[obj_id]
        window = self._window(image, caster, T, reach)
        if window is None:
            return Refinement(T, 0.0, 0.0, False)
        if self.settings.faithful:
            return self._refine_as_published(window, caster, T)
        before = self.explained(window, caster, T)
        results = [self._align(window, caster, start, reach) for start in self._starts(window, caster, T, reach)]
        tried = [(self.explained(window, caster, result), result) for result in results if result is not None]
        after, best = max(tried, key=lambda item: item[0], default=(before, T))
        accepted = bool(tried) and after >= before + self.settings.min_gain
        return Refinement(best if accepted else T, before, after if accepted else before, accepted)

    def explained(self, window: Window, caster: RayCaster, T_cam_obj: Array) -> float:
        """Share of a pose's silhouette that the depth image confirms, less the share that it sees through.

        What stands in front of the object, and what was not measured, speaks neither for the pose nor against it.
        """
        rendered = self._render(window, caster, T_cam_obj)
        seen = rendered > 0
        if not seen.any():
            return 0.0
        measured = seen & (window.depth > 0)
        behind = (window.depth - rendered)[measured] / self.settings.tolerance_mm
        return float((np.clip(1 - np.abs(behind), 0, 1).sum() - (behind > 1).sum()) / seen.sum())

    def _window(self, image: DepthImage, caster: RayCaster, T: Array, reach: float) -> Window | None:
        """Where the object may be; None where that is outside the image or behind the camera."""
        height, width = image.depth.shape
        left, top, right, bottom = caster.box(image.K, T, width, height)
        if left >= right or top >= bottom or T[2, 3] <= reach:
            return None
        margin = int(np.ceil(reach * image.K[0, 0] / T[2, 3] / 2))
        return image.window((left - margin, top - margin, right + margin, bottom + margin))

    def _starts(self, window: Window, caster: RayCaster, T: Array, reach: float) -> list[Array]:
        """The estimate; moved along its viewing ray to where most of its pixels agree with depth; centroids joined."""
        rendered = self._render(window, caster, T)
        both = (rendered > 0) & (window.depth > 0)
        if not both.any():
            return [T]
        starts = [T, _joined_centroids(rendered, both, window, self.settings.faithful) @ T]
        residual = np.sort((window.depth - rendered)[both])
        residual = residual[np.abs(residual) <= reach]
        if len(residual):
            ends = np.searchsorted(residual, residual + 2 * self.settings.tolerance_mm, side="right")
            densest = int(np.argmax(ends - np.arange(len(residual))))
            shift = float(np.median(residual[densest : ends[densest]]))
            along_ray = T.copy()
            along_ray[:3, 3] *= 1 + shift / T[2, 3]
            starts.append(along_ray)
        return starts

    def _render(self, window: Window, caster: RayCaster, T: Array) -> Array:
        return np.asarray(caster.cast(window.K, T, *window.size).depth, dtype=np.float64)

    def _align(self, window: Window, caster: RayCaster, T: Array, reach: float) -> Array | None:
        """Align the visible side with what was measured around it; None where either has too few points."""
        for _ in range(self.settings.rounds):
            rendered = self._render(window, caster, T)
            hidden = (window.depth > 0) & (window.depth < rendered - reach)
            source = points_from_depth(rendered, window.K)[(rendered > 0) & ~hidden]
            if len(source) < self.settings.min_points:
                return None
            low, high = max(source[:, 2].min() - reach, 0.0), source[:, 2].max() + reach
            near = (window.depth > low) & (window.depth < high) & (window.normals != 0).any(axis=-1)
            if near.sum() < self.settings.min_points:
                return None
            T = self._icp(source, window.points[near], window.normals[near], reach).T_target_source @ T
        return T

    def _refine_as_published(self, window: Window, caster: RayCaster, T: Array) -> Refinement:
        """Centroids, then ICP within the silhouette; taken where the residual is small for the object's size."""
        before = self.explained(window, caster, T)
        rendered = self._render(window, caster, T)
        both = (rendered > 0) & (window.depth > 0)
        if both.sum() < self.settings.min_points:
            return Refinement(T, before, before, False)
        shift = _joined_centroids(rendered, both, window, whole=True)
        source = apply(shift, points_from_depth(rendered, window.K, whole=True)[both])
        result = self._icp(source, window.points[both], window.normals[both], np.inf)
        size = float(np.linalg.norm(source - source.mean(axis=0), axis=1).mean())
        if result.rmse > self.settings.max_residual * size:
            return Refinement(T, before, before, False)
        T = result.T_target_source @ shift @ T
        return Refinement(T, before, self.explained(window, caster, T), True)

    def _icp(self, source: Array, target: Array, normals: Array, max_distance: float) -> Alignment:
        icp = self.settings.icp
        thin, sparse = -(-len(source) // icp.points), -(-len(target) // TARGETS)
        return point_to_plane(
            source[::thin], target[::sparse], normals[::sparse], np.eye(4), max_distance,
            icp.levels, icp.iterations, icp.tolerance, icp.rejection,
        )  # fmt: skip


def _joined_centroids(rendered: Array, both: Mask, window: Window, whole: bool) -> Array:
    """Translation (4, 4) from the centroid of what is rendered to that of what was measured there."""
    shift = np.eye(4)
    source = points_from_depth(rendered, window.K, whole)[both]
    shift[:3, 3] = window.points[both].mean(axis=0) - source.mean(axis=0)
    return shift
