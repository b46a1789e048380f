"""Training samples of SurfEmb (surfemb.md sections 3.1 and 4).

One sample is one ground-truth instance: a randomly turned crop, the silhouette and object coordinates rendered into
it, random surface points. Sample number n is a function of the settings, the data and n alone.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pose_models.datasets.bop import BopScene, prepare_scenes
from pose_models.datasets.instances import InstanceRef, folder_numbers, visible_instances
from pose_models.files import InputError
from pose_models.geometry.cameras import resize_intrinsics
from pose_models.images import augment
from pose_models.images.crops import INTERPOLATIONS, Crop, draw_jitter
from pose_models.meshes.mesh import Mesh
from pose_models.meshes.sampling import AreaSampler
from pose_models.methods.surfemb.config import SurfEmbSettings
from pose_models.methods.surfemb.keys import Sphere
from pose_models.render.raycast import Hits, RayCaster

MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)
PRELOAD_BYTES = 600_000_000


def balanced(kind: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions of instances of several kinds (N,), every smaller kind repeated to about the size of the largest.

    Real photographs beside rendered images: round(large / small) times each, so that about half of the samples are
    real (surfemb.md section 3.1).
    """
    members = [np.flatnonzero(kind == value) for value in np.unique(kind)]
    largest = max(len(positions) for positions in members)
    return np.concatenate([np.tile(positions, round(largest / len(positions))) for positions in members])


class CropSamples:
    """Training and validation samples by number (`pose_models.training.harness.Items`)."""

    def __init__(
        self,
        scenes: Sequence[BopScene],
        meshes: Mapping[int, Mesh],
        spheres: Mapping[int, Sphere],
        settings: SurfEmbSettings,
        output_stride: int,
    ) -> None:
        self.scenes, self.settings, self.stride = list(scenes), settings, output_stride
        self.object_ids = sorted(spheres)
        self.spheres = spheres
        self.casters = {obj_id: RayCaster(mesh) for obj_id, mesh in meshes.items()}
        self.samplers = {obj_id: AreaSampler(mesh) for obj_id, mesh in meshes.items()}
        prepare_scenes(scenes)
        crop = settings.crop
        instances = visible_instances(scenes, self.object_ids, crop.min_visib_fract, crop.min_visib_px)
        if not len(instances):
            raise InputError("no training instance is visible enough; lower crop.min_visib_px or crop.min_visib_fract")
        order = np.random.default_rng([settings.train.seed, 0]).permutation(len(instances))
        held = min(settings.train.valid_items, len(instances) // 5)
        self.valid_instances = instances.taken(order[:held])
        rest = np.sort(order[held:])
        self.train_instances = instances.taken(rest[balanced(folder_numbers(scenes)[instances.scene_numbers[rest]])])
        self._image = functools.lru_cache(maxsize=self._cache_size())(self._read_image)
        self._hull = functools.lru_cache(maxsize=200_000)(self._read_hull)

    def preload(self) -> None:
        """Read the images before worker processes are forked, if they fit into the cache."""
        maximum = self._image.cache_info().maxsize or 0
        pairs = self.train_instances.images()
        if len(pairs) <= maximum:
            for pair in pairs:
                self._image(*pair)
            for instance in self.train_instances:
                self._hull(instance.scene, instance.im_id, instance.gt_id)

    @property
    def valid_count(self) -> int:
        """Number of instances held out."""
        return len(self.valid_instances)

    def sample(self, number: int) -> dict[str, Tensor]:
        """Training sample; every instance is seen as often as `balanced` says before a new round begins."""
        epoch, position = divmod(number, len(self.train_instances))
        instance = self.train_instances[self._permutation(epoch)[position]]
        return self._make(instance, np.random.default_rng([self.settings.train.seed, 1, number]))

    def valid_sample(self, number: int) -> dict[str, Tensor]:
        """Validation sample, through the same augmentation as training; to be drawn, it has all `coordinates`."""
        instance = self.valid_instances[number]
        return self._make(instance, np.random.default_rng([self.settings.train.seed, 2, number]), drawn=True)

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        if getattr(self, "_shuffled", (None, None))[0] != epoch:
            rng = np.random.default_rng([self.settings.train.seed, 3, epoch])
            self._shuffled = (epoch, rng.permutation(len(self.train_instances)))
        return self._shuffled[1]

    def _make(self, instance: InstanceRef, rng: np.random.Generator, drawn: bool = False) -> dict[str, Tensor]:
        crop_settings, side = self.settings.crop, self.settings.crop.side
        hits = None
        while hits is None or not hits.mask.any():  # a strongly occluded object's crop may miss it entirely
            jitter = draw_jitter(rng, side, crop_settings.scale, np.pi, strength=1)
            crop = Crop.around_points(self._hull(instance.scene, instance.im_id, instance.gt_id), side,
                                      crop_settings.scale, jitter)  # fmt: skip
            hits = self._render(instance, crop)
        image = self._crop_image(instance, crop, rng)
        sample = {
            "image": to_network(image),
            "object_index": torch.tensor(self.object_ids.index(instance.obj_id)),
            "mask": torch.from_numpy(hits.mask.astype(np.float32)),
            **self._correspondences(instance.obj_id, hits, rng),
        }
        if drawn:
            sphere = self.spheres[instance.obj_id]
            coordinates = (self.casters[instance.obj_id].coordinates(hits) - np.asarray(sphere.center)) / sphere.radius
            sample["coordinates"] = torch.from_numpy((coordinates * hits.mask[..., None]).astype(np.float32))
        return sample

    def _render(self, instance: InstanceRef, crop: Crop) -> Hits:
        size = crop.side // self.stride
        K = resize_intrinsics(crop.intrinsics(instance.K), 1 / self.stride, 1 / self.stride)
        return self.casters[instance.obj_id].cast(K, instance.T_cam_obj, size, size)

    def _crop_image(self, instance: InstanceRef, crop: Crop, rng: np.random.Generator) -> NDArray[np.uint8]:
        left, top, right, bottom = crop.covering_box()
        region = self._image(instance.scene, instance.im_id)[top:bottom, left:right]
        if region.size == 0:
            return np.zeros((crop.side, crop.side, 3), dtype=np.uint8)
        if self.settings.crop.augment:
            region = augment.photometric(region, rng)
        interpolation = INTERPOLATIONS[rng.integers(len(INTERPOLATIONS))]
        image = crop.moved(-left, -top).warp(region, interpolation).astype(np.uint8, copy=False)
        return augment.on_crop(image, rng) if self.settings.crop.augment else image

    def _correspondences(self, obj_id: int, hits: Hits, rng: np.random.Generator) -> dict[str, Tensor]:
        loss, sphere, caster = self.settings.loss, self.spheres[obj_id], self.casters[obj_id]
        rows, columns = np.nonzero(hits.mask)
        chosen = rng.choice(len(rows), loss.positives, replace=len(rows) < loss.positives)
        rows, columns = rows[chosen], columns[chosen]
        corners = caster.mesh.vertices[caster.mesh.faces[hits.face[rows, columns]]]
        positives = (corners * hits.barycentric[rows, columns][:, :, None]).sum(axis=1)
        negatives = self.samplers[obj_id].draw(loss.negatives, rng)
        return {
            "pixels_yx": torch.from_numpy(np.stack([rows, columns], axis=1)),
            "positives": self._perturbed(positives, sphere, rng),
            "negatives": self._perturbed(negatives, sphere, rng),
        }

    def _perturbed(self, points: NDArray[np.float64], sphere: Sphere, rng: np.random.Generator) -> Tensor:
        noise = rng.standard_normal(points.shape) * self.settings.loss.key_noise
        normalised = (points - np.asarray(sphere.center)) / sphere.radius + noise
        return torch.from_numpy(normalised.astype(np.float32))

    def _cache_size(self) -> int:
        scene = self.scenes[0]
        return max(1, PRELOAD_BYTES // max(1, scene.rgb(scene.image_ids[0]).nbytes))

    def _read_image(self, scene: int, im_id: int) -> NDArray[np.uint8]:
        return self.scenes[scene].rgb(im_id)

    def _read_hull(self, scene: int, im_id: int, gt_id: int) -> NDArray[np.float64]:
        """Convex hull (N, 2) of the visible mask's pixels: all that the extent of a turned mask depends on."""
        import cv2

        mask = self.scenes[scene].mask(im_id, gt_id)
        points = cv2.findNonZero(mask.astype(np.uint8))
        if points is None:
            raise InputError(f"{self.scenes[scene].path}: mask_visib of image {im_id}, instance {gt_id} is empty")
        return np.asarray(cv2.convexHull(points), dtype=np.float64).reshape(-1, 2)


def from_network(image: Tensor) -> NDArray[np.uint8]:
    """Crop (H, W, 3) uint8 RGB of a network's input (3, H, W): the inverse of `to_network`."""
    values = image.permute(1, 2, 0).cpu().numpy() * STD + MEAN
    return np.asarray(np.round(np.clip(values, 0, 1) * 255), dtype=np.uint8)


def to_network(image: NDArray[np.uint8]) -> Tensor:
    """Crop (H, W, 3) uint8 RGB to the network's input (3, H, W) float32, ImageNet mean and standard deviation."""
    return torch.from_numpy(np.ascontiguousarray(((image.astype(np.float32) / 255 - MEAN) / STD).transpose(2, 0, 1)))
