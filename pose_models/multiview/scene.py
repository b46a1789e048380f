"""From the candidates of several views to scenes of objects and cameras (cosypose.md 12.5-12.7)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pose_models.geometry.transforms import invert
from pose_models.multiview.adjustment import Adjusted, Problem, adjust, initial_scene
from pose_models.multiview.boxes import Box
from pose_models.multiview.config import AdjustSettings, MatchSettings
from pose_models.multiview.matching import Candidates, Matching, match

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class ReconstructedScene:
    """Objects and cameras of views that hang together, in one world frame, mm.

    view_id (V,), K (V, 3, 3), T_world_cam (V, 4, 4); obj_id, score, candidates_of_object (O,), T_world_obj (O, 4, 4):
    a score is the sum of those of the object's candidates. rows: the candidates (M,) that were used, object_index (M,)
    their objects. adjusted: the course of the bundle adjustment.
    """

    view_id: Indices
    K: Array
    T_world_cam: Array
    obj_id: Indices
    score: Array
    candidates_of_object: Indices
    T_world_obj: Array
    rows: Indices
    object_index: Indices
    adjusted: Adjusted

    def reprojected(self) -> Candidates:
        """Every object in every camera, object by object; one is added to scores, so that they beat candidates."""
        objects, views = len(self.obj_id), len(self.view_id)
        T = invert(self.T_world_cam)[None] @ self.T_world_obj[:, None]
        return Candidates(
            np.tile(self.view_id, objects),
            np.repeat(self.obj_id, views),
            np.repeat(self.score + 1.0, views),
            T.reshape(-1, 4, 4),
        )

    def without_duplicates(self, limit_mm: float) -> ReconstructedScene:
        """Of objects nearer to each other than a limit only that with the best score, best first."""
        kept = suppress(self.T_world_obj[:, :3, 3], self.score, limit_mm)
        position = np.full(len(self.obj_id), -1)
        position[kept] = np.arange(len(kept))
        used = position[self.object_index] >= 0
        return dataclasses.replace(
            self,
            obj_id=self.obj_id[kept],
            score=self.score[kept],
            candidates_of_object=self.candidates_of_object[kept],
            T_world_obj=self.T_world_obj[kept],
            rows=self.rows[used],
            object_index=position[self.object_index[used]],
        )


def reconstruct(
    candidates: Candidates,
    K: Mapping[int, Array],
    boxes: Mapping[int, Box],
    match_settings: MatchSettings,
    adjust_settings: AdjustSettings,
    T_world_cam: Mapping[int, Array] | None = None,
) -> list[ReconstructedScene]:
    """Scenes of one group of views; none where nothing matches.

    Args:
        candidates: of all views; those below `match_settings.min_score` take no part.
        K: (3, 3) by view id.
        boxes: by object id.
        T_world_cam: camera poses by view id, mm, where they are known: they are then held.
    """
    rows = np.flatnonzero(candidates.score >= match_settings.min_score)
    used = candidates.select(rows)
    matching = match(used, boxes, match_settings, T_world_cam)
    return [
        _solve(used, rows, matching, list(views), K, boxes, adjust_settings, T_world_cam)
        for views in matching.view_groups
    ]


def _solve(
    used: Candidates, rows: Indices, matching: Matching, views: list[int], K: Mapping[int, Array],
    boxes: Mapping[int, Box], settings: AdjustSettings, T_world_cam: Mapping[int, Array] | None,
) -> ReconstructedScene:  # fmt: skip
    members = np.flatnonzero(np.isin(used.view_id, views) & (matching.object_index >= 0))
    objects = np.unique(matching.object_index[members]).tolist()
    obj_of = np.searchsorted(objects, matching.object_index[members])
    first = [members[obj_of == i][0] for i in range(len(objects))]
    cameras = np.stack([K[view] for view in views])
    problem = Problem(
        K=cameras,
        obj_id=used.obj_id[first],
        view=np.searchsorted(views, used.view_id[members]),
        obj=obj_of,
        T_cam_obj=used.T_cam_obj[members],
        boxes=boxes,
    )
    start = initial_scene(used, matching, views, objects, T_world_cam)
    adjusted = adjust(problem, start, settings, fixed_cameras=T_world_cam is not None)
    return ReconstructedScene(
        view_id=np.array(views, dtype=np.int64),
        K=cameras,
        T_world_cam=invert(adjusted.final.T_cam_world),
        obj_id=problem.obj_id,
        score=np.bincount(obj_of, weights=used.score[members]).astype(np.float64),
        candidates_of_object=np.bincount(obj_of),
        T_world_obj=adjusted.final.T_world_obj,
        rows=rows[members],
        object_index=obj_of,
        adjusted=adjusted,
    )


def suppress(positions: Array, score: Array, limit_mm: float) -> Indices:
    """Non-maximum suppression in space: rows kept, best first, of positions (N, 3) mm, whatever their objects."""
    kept: list[int] = []
    for row in np.argsort(-score, kind="stable").tolist():
        if all(np.linalg.norm(positions[row] - positions[other]) > limit_mm for other in kept):
            kept.append(row)
    return np.array(kept, dtype=np.int64)
