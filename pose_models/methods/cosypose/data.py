"""Training samples of CosyPose: an image, one object in it, the poses that the networks start from (cosypose.md 6, 7).

One sample is a random visible object of a random image. Sample number n is a function of the settings, the data and
n alone.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pose_models.datasets.bop import BopScene, prepare_scenes, read_image
from pose_models.datasets.instances import InstanceRef, visible_instances
from pose_models.files import InputError
from pose_models.images.pillow_chain import filtered, with_background
from pose_models.images.resize import box_of_label, to_size
from pose_models.images.turn import turned
from pose_models.methods.cosypose.config import CosyPoseSettings
from pose_models.methods.cosypose.objects import ObjectTable
from pose_models.methods.cosypose.poses import disturbed, draw_noise, fixed_start, upright_start
from pose_models.synthesis.bank import image_files

Array = NDArray[np.float64]
CACHED_BYTES = 600_000_000
TRIES = 20
LEFT = 0.7  # share of an object's pixels that have to stay in a turned image


class PoseSamples:
    """Training and validation samples by number (`pose_models.training.harness.Items`)."""

    def __init__(self, scenes: Sequence[BopScene], table: ObjectTable, settings: CosyPoseSettings) -> None:
        self.scenes, self.table, self.settings, data = list(scenes), table, settings, settings.data
        prepare_scenes(scenes)
        self.instances = visible_instances(scenes, table.ids, data.min_visib_fract, data.min_visib_px)
        if not len(self.instances):
            raise InputError("no training instance is visible enough; lower data.min_visib_px or data.min_visib_fract")
        images = self.instances.by_image()
        order = np.random.default_rng([settings.train.seed, 0]).permutation(len(images))
        held = min(settings.train.valid_items, len(images) // 5)
        self.valid_images = [images[i] for i in order[:held]]
        self.train_images = [images[i] for i in np.sort(order[held:])]
        self.turns = np.repeat(np.arange(len(self.train_images)), self._repeats())
        folder = Path(data.backgrounds)
        self.photos = image_files(folder) if data.background and folder.is_dir() else []
        first = self.instances[0]
        self.size = self._size(scenes[first.scene].rgb(first.im_id).shape)
        limit = max(1, CACHED_BYTES // (3 * self.size[0] * self.size[1]))
        self._image = functools.lru_cache(maxsize=limit)(self._read_image)

    def _size(self, shape: Sequence[int]) -> tuple[int, int]:
        data = self.settings.data
        return data.height or int(shape[0]), data.width or int(shape[1])

    def _repeats(self) -> list[int]:
        """How often each training image counts: as settings say of its folder, where several are mixed."""
        folders = [scene.path.parent for scene in self.scenes]
        wanted = self.settings.data.repeats if len(set(folders)) > 1 else {}
        counts = [wanted.get(folder.parent.name, {}).get(folder.name, 1) for folder in folders]
        numbers = self.instances.scene_numbers
        return [counts[int(numbers[rows[0]])] for rows in self.train_images]

    def preload(self) -> None:
        """Read the images before worker processes are forked, if they fit into the cache."""
        if len(self.train_images) <= (self._image.cache_info().maxsize or 0):
            for rows in self.train_images:
                instance = self.instances[int(rows[0])]
                self._image(instance.scene, instance.im_id)

    @property
    def valid_count(self) -> int:
        """Number of images held out."""
        return len(self.valid_images)

    def sample(self, number: int) -> dict[str, Tensor]:
        """Training sample: a random instance of a random image."""
        rng = np.random.default_rng([self.settings.train.seed, 1, number])
        for _ in range(TRIES):
            rows = self.train_images[self.turns[rng.integers(len(self.turns))]]
            made = self._make(self.instances[int(rng.choice(rows))], rng)
            if made is not None:
                return made
        raise InputError(
            f"{TRIES} images in a row lose their objects when resized or turned; change data.height, data.turn"
        )

    def valid_sample(self, number: int) -> dict[str, Tensor]:
        """Validation sample, through the same augmentation as training."""
        rng = np.random.default_rng([self.settings.train.seed, 2, number])
        rows = rng.permutation(self.valid_images[number])
        made = (self._make(self.instances[int(row)], rng) for row in rows)
        return next((sample for sample in made if sample is not None), None) or self.sample(number)

    def _make(self, instance: InstanceRef, rng: np.random.Generator) -> dict[str, Tensor] | None:
        """The sample of an instance; None where resizing leaves nothing of it."""
        image, K, T = self._image(instance.scene, instance.im_id), instance.K, instance.T_cam_obj
        visible: NDArray[np.bool_] | None = None
        scene, data = self.scenes[instance.scene], self.settings.data
        background = rng.random() < data.background and bool(self.photos)
        if background or image.shape[:2] != self.size:
            labels = self._labels(scene, instance.im_id, image.shape[:2])
            image, labels, K = to_size(image, labels, K, self.size, data.faithful)
            box = box_of_label(labels, instance.gt_id + 1)
            if box is None:
                return None
            visible = labels == instance.gt_id + 1
            if background:
                photo = read_image(self.photos[int(rng.integers(len(self.photos)))], 1)[..., ::-1]
                image = with_background(image, labels > 0, np.ascontiguousarray(photo))
        else:
            x, y, width, height = scene.ground_truth_info[instance.im_id][instance.gt_id].bbox_visib
            box = np.array([x, y, x + width, y + height], dtype=np.float64)
        matching = self.settings.network.backbone == "matching"
        if visible is None and (data.turn or matching):
            visible = scene.mask(instance.im_id, instance.gt_id)
        if data.turn and visible is not None:
            whole, angle = visible, np.deg2rad(rng.uniform(-data.turn, data.turn))
            image, visible, T = turned(image, whole, K, T, angle)
            box = box_of_label(visible.astype(np.uint16), 1)
            if box is None or visible.sum() < LEFT * whole.sum():
                return None
        if rng.random() < data.augment:
            image = filtered(image, rng, data.blur, data.grey)
        index = self.table.ids.index(instance.obj_id)
        points = torch.from_numpy(self.table.random_points(index, self.settings.loss.points, rng))
        sample = {
            "image": torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
            "K": torch.from_numpy(K).float(),
            "T_cam_obj": torch.from_numpy(T).float(),
            "object_index": torch.tensor(index),
            "points": points,
        }
        if matching and visible is not None:
            sample["visible"] = torch.from_numpy(visible)
        starts = {
            "coarse": disturbed(self._start(box, K, points), draw_noise(rng, 1, rotate=False)),
            "refiner": disturbed(T[None], draw_noise(rng, 1)),
        }
        if self.settings.network.start == "fixed":  # the paper's coarse network sees no noise
            starts["coarse"] = self._start(box, K, points)
        return sample | {f"start_{s}": torch.from_numpy(starts[s][0]).float() for s in self.settings.network.stages}

    def _start(self, box: Array, K: Array, points: Tensor) -> Array:
        """The first pose (1, 4, 4) of a box (4,)."""
        boxes, intrinsics = torch.from_numpy(box)[None], torch.from_numpy(K)[None]
        if self.settings.network.start == "fixed":
            return np.asarray(fixed_start(boxes, intrinsics))
        return np.asarray(upright_start(boxes, intrinsics, points[None].double()))

    def _labels(self, scene: BopScene, im_id: int, shape: tuple[int, ...]) -> NDArray[np.uint16]:
        """Visible instances (H, W) of an image: their number from 1, 0 where none is; later ones win."""
        labels = np.zeros(shape, dtype=np.uint16)
        for number, info in enumerate(scene.ground_truth_info[im_id]):
            if info.px_count_visib > 0:
                labels[scene.mask(im_id, number)] = number + 1
        return labels

    def _read_image(self, scene: int, im_id: int) -> NDArray[Any]:
        return self.scenes[scene].rgb(im_id)
