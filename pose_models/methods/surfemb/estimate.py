"""From the network's answer on one crop to a pose: sample, solve, prune, score, refine (surfemb.md section 11)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pose_models.geometry.transforms import from_rotation_translation
from pose_models.methods.results import Clock
from pose_models.methods.surfemb.config import InferSettings
from pose_models.methods.surfemb.hypotheses import faces_camera, plausible_size, pose_hypotheses, spread
from pose_models.methods.surfemb.keys import Sphere
from pose_models.methods.surfemb.maps import Maps, make_maps, sample_correspondences
from pose_models.methods.surfemb.refine import LATTICE_SHIFT, make_objective, refine_pose
from pose_models.methods.surfemb.scoring import score_poses
from pose_models.render.raycast import RayCaster

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Surface:
    """What inference knows of an object.

    points, normals: (m, 3) samples of the visible surface, mm and unit, float32 tensors. keys: (m, E).
    key_function: keys (N, E) of points (N, 3) normalised by `sphere`. caster: renders the object's mesh.
    """

    points: Tensor
    normals: Tensor
    keys: Tensor
    key_function: Callable[[Tensor], Tensor]
    caster: RayCaster
    sphere: Sphere
    diameter_mm: float


@dataclasses.dataclass(frozen=True)
class PoseEstimate:
    """A pose and how it came about.

    T_cam_obj: (4, 4) mm, refined where refinement is on; T_unrefined before it. score: 0 is perfect; of the refined
    pose, or of the unrefined one where `rescore` is off; its parts mask_score and coordinate_score. hypothesis_score:
    the highest of all hypotheses, of the unrefined pose. objective: of the refinement, before and after. scored: number
    of hypotheses that survived pruning. times: seconds by stage.
    """

    T_cam_obj: Array
    T_unrefined: Array
    score: float
    mask_score: float
    coordinate_score: float
    hypothesis_score: float
    objective: tuple[float, float]
    scored: int
    times: dict[str, float]


def estimate_pose(
    mask_logits: Tensor, queries: Tensor, K: ArrayLike, surface: Surface, settings: InferSettings,
    rng: np.random.Generator,
) -> PoseEstimate | None:  # fmt: skip
    """Estimate the pose of one crop.

    Args:
        mask_logits: (H, H). queries: (H, H, E). K: (3, 3) intrinsics of the crop, general.
        rng: all random choices come from it.

    Returns:
        The best hypothesis, refined, or None if none survived.
    """
    settings, clock, K = settings.effective(), Clock(surface.keys.device), np.asarray(K, dtype=np.float64)
    maps = make_maps(
        mask_logits, queries, surface.keys, K, settings.downsample, settings.max_pool, settings.average_queries,
        settings.alpha,
    )  # fmt: skip
    clock.lap("correlation")
    poses = draw_hypotheses(maps, surface, settings, rng, clock)
    if len(poses) == 0:
        return None
    scores = score_poses(maps, surface.keys, surface.points, poses)
    clock.lap("scoring")
    best = int(np.argmax(scores.total))
    if not np.isfinite(scores.total[best]):
        return None
    R, t, highest = poses[best, :, :3], poses[best, :, 3], float(scores.total[best])
    start, objective = from_rotation_translation(R, t), (float("nan"), float("nan"))
    if settings.refine_steps:
        R, t, *values = refine(R, t, queries, K, surface, settings, rng)
        objective = (values[0], values[1])
        if settings.rescore:
            scores, best = score_poses(maps, surface.keys, surface.points, np.column_stack([R, t])[None]), 0
        clock.lap("refinement")
    return PoseEstimate(
        T_cam_obj=from_rotation_translation(R, t),
        T_unrefined=start,
        score=float(scores.total[best]),
        mask_score=float(scores.mask[best]),
        coordinate_score=float(scores.coordinates[best]),
        hypothesis_score=highest,
        objective=objective,
        scored=len(poses),
        times=clock.times,
    )


def draw_hypotheses(
    maps: Maps, surface: Surface, settings: InferSettings, rng: np.random.Generator, clock: Clock | None = None
) -> Array:
    """Sampled, solved and pruned poses (P, 3, 4), at most `settings.scored`."""
    clock = clock or Clock()
    uniforms = torch.from_numpy(rng.random((settings.hypotheses, 4))).to(surface.keys.device)
    cell, point = sample_correspondences(maps, surface.keys, uniforms)
    clock.lap("sampling")
    pixels = torch.stack([cell % maps.side, cell // maps.side], dim=-1).double()
    wide = spread(pixels) >= settings.min_spread * maps.side
    pixels, point = pixels[wide], point[wide]
    points, K = surface.points[point].double(), torch.from_numpy(maps.K).to(pixels)
    poses, kept = pose_hypotheses(points, pixels, K, rng if settings.p3p_solution == "random" else None)
    good = plausible_size(poses, K, surface.diameter_mm, maps.side)
    if settings.use_normals:
        good &= faces_camera(poses, points[kept], surface.normals[point[kept]].double())
    result: Array = poses[good][: settings.scored].cpu().numpy()
    clock.lap("hypotheses")
    return result


def refine(
    R: Array, t: Array, queries: Tensor, K: Array, surface: Surface, settings: InferSettings,
    rng: np.random.Generator,
) -> tuple[Array, Array, float, float]:  # fmt: skip
    """Refine a pose on the full-resolution queries (H, H, E); R, t mm, objective before and after."""
    side, faithful = queries.shape[0], settings.faithful
    shift = (0.0, 0.0) if faithful else LATTICE_SHIFT
    points = visible_points(surface, R, t, K, side, shift, settings.erosion)
    if len(points) == 0:
        return R, t, float("nan"), float("nan")
    keys = surface.keys
    if len(keys) > settings.refine_keys:
        keys = keys[torch.from_numpy(rng.choice(len(keys), settings.refine_keys, replace=False)).to(keys.device)]
    center, radius = np.asarray(surface.sphere.center), surface.sphere.radius
    normalised = torch.as_tensor((points - center) / radius).to(keys)
    with torch.no_grad():
        visible_keys = surface.key_function(normalised)
        objective = make_objective(queries, keys, points, visible_keys, K)
    return refine_pose(objective, R, t, settings.refine_steps, center, radius, faithful)


def visible_points(
    surface: Surface, R: Array, t: Array, K: Array, side: int, shift: tuple[float, float], erosion: int = 0
) -> NDArray[np.float32]:
    """Object points (N, 3) mm that the crop's pixels see at a pose.

    Args:
        shift: moves the principal point by (x, y) px. erosion: pixels taken off the silhouette's rim; not where nothing
            would be left.
    """
    moved = np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1]]) @ K
    hits = surface.caster.cast(moved, from_rotation_translation(R, t), side, side)
    mask = hits.mask
    if erosion:
        cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
        inner = cv2.erode(mask.astype(np.uint8), cross, iterations=erosion) > 0
        mask = inner if inner.any() else mask
    return surface.caster.coordinates(hits)[mask]
