"""The multi-view stage: estimates of any method in single images to estimates that agree across views."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pose_models.datasets.bop import BopDataset
from pose_models.datasets.estimates import Estimates, join_estimates
from pose_models.files import InputError
from pose_models.multiview.boxes import Box
from pose_models.multiview.config import MultiviewSettings
from pose_models.multiview.matching import Candidates
from pose_models.multiview.scene import ReconstructedScene, reconstruct
from pose_models.multiview.views import view_groups

Array = NDArray[np.float64]
Frame = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class GroupResult:
    """What came out of one group of views (scene id, image ids): its scenes, and seconds for all of it."""

    scene_id: int
    views: tuple[int, ...]
    scenes: tuple[ReconstructedScene, ...]
    seconds: float


def boxes_of(infos: Mapping[int, Mapping[str, object]], rotations: int) -> dict[int, Box]:
    """Boxes by object id from models_info.json; an object without symmetries has the identity alone."""
    return {obj_id: Box.from_info(info, rotations) for obj_id, info in infos.items()}


def frames_of(dataset: BopDataset, split: str, estimates: Estimates) -> list[Frame]:
    """Frames to deal into groups: the target images, or those with estimates where there is no list."""
    listed = {(target.scene_id, target.im_id) for target in dataset.targets()}
    frames = listed or set(zip(estimates.scene_id.tolist(), estimates.im_id.tolist(), strict=True))
    return sorted(frames)


def solve_groups(
    dataset: BopDataset,
    split: str,
    estimates: Estimates,
    settings: MultiviewSettings,
    progress: Iterable[int] | None = None,
) -> list[GroupResult]:
    """Reconstruct every group of views of a split.

    Raises:
        InputError: a camera's pose is asked for and not in the dataset, or an object has no box in models_info.json.
    """
    boxes = boxes_of(_checked(dataset.models_info()), settings.match.rotations)
    unknown = set(np.unique(estimates.obj_id).tolist()) - set(boxes)
    if unknown:
        raise InputError(f"{dataset.root}: estimates of object {min(unknown)}, which has no entry in models_info.json")
    groups = view_groups(frames_of(dataset, split, estimates), settings.views)
    results = []
    for position in progress if progress is not None else range(len(groups)):
        group = groups[position]
        scene_id, views = group[0][0], tuple(im_id for _, im_id in group)
        scene = dataset.scene(split, scene_id)
        cameras = {im_id: scene.camera(im_id) for im_id in views}
        known = _camera_poses(dataset, split, scene_id, cameras) if settings.known_cameras else None
        candidates = candidates_of(estimates, scene_id, views)
        start = time.perf_counter()
        K = {im_id: camera.K for im_id, camera in cameras.items()}
        scenes = reconstruct(candidates, K, boxes, settings.match, settings.adjust, known)
        results.append(GroupResult(scene_id, views, tuple(scenes), time.perf_counter() - start))
    return results


def with_scores_of(estimates: Estimates, settings: MultiviewSettings) -> Estimates:
    """The estimates with scores of 0 to 1, which sums over views and thresholds need.

    Raises:
        InputError: scores are taken as given and lie outside 0 to 1.
    """
    if settings.scores == "given":
        low, high = (estimates.score.min(), estimates.score.max()) if len(estimates) else (0.0, 0.0)
        if low < 0 or high > 1:
            raise InputError(f"scores of the estimates lie in {low:.3g} to {high:.3g}, not in 0 to 1; set scores: rank")
        return estimates
    share = np.zeros(len(estimates))
    for obj_id in np.unique(estimates.obj_id):
        rows = np.flatnonzero(estimates.obj_id == obj_id)
        ordered = np.sort(estimates.score[rows])
        share[rows] = np.searchsorted(ordered, estimates.score[rows], side="right") / len(rows)
    return dataclasses.replace(estimates, score=share)


def group_count(dataset: BopDataset, split: str, estimates: Estimates, settings: MultiviewSettings) -> int:
    """How many groups `solve_groups` will solve."""
    return len(view_groups(frames_of(dataset, split, estimates), settings.views))


def _checked(infos: Mapping[int, Mapping[str, object]]) -> Mapping[int, Mapping[str, object]]:
    for obj_id, info in infos.items():
        missing = [key for key in ("min_x", "size_x") if key not in info]
        if missing:
            raise InputError(f"models_info.json: object {obj_id} has no '{missing[0]}'; multi-view needs its box")
    return infos


def _camera_poses(dataset: BopDataset, split: str, scene_id: int, cameras: Mapping[int, object]) -> dict[int, Array]:
    poses = {}
    for im_id, camera in cameras.items():
        T = getattr(camera, "T_cam_world", None)
        if T is None:
            raise InputError(
                f"{dataset.root / split}: scene {scene_id}, image {im_id} has no cam_R_w2c and cam_t_w2c; "
                "set known_cameras: false"
            )
        poses[im_id] = np.linalg.inv(T)
    return poses


def candidates_of(estimates: Estimates, scene_id: int, views: Sequence[int]) -> Candidates:
    """The estimates of some images of a scene as candidates."""
    rows = np.flatnonzero((estimates.scene_id == scene_id) & np.isin(estimates.im_id, list(views)))
    own = estimates.take(rows)
    T = np.tile(np.eye(4), (len(own), 1, 1))
    T[:, :3, :3], T[:, :3, 3] = own.R, own.t
    return Candidates(own.im_id, own.obj_id, own.score, T)


def to_estimates(results: Sequence[GroupResult], single: Estimates) -> Estimates:
    """Every object in every view of its group, followed by the candidates, which count where nothing was found.

    An image's time is that of its candidates plus its share of the group's.
    """
    times = single.image_times()
    share = {(r.scene_id, view): r.seconds / len(r.views) for r in results for view in r.views}
    found = [(r.scene_id, scene.reprojected()) for r in results for scene in r.scenes]
    parts = [
        Estimates(
            scene_id=np.full(len(c), scene_id, dtype=np.int64),
            im_id=c.view_id,
            obj_id=c.obj_id,
            score=c.score,
            R=c.T_cam_obj[:, :3, :3],
            t=c.T_cam_obj[:, :3, 3],
            time=np.zeros(len(c)),
        )
        for scene_id, c in found
    ]
    both = join_estimates([*parts, single])
    frames = list(zip(both.scene_id.tolist(), both.im_id.tolist(), strict=True))
    unknown = any(value < 0 for value in times.values())
    seconds = [-1.0 if unknown else max(times.get(f, 0.0), 0.0) + share.get(f, 0.0) for f in frames]
    return dataclasses.replace(both, time=np.array(seconds, dtype=np.float64))
