"""Errors of all pairs (estimate, ground truth of the same object), image by image, in any number of processes.

An image's job names the estimates of every result file; ground truth is rendered once and shared by all files. Jobs
are independent and come back in order, so results do not depend on the number of workers by a single bit.
"""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pose_models.datasets.estimates import Estimates
from pose_models.evaluation import errors as formulas
from pose_models.evaluation import kernels
from pose_models.evaluation.world import EvaluatedObject, ImageKey, ImageTruth, World
from pose_models.files import InputError
from pose_models.render.rasterize import Window, rasterize
from pose_models.render.visibility import DepthPatch

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

VSD_TAUS = np.round(np.arange(0.05, 0.51, 0.05), 2)  # shares of the diameter


@dataclasses.dataclass(frozen=True)
class ErrorOptions:
    """Which errors to compute.

    kinds: any of vsd, cus, mssd, mspd, add, adi, ad, proj, re, te.
    taus: (T,) ascending; vsd_in_mm: taus are mm instead of shares of the diameter.
    """

    kinds: frozenset[str]
    taus: Array = dataclasses.field(default_factory=lambda: VSD_TAUS)
    vsd_in_mm: bool = False


@dataclasses.dataclass(frozen=True)
class Group:
    """Estimates of one object in one image of one result file: row numbers (E,), in the order of matching."""

    file: int
    obj_id: int
    rows: Rows


@dataclasses.dataclass(frozen=True)
class Job:
    """All that is asked about one image."""

    key: ImageKey
    groups: tuple[Group, ...]


@dataclasses.dataclass(frozen=True)
class Block:
    """Errors of one group: gt_ids (G,) and by kind (E, G), for vsd (T, E, G)."""

    key: ImageKey
    group: Group
    gt_ids: Rows
    errors: dict[str, Array]

    def first(self, count: int) -> Block:
        """The same with the first `count` estimates only."""
        if count >= len(self.group.rows):
            return self
        group = dataclasses.replace(self.group, rows=self.group.rows[:count])
        return Block(self.key, group, self.gt_ids, {k: v[..., :count, :] for k, v in self.errors.items()})


def compute_errors(
    world: World, files: Sequence[Estimates], jobs: Sequence[Job], options: ErrorOptions, workers: int = 1
) -> Iterator[list[Block]]:
    """Blocks of every job, in the order of the jobs."""
    compute = functools.partial(image_errors, world, files, options)
    if workers <= 1 or len(jobs) < 2:
        yield from map(compute, jobs)
        return
    for job in jobs:  # read annotations once, before the processes part
        world.truth(job.key)
        for group in job.groups:
            world.object(group.obj_id)
    with multiprocessing.Pool(workers, initializer=_remember, initargs=(compute,)) as pool:
        yield from pool.imap(_compute, jobs, chunksize=max(1, min(16, len(jobs) // (4 * workers))))


_compute_here: list[functools.partial[list[Block]]] = []  # of a worker process


def _remember(compute: functools.partial[list[Block]]) -> None:
    _compute_here[:] = [compute]


def _compute(job: Job) -> list[Block]:
    return _compute_here[0](job)


def image_errors(world: World, files: Sequence[Estimates], options: ErrorOptions, job: Job) -> list[Block]:
    """Blocks of one image."""
    image = _Image(world, job.key, options)
    return [image.block(files[group.file], group) for group in job.groups]


class _Image:
    """One image at work: its depth and the ground truth's depth patches are made when first needed."""

    def __init__(self, world: World, key: ImageKey, options: ErrorOptions) -> None:
        self.world, self.key, self.options = world, key, options
        self.truth: ImageTruth = world.truth(key)
        self.K = np.ascontiguousarray(world.scene(key[0]).camera(key[1]).K)
        self._gt_patches: dict[int, DepthPatch] = {}

    @functools.cached_property
    def depth(self) -> NDArray[np.float32]:
        scene = self.world.scene(self.key[0])
        if "vsd" in self.options.kinds:
            return np.ascontiguousarray(scene.depth(self.key[1]))
        width, height = self.world.image_size(self.key)
        return np.zeros((height, width), dtype=np.float32)

    def gt_patch(self, obj: EvaluatedObject, gt_id: int) -> DepthPatch:
        if gt_id not in self._gt_patches:
            self._gt_patches[gt_id] = self.render(obj, self.truth.R[gt_id], self.truth.t[gt_id])
        return self._gt_patches[gt_id]

    def render(self, obj: EvaluatedObject, R: Array, t: Array) -> DepthPatch:
        height, width = self.depth.shape
        if not len(obj.mesh.faces):
            raise InputError(f"object {obj.obj_id}: its evaluation model has no faces, so VSD cannot be computed; "
                             "choose another folder of models or a protocol without VSD")  # fmt: skip
        return rasterize(obj.mesh, self.K, R, t, Window.of_image(width, height))

    def block(self, estimates: Estimates, group: Group) -> Block:
        obj = self.world.object(group.obj_id)
        gt_ids = self.truth.of_object(group.obj_id)
        R, t = estimates.R[group.rows], estimates.t[group.rows]
        errors = dict(self._point_errors(obj, R, t, gt_ids))
        if self.options.kinds & {"vsd", "cus"}:
            errors |= self._surface_errors(obj, R, t, gt_ids)
        return Block(self.key, group, gt_ids, errors)

    def _point_errors(self, obj: EvaluatedObject, R: Array, t: Array, gt_ids: Rows) -> Iterator[tuple[str, Array]]:
        for kind in sorted(self.options.kinds - {"vsd", "cus"}):
            function = formulas.BY_NAME[kind]
            values = np.empty((len(t), len(gt_ids)))
            for e in range(len(t)):
                for g, gt_id in enumerate(gt_ids):
                    values[e, g] = function(obj, self.K, R[e], t[e], self.truth.R[gt_id], self.truth.t[gt_id])
            yield kind, values

    def _surface_errors(self, obj: EvaluatedObject, R: Array, t: Array, gt_ids: Rows) -> dict[str, Array]:
        """VSD (T, E, G) and CUS (E, G); 1 where the projected bounding spheres do not overlap (bop.md 6.1)."""
        taus = self.options.taus
        vsd, cus = np.ones((len(taus), len(t), len(gt_ids))), np.ones((len(t), len(gt_ids)))
        overlap = spheres_overlap(t, self.truth.t[gt_ids], obj.diameter_mm / 2)
        unit = 1.0 if self.options.vsd_in_mm else obj.diameter_mm
        delta = self.world.facts.delta_mm
        for e in np.flatnonzero(overlap.any(axis=1)):
            est = self.render(obj, R[e], t[e])
            for g in np.flatnonzero(overlap[e]):
                gt = self.gt_patch(obj, int(gt_ids[g]))
                counts = kernels.surface_counts(
                    (est.depth, est.x, est.y), (gt.depth, gt.x, gt.y), self.depth, self.K, delta, unit, taus
                )
                common, joint, common_all, joint_all = counts[-4:]
                if joint:
                    vsd[:, e, g] = (counts[:-4] + (joint - common)) / joint
                if joint_all:
                    cus[e, g] = 1 - common_all / joint_all
        return {"vsd": vsd, "cus": cus}


def spheres_overlap(t_est: Array, t_gt: Array, radius_mm: float) -> NDArray[np.bool_]:
    """Whether the projections of spheres at t_est (E, 3) and t_gt (G, 3) can overlap: (E, G); False where z is 0."""
    z_est, z_gt = t_est[:, None, 2], t_gt[None, :, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        offset = t_est[:, None, :2] / z_est[..., None] - t_gt[None, :, :2] / z_gt[..., None]
        near = np.sqrt((offset**2).sum(axis=-1)) < radius_mm * (1 / z_est + 1 / z_gt)
    return np.asarray(near & (z_est != 0) & (z_gt != 0))
