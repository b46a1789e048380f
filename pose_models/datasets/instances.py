"""Chosen instances of many scenes, for training: three numbers each in memory, the rest from the mapped annotations.

A list of a million Python objects would take a gigabyte in every loader worker, for counting references writes to
the pages that forked processes share.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models.datasets.index import CAMERA, INSTANCES, Table
from pose_models.datasets.scene import BopScene
from pose_models.files import InputError

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class InstanceRef:
    """One instance of one image: scene number in the list of scenes, K (3, 3), T_cam_obj (4, 4) mm."""

    scene: int
    im_id: int
    gt_id: int
    obj_id: int
    K: Array
    T_cam_obj: Array


@dataclasses.dataclass(frozen=True)
class Candidates:
    """All instances of a scene, row by row: what a choice is made from.

    obj_id (N,), visib_fract (N,), px_count_visib (N,).
    """

    obj_id: NDArray[np.int64]
    visib_fract: Array
    px_count_visib: NDArray[np.int64]


class InstanceList(Sequence[InstanceRef]):
    """Instances in the order of scenes, images and their lists; `taken` gives any others of them in any order."""

    def __init__(
        self,
        scenes: Sequence[BopScene],
        is_wanted: Callable[[Candidates], NDArray[np.bool_]],
        shift_px: Sequence[float],
    ) -> None:
        """Choose instances.

        Args:
            scenes: annotated, with scene_gt_info.json.
            is_wanted: gives a boolean per candidate.
            shift_px: per scene what is subtracted from cx and cy (0.5 where the image corner, not the centre of the
                first pixel, is at (0, 0)).
        """
        self._scenes, self._shift = list(scenes), list(shift_px)
        chosen = [np.zeros((0, 3), dtype=np.int64)]
        for number, scene in enumerate(self._scenes):
            truth, infos, cameras = scene.table(INSTANCES), scene.info_table, scene.table(CAMERA)
            missing = [im_id for im_id in truth.positions if im_id not in cameras.positions]
            if missing:
                raise InputError(f"{scene.annotation_file(CAMERA)}: no entry for image {missing[0]}")
            start, stop = int(truth.first[0]), int(truth.first[-1])
            # Rows of `infos` are those of `truth`, but need not start at the same number.
            visible = slice(int(infos.first[0]), int(infos.first[-1]))
            candidates = Candidates(
                truth.columns["obj_id"][start:stop],
                infos.columns["visib_fract"][visible],
                infos.columns["counts"][visible, 2],
            )
            rows = np.flatnonzero(is_wanted(candidates))
            images = truth.row_images()[rows]
            chosen.append(np.stack([np.full(len(rows), number), images, rows + start], axis=1))
        self._chosen = np.concatenate(chosen)

    @functools.cached_property
    def _tables(self) -> list[tuple[Table, Table]]:
        return [(scene.table(INSTANCES), scene.table(CAMERA)) for scene in self._scenes]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_tables"}  # mapped anew where unpacked

    def taken(self, numbers: Sequence[int] | NDArray[np.int64]) -> InstanceList:
        """The instances of these numbers, in this order."""
        other = copy.copy(self)
        other._chosen = self._chosen[np.asarray(numbers, dtype=np.int64)]
        return other

    @property
    def scene_numbers(self) -> NDArray[np.int64]:
        """Position (N,) of each instance's scene in the list of scenes."""
        return self._chosen[:, 0]

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, number: int) -> InstanceRef:  # type: ignore[override]
        scene, image, row = self._chosen[number].tolist()
        truth, cameras = self._tables[scene]
        im_id = int(truth.im_ids[image])
        K = np.array(cameras.columns["K"][cameras.rows(im_id)[0]])
        if np.isnan(K[0, 0]):
            K = self._scenes[scene].camera(im_id).K  # says what camera it is
        K[:2, 2] -= self._shift[scene]
        T_cam_obj = np.zeros((4, 4))
        T_cam_obj[:3, :3], T_cam_obj[:3, 3], T_cam_obj[3, 3] = truth.columns["R"][row], truth.columns["t"][row], 1.0
        return InstanceRef(scene, im_id, row - int(truth.first[image]), int(truth.columns["obj_id"][row]), K, T_cam_obj)

    def __iter__(self) -> Iterator[InstanceRef]:
        return (self[number] for number in range(len(self)))

    def by_image(self) -> list[NDArray[np.int64]]:
        """Positions in this list of the instances of each image, images ascending."""
        _, image = np.unique(self._chosen[:, :2], axis=0, return_inverse=True)
        order = np.argsort(image.ravel(), kind="stable")
        return np.split(order, np.flatnonzero(np.diff(image.ravel()[order])) + 1)

    def images(self) -> list[tuple[int, int]]:
        """(scene number, image id) of every image that has one of the instances, ascending."""
        pairs = np.unique(self._chosen[:, :2], axis=0).tolist()
        return sorted((scene, int(self._tables[scene][0].im_ids[image])) for scene, image in pairs)


def visible_instances(
    scenes: Sequence[BopScene], object_ids: Sequence[int], min_visib_fract: float, min_visib_px: int
) -> InstanceList:
    """Instances visible enough to train on, in the order of scenes, images and instance lists.

    BlenderProc's `train_pbr` intrinsics put the image corner at (0, 0): half a pixel is subtracted from cx and cy.
    """

    def is_wanted(rows: Candidates) -> NDArray[np.bool_]:
        visible = (rows.visib_fract >= min_visib_fract) & (rows.px_count_visib >= min_visib_px)
        return np.isin(rows.obj_id, list(object_ids)) & visible

    shifts = [0.5 if scene.path.parent.name == "train_pbr" else 0.0 for scene in scenes]
    return InstanceList(scenes, is_wanted, shifts)


def folder_numbers(scenes: Sequence[BopScene]) -> NDArray[np.int64]:
    """Which folder (`train_pbr`, `train_real`, ...) each scene is of, as integers."""
    folders = sorted({scene.path.parent for scene in scenes})
    return np.array([folders.index(scene.path.parent) for scene in scenes], dtype=np.int64)
