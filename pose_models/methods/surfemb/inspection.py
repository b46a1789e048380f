"""What the network says about single instances, gathered to be looked at (surfemb.md section 14)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pose_models.datasets.bop import BopScene
from pose_models.files import InputError
from pose_models.geometry.cameras import project
from pose_models.images.crops import Crop, draw_jitter
from pose_models.methods.surfemb.estimate import Surface
from pose_models.methods.surfemb.infer import CropAnswer, Estimator, read_surface
from pose_models.methods.surfemb.maps import Maps, make_maps

Floats = NDArray[np.float32]
POSES = ("truth", "estimate", "refined")


@dataclasses.dataclass(frozen=True)
class Source:
    """An instance to look at: image, object, its box (left, top, right, bottom px) or the ground truth to crop."""

    scene: BopScene
    im_id: int
    obj_id: int
    box_ltrb: NDArray[np.float64] | None = None
    gt_id: int | None = None


@dataclasses.dataclass(frozen=True)
class Posed:
    """What the crop shows of the object at one pose T_cam_obj (4, 4) mm.

    mask: (H, H). coordinates: (N, 3) of the mask's pixels, normalised. keys: (N, E) at them. mask_score, coord_score:
    (n, n) cells, parts of the pose's score; 0 is perfect, nan where a cell takes no part.
    """

    T_cam_obj: NDArray[np.float64]
    mask: NDArray[np.bool_]
    coordinates: Floats
    keys: Floats
    mask_score: Floats
    coord_score: Floats


@dataclasses.dataclass(frozen=True)
class Shown:
    """Surface samples of an object: points (m, 3) normalised, normals (m, 3), keys (m, E); `total` there are in all."""

    points: Floats
    normals: Floats
    keys: Floats
    total: int


@dataclasses.dataclass(frozen=True)
class Inspected:
    """One instance and its object.

    K: (3, 3) of the crop. crop: (H, H, 3). mask_prob: (H, H). queries: (H, H, E). shown: the surface. posed: by name
    (`POSES`), those that are known. score: of the estimate, nan without one.
    """

    title: str
    obj_id: int
    K: NDArray[np.float64]
    crop: NDArray[np.uint8]
    mask_prob: Floats
    queries: Floats
    shown: Shown
    posed: dict[str, Posed]
    score: float

    @property
    def best_pose(self) -> Posed | None:
        """The last pose the method came to, else the ground truth."""
        return next((self.posed[name] for name in reversed(POSES) if name in self.posed), None)

    @property
    def surest_pixel(self) -> tuple[int, int]:
        """(x, y) where the query is longest, among pixels that are likely the object's."""
        weight = np.linalg.norm(self.queries, axis=-1) * self.mask_prob
        y, x = np.unravel_index(int(np.argmax(weight)), weight.shape)
        return int(x), int(y)


def inspect_instances(estimator: Estimator, sources: Sequence[Source], points: int) -> Iterator[Inspected]:
    """Run the network and the pose search on some instances; ground truth is used where the scene has it.

    Args:
        points: surface samples that are shown per object at most, a random part; the search uses its own.
    """
    surfaces = {obj_id: _shown(estimator, obj_id, points) for obj_id in sorted({s.obj_id for s in sources})}
    for number, source in enumerate(sources):
        rng = np.random.default_rng([estimator.settings.seed, number])
        camera = source.scene.camera(source.im_id)
        crop = _crop(estimator, source, rng)
        answer = estimator.answer_crop(source.scene.rgb(source.im_id), camera.K, source.obj_id, crop)
        found = estimator.estimate(answer, source.obj_id, rng)
        poses = {} if found is None else {"estimate": found.T_unrefined, "refined": found.T_cam_obj}
        truth = _truth(source, camera.K)
        if truth is not None:
            poses["truth"] = truth
        score = float("nan") if found is None else found.score
        yield _inspected(estimator, source, answer, surfaces[source.obj_id], poses, score)


def _shown(estimator: Estimator, obj_id: int, points: int) -> Shown:
    file = estimator.surface_folder / f"obj_{obj_id:06d}.npz"
    total = len(read_surface(file)[0])
    positions, normals = read_surface(file, points)
    surface = estimator.surface(obj_id)
    normalised = (positions - torch.tensor(surface.sphere.center, dtype=torch.float32)) / surface.sphere.radius
    with torch.no_grad():
        keys = surface.key_function(normalised.to(surface.keys.device)).cpu().numpy()
    return Shown(normalised.numpy(), normals.numpy(), keys, total)


def _crop(estimator: Estimator, source: Source, rng: np.random.Generator) -> Crop:
    """The crop around the box, or around the visible mask with the paper's jitter, not turned."""
    settings = estimator.model.settings.crop
    if source.box_ltrb is not None:
        return Crop.from_box(np.round(source.box_ltrb), settings.side, settings.scale)
    if source.gt_id is None:
        raise InputError(f"{source.scene.path}: image {source.im_id}: neither box nor ground truth to look at")
    mask = source.scene.mask(source.im_id, source.gt_id)
    if not mask.any():
        raise InputError(f"{source.scene.path}: mask_visib of image {source.im_id}, instance {source.gt_id} is empty")
    return Crop.from_mask(mask, settings.side, settings.scale, draw_jitter(rng, settings.side, settings.scale, 0.0, 1))


def _truth(source: Source, K: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """T_cam_obj of the named ground truth, or of the object's instance that projects nearest to the box's middle."""
    try:
        instances = source.scene.ground_truth.get(source.im_id, [])
    except InputError:  # a test set whose ground truth is not public
        return None
    if source.gt_id is not None:
        return instances[source.gt_id].T_cam_obj
    own = [instance.T_cam_obj for instance in instances if instance.obj_id == source.obj_id]
    if not own or source.box_ltrb is None:
        return None
    middle = (source.box_ltrb[:2] + source.box_ltrb[2:]) / 2
    distances = [np.linalg.norm(project(T[:3, 3], K) - middle) for T in own]
    return own[int(np.argmin(distances))]


def _inspected(
    estimator: Estimator, source: Source, answer: CropAnswer, shown: Shown, poses: dict[str, NDArray[np.float64]],
    score: float,
) -> Inspected:  # fmt: skip
    surface, settings = estimator.surface(source.obj_id), estimator.settings
    maps = make_maps(
        answer.mask_logits, answer.queries, surface.keys, answer.K, settings.downsample,
        max_pool=settings.max_pool, average_queries=settings.average_queries,
    )  # fmt: skip
    return Inspected(
        title=f"object {source.obj_id}, scene {source.scene.scene_id}, image {source.im_id}",
        obj_id=source.obj_id,
        K=answer.K,
        crop=answer.image,
        mask_prob=torch.sigmoid(answer.mask_logits).cpu().numpy(),
        queries=answer.queries.cpu().numpy(),
        shown=shown,
        posed={name: posed(answer, surface, maps, poses[name]) for name in POSES if name in poses},
        score=score,
    )


def posed(answer: CropAnswer, surface: Surface, maps: Maps, T_cam_obj: NDArray[np.float64]) -> Posed:
    """What a crop shows of an object at a pose."""
    side = answer.image.shape[0]
    hits = surface.caster.cast(answer.K, T_cam_obj, side, side)
    mask = hits.mask
    center, radius = np.asarray(surface.sphere.center), surface.sphere.radius
    coordinates = ((surface.caster.coordinates(hits)[mask] - center) / radius).astype(np.float32)
    with torch.no_grad():
        keys = surface.key_function(torch.as_tensor(coordinates).to(surface.keys)).cpu().numpy()
    return Posed(T_cam_obj, mask, coordinates, keys, *score_maps(maps, surface, T_cam_obj))


def score_maps(maps: Maps, surface: Surface, T_cam_obj: NDArray[np.float64]) -> tuple[Floats, Floats]:
    """The cells' parts (n, n) of a pose's score (section 11.7): mask / ln 2, and correspondences / ln m, nan where the
    object does not cover the cell. Their means are the two parts of the score."""
    points = surface.points.cpu().numpy().astype(np.float64)
    uvw = (points @ T_cam_obj[:3, :3].T + T_cam_obj[:3, 3]) @ maps.K.T
    with np.errstate(divide="ignore", invalid="ignore"):
        cell = np.rint(uvw[:, :2] / uvw[:, 2:])
    inside = np.flatnonzero(((cell >= 0) & (cell < maps.side)).all(axis=1))
    slot = (cell[inside, 1] * maps.side + cell[inside, 0]).astype(np.int64)
    order = np.lexsort((inside, uvw[inside, 2], slot))
    covered, first = np.unique(slot[order], return_index=True)
    nearest = inside[order][first]
    covered, nearest = covered[uvw[nearest, 2] > 0], nearest[uvw[nearest, 2] > 0]

    mask_score = (maps.log_background.cpu().numpy() / np.log(2)).astype(np.float32)
    mask_score[covered] = maps.log_mask.cpu().numpy()[covered] / np.log(2)
    sources = maps.sources[torch.from_numpy(covered).to(maps.sources.device)]
    keys = surface.keys[torch.from_numpy(nearest).to(surface.keys.device)]
    values = (sources[..., :-1] @ keys[:, :, None])[..., 0] + sources[..., -1]
    coord_score = np.full(maps.side**2, np.nan, dtype=np.float32)
    coord_score[covered] = values.amax(dim=1).cpu().numpy() / np.log(len(points))
    shape = (maps.side, maps.side)
    return mask_score.reshape(shape), coord_score.reshape(shape)
