"""The stage: estimates of any method and a dataset's depth images to refined estimates, resumable image by image."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models import program
from pose_models.datasets.bop import BopDataset
from pose_models.datasets.catalogue import catalogue_entry
from pose_models.datasets.estimates import Estimates
from pose_models.files import InputError, json_digest
from pose_models.geometry.cameras import project
from pose_models.geometry.transforms import from_rotation_translation
from pose_models.meshes.mesh import load_mesh
from pose_models.methods.partial import PartialResults
from pose_models.refinement.config import DepthRefinementSettings
from pose_models.refinement.refine import DepthImage, DepthRefiner
from pose_models.render.raycast import RayCaster

Array = NDArray[np.float64]
Frame = tuple[int, int]

REGISTERED = 200  # estimates that the offset of depth to colour is found from
MIN_REGISTERED = 20  # fewer say nothing
CERTAIN = 3.0  # standard errors that an offset has to have
REGISTRATION = "registration"  # its name among the partial results; images have "scene/image"


@dataclasses.dataclass(frozen=True)
class Refined:
    """estimates: refined, in the order given. accepted: (N,). offset_px: (2,) of depth to colour, right and down."""

    estimates: Estimates
    accepted: NDArray[np.bool_]
    offset_px: Array


def refiner_of(dataset: BopDataset, settings: DepthRefinementSettings, models: str | None = None) -> DepthRefiner:
    """A refiner with a models folder of a dataset, None: its own; each model is loaded when it is first needed."""
    models = models or catalogue_entry(dataset.name, dataset.root).models
    folder = dataset.root / models

    @functools.cache
    def caster(obj_id: int) -> RayCaster:
        return RayCaster(load_mesh(folder / f"obj_{obj_id:06d}.ply"))

    diameters = {obj_id: float(info["diameter"]) for obj_id, info in dataset.models_info(models).items()}
    return DepthRefiner(caster, diameters, settings)


def images_of(estimates: Estimates) -> list[Frame]:
    """Images (scene id, image id) that have estimates, ascending."""
    return sorted(set(zip(estimates.scene_id.tolist(), estimates.im_id.tolist(), strict=True)))


def refine_estimates(
    dataset: BopDataset,
    split: str,
    estimates: Estimates,
    refiner: DepthRefiner,
    out: Path,
) -> Refined:
    """Refine the estimates of every image; a killed run continues at the image where it was.

    An image's time is that of its candidates plus that of its refinement.

    Args:
        out: the file that the estimates will be written to; partial results lie beside it.

    Raises:
        InputError: an estimate's object has no model, or an image has no depth.
    """
    _check(dataset, split, estimates, refiner)
    images = images_of(estimates)
    partial = PartialResults(out, key=_key(dataset, estimates, refiner))
    with partial:
        if REGISTRATION not in partial.done:
            offset = np.zeros(2)
            if refiner.settings.register_depth and not refiner.settings.faithful:
                offset = depth_offset(_displacements(dataset, split, estimates, refiner))
            partial.add(REGISTRATION, [{"offset_px": offset.tolist()}])
        offset = np.array(partial.done[REGISTRATION][0]["offset_px"])
        for scene_id, im_id in program.progress(images, "refinement"):
            name = f"{scene_id}/{im_id}"
            if name not in partial.done:
                rows = np.flatnonzero((estimates.scene_id == scene_id) & (estimates.im_id == im_id))
                partial.add(name, _refine_image(dataset, split, estimates, rows, refiner, offset))
        records = [r for scene_id, im_id in images for r in partial.done[f"{scene_id}/{im_id}"]]
    return _assembled(estimates, records, offset)


def depth_offset(displacements: Array) -> Array:
    """Pixels (2,) by which depth lies right of and below colour, from displacements (N, 2) of refined estimates.

    Methods that look at colour err to all sides; what all refinements against depth have in common is misalignment.
    The median counts where it is certain, otherwise the offset is 0.
    """
    if len(displacements) < MIN_REGISTERED:
        return np.zeros(2)
    median = np.median(displacements, axis=0)
    sigma = 1.4826 * np.median(np.abs(displacements - median), axis=0)
    error = 1.2533 * sigma / np.sqrt(len(displacements))  # of the median of normally distributed numbers
    return np.where(np.abs(median) > CERTAIN * error, median, 0.0)


def _displacements(dataset: BopDataset, split: str, estimates: Estimates, refiner: DepthRefiner) -> Array:
    """Pixels (N, 2) that refinement moves the centres of some estimates by, for those that it is taken for."""
    order = np.lexsort((estimates.im_id, estimates.scene_id))
    chosen = order[np.unique(np.linspace(0, len(order) - 1, REGISTERED).astype(int))] if len(order) else order
    moves: list[Array] = []
    for scene_id, im_id in program.progress(images_of(estimates.take(chosen)), "depth to colour"):
        image = _depth_image(dataset, split, scene_id, im_id, refiner.settings, np.zeros(2))
        for row in chosen[(estimates.scene_id[chosen] == scene_id) & (estimates.im_id[chosen] == im_id)]:
            T = _pose(estimates, row)
            result = refiner.refine(image, int(estimates.obj_id[row]), T)
            if result.accepted:
                moves.append(np.diff(project(np.stack([T[:3, 3], result.T_cam_obj[:3, 3]]), image.K), axis=0)[0])
    return np.array(moves).reshape(-1, 2)


def _refine_image(
    dataset: BopDataset, split: str, estimates: Estimates, rows: NDArray[np.int64], refiner: DepthRefiner, offset: Array
) -> list[dict[str, Any]]:
    """Records of one image's estimates: row, pose, whether it was refined, seconds for all of the image."""
    scene_id, im_id = int(estimates.scene_id[rows[0]]), int(estimates.im_id[rows[0]])
    image = _depth_image(dataset, split, scene_id, im_id, refiner.settings, offset)
    for obj_id in estimates.obj_id[rows].tolist():
        refiner.caster(obj_id)  # made once per object and not timed
    start = time.perf_counter()
    results = [refiner.refine(image, int(estimates.obj_id[row]), _pose(estimates, row)) for row in rows]
    seconds = time.perf_counter() - start
    return [
        {"row": int(row), "T": r.T_cam_obj.tolist(), "accepted": bool(r.accepted), "seconds": seconds}
        for row, r in zip(rows, results, strict=True)
    ]


def _depth_image(
    dataset: BopDataset, split: str, scene_id: int, im_id: int, settings: DepthRefinementSettings, offset: Array
) -> DepthImage:
    scene = dataset.scene(split, scene_id)
    K = np.array(scene.camera(im_id).K, dtype=np.float64)
    K[:2, 2] += offset
    return DepthImage(scene.depth(im_id), K, settings)


def _pose(estimates: Estimates, row: int | np.int64) -> Array:
    return from_rotation_translation(estimates.R[row], estimates.t[row])


def _assembled(estimates: Estimates, records: Sequence[Mapping[str, Any]], offset: Array) -> Refined:
    rows = np.array([r["row"] for r in records], dtype=np.int64)
    T = np.array([r["T"] for r in records], dtype=np.float64).reshape(-1, 4, 4)
    R, t, time_of = estimates.R.copy(), estimates.t.copy(), estimates.time.copy()
    R[rows], t[rows] = T[:, :3, :3], T[:, :3, 3]
    seconds = np.array([r["seconds"] for r in records], dtype=np.float64)
    time_of[rows] = np.where(estimates.time[rows] < 0, -1.0, estimates.time[rows] + seconds)
    accepted = np.zeros(len(estimates), dtype=bool)
    accepted[rows] = [r["accepted"] for r in records]
    return Refined(dataclasses.replace(estimates, R=R, t=t, time=time_of), accepted, offset)


def _check(dataset: BopDataset, split: str, estimates: Estimates, refiner: DepthRefiner) -> None:
    unknown = set(np.unique(estimates.obj_id).tolist()) - set(refiner.diameters)
    if unknown:
        raise InputError(f"{dataset.root}: estimates of object {min(unknown)}, which has no entry in models_info.json")
    for scene_id, im_id in images_of(estimates):
        if not dataset.scene(split, scene_id).has_depth(im_id):
            raise InputError(
                f"{dataset.root / split}: scene {scene_id}, image {im_id} has no depth image; "
                "refinement against depth needs one for every image with estimates"
            )


def _key(dataset: BopDataset, estimates: Estimates, refiner: DepthRefiner) -> str:
    """Digest of what the records depend on, but for the images themselves."""
    arrays = [getattr(estimates, f.name).tolist() for f in dataclasses.fields(Estimates)]
    return json_digest([refiner.settings.digest(), str(dataset.root.resolve()), arrays])
