"""Training images of the detector by number (cosypose.md sections 7 and 16).

A sample is an image and a map that says which instance a pixel shows and of which object it is; boxes and masks follow
from it on the training device. Sample number n is a function of the settings, the data and n alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pose_models.datasets.bop import BopScene, prepare_scenes
from pose_models.datasets.image_files import read_image
from pose_models.datasets.instances import Candidates, InstanceList
from pose_models.detections.maskrcnn_config import MaskRcnnSettings
from pose_models.files import InputError
from pose_models.images.pillow_chain import filtered, with_background
from pose_models.images.resize import box_of_label, to_size
from pose_models.synthesis.bank import image_files

VOC = Path("data/voc2012")
Codes = NDArray[np.int32]


class ImageSamples:
    """Training and validation samples (`pose_models.training.harness.Items`)."""

    def __init__(self, scenes: Sequence[BopScene], object_ids: Sequence[int], settings: MaskRcnnSettings) -> None:
        """Find the images that show something to learn.

        Args:
            scenes: annotated, with masks of the visible parts.
            object_ids: what is detected; other instances are background.

        Raises:
            InputError: no image shows any of the objects, or a folder of photographs is not there.
        """
        self.scenes, self.settings = list(scenes), settings
        self.label_of = {obj_id: label for label, obj_id in enumerate(sorted(object_ids), start=1)}
        prepare_scenes(self.scenes)

        def is_wanted(rows: Candidates) -> NDArray[np.bool_]:
            return np.isin(rows.obj_id, list(object_ids)) & (rows.px_count_visib >= settings.images.min_box_px)

        pairs = np.array(InstanceList(self.scenes, is_wanted, [0.0] * len(self.scenes)).images(), dtype=np.int64)
        if not len(pairs):
            raise InputError(
                f"no training image shows one of the {len(object_ids)} objects; lower images.min_box_px or check "
                "scene_gt_info.json"
            )
        order = np.random.default_rng([settings.train.seed, 0]).permutation(len(pairs))
        held = min(settings.train.valid_items, len(pairs) // 5)
        self.valid_images = pairs[order[:held]]
        rest = pairs[np.sort(order[held:])]
        repeats = np.array([_repeats(scene.path, settings) for scene in self.scenes])
        self.train_images = np.repeat(rest, repeats[rest[:, 0]], axis=0)
        first = self.scenes[int(pairs[0, 0])]
        self.size = settings.images.size or first.image_size(int(pairs[0, 1]))
        self.photos = photo_files(settings)

    @property
    def valid_count(self) -> int:
        """Number of images held out."""
        return len(self.valid_images)

    def sample(self, number: int) -> dict[str, Tensor]:
        """Training sample; an image that shows nothing once it has its size is replaced by another one."""
        rounds, position = divmod(number, len(self.train_images))
        scene, im_id = self.train_images[self._permutation(rounds)[position]].tolist()
        return self._make(scene, im_id, np.random.default_rng([self.settings.train.seed, 1, number]))

    def valid_sample(self, number: int) -> dict[str, Tensor]:
        """Validation sample, augmented as those of training."""
        scene, im_id = self.valid_images[number].tolist()
        return self._make(scene, im_id, np.random.default_rng([self.settings.train.seed, 2, number]))

    def _permutation(self, rounds: int) -> NDArray[np.int64]:
        if getattr(self, "_shuffled", (None, None))[0] != rounds:
            rng = np.random.default_rng([self.settings.train.seed, 3, rounds])
            self._shuffled = (rounds, rng.permutation(len(self.train_images)))
        return self._shuffled[1]

    def _make(self, scene: int, im_id: int, rng: np.random.Generator) -> dict[str, Tensor]:
        for _ in range(100):
            image, codes = self.read(scene, im_id)
            if codes.any():
                image = self._augmented(image, codes > 0, rng)
                return {"image": torch.from_numpy(image.copy()).permute(2, 0, 1), "codes": torch.from_numpy(codes)}
            scene, im_id = self.train_images[rng.integers(len(self.train_images))].tolist()
        raise InputError(f"{self.scenes[scene].path}: 100 images in a row show no object; check mask_visib/")

    def read(self, scene: int, im_id: int) -> tuple[NDArray[np.uint8], Codes]:
        """An image (H, W, 3) in its training size and codes (H, W): position * classes + label, 0 elsewhere.

        Classes are those of the network: the objects, and 0 for what is none of them.
        """
        source, classes = self.scenes[scene], len(self.label_of) + 1
        image = source.rgb(im_id)
        codes = np.zeros(image.shape[:2], dtype=np.int32)
        infos = source.ground_truth_info[im_id]
        for instance, info in zip(source.ground_truth[im_id], infos, strict=True):
            if instance.obj_id in self.label_of and info.px_count_visib > 0:
                mask = source.mask(im_id, instance.gt_id)
                if mask.shape != codes.shape:
                    raise InputError(
                        f"{source.path}: mask_visib of image {im_id}, instance {instance.gt_id} has another size "
                        "than the image; make the masks again"
                    )
                codes[mask] = (instance.gt_id + 1) * classes + self.label_of[instance.obj_id]
        image, codes, _ = to_size(image, codes, np.eye(3), (self.size[1], self.size[0]))
        for code in np.unique(codes[codes > 0]).tolist():
            left, top, right, bottom = np.asarray(box_of_label(codes, code)).tolist()
            if (right - left + 1) * (bottom - top + 1) < self.settings.images.min_box_px:
                codes[codes == code] = 0
        return image, codes

    def _augmented(
        self, image: NDArray[np.uint8], is_object: NDArray[np.bool_], rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        settings = self.settings.images
        if self.photos and rng.random() < settings.background:
            photo = read_image(self.photos[rng.integers(len(self.photos))], cv2.IMREAD_COLOR)[..., ::-1].astype(
                np.uint8
            )
            image = with_background(image, is_object, photo)
        return filtered(image, rng, settings.blur, settings.grey) if rng.random() < settings.filters else image


def photo_files(settings: MaskRcnnSettings) -> list[Path]:
    """The photographs for backgrounds: those of the folder that is named, else of Pascal VOC where it lies here.

    Raises:
        InputError: the folder that is named is not there or has no image.
    """
    folder = settings.images.photos or (VOC if VOC.is_dir() else None)
    return image_files(folder) if folder is not None and settings.images.background > 0 else []


def _repeats(scene: Path, settings: MaskRcnnSettings) -> int:
    return settings.images.repeats.get(scene.parent.parent.name, {}).get(scene.parent.name, 1)
