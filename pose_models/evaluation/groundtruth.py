"""The ground-truth side of BOP from models, poses and depth: `scene_gt_info.json`, masks, COCO annotations.

As the reference makes them (bop.md 2.1, 2.3, 6.4): silhouettes of the original models on a canvas three times the
image, visibility against the measured depth. Where there is no depth image, the scene is as deep as its annotated
objects, rendered together.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_models.datasets.bop import BopScene
from pose_models.datasets.masks import encode, mask_box
from pose_models.files import atomic_path, write_json
from pose_models.meshes.mesh import Mesh
from pose_models.render.rasterize import Window, rasterize
from pose_models.render.visibility import MIN_VISIBLE_FRACTION, instance_info

Mask = NDArray[np.bool_]
INFO, AMODAL, MODAL = "scene_gt_info.json", "scene_gt_coco.json", "scene_gt_coco_modal.json"


@dataclasses.dataclass(frozen=True)
class ImageAnnotation:
    """Annotations of one image, in the order of scene_gt.json: info entries, whole and visible masks (H, W)."""

    im_id: int
    obj_ids: tuple[int, ...]
    infos: tuple[dict[str, Any], ...]
    masks: tuple[Mask, ...]
    visible: tuple[Mask, ...]


def annotate_image(scene: BopScene, im_id: int, mesh: Callable[[int], Mesh], delta_mm: float) -> ImageAnnotation:
    """Masks and info entries of all instances of an image.

    Args:
        scene: with cameras and ground truth.
        im_id: image.
        mesh: gives the model of an object id, mm.
        delta_mm: tolerance of the visibility test.
    """
    width, height = scene.image_size(im_id)
    K = scene.camera(im_id).K
    window = Window.large_canvas(width, height)
    instances = scene.ground_truth[im_id]
    patches = [
        rasterize(mesh(i.obj_id), K, i.T_cam_obj[:3, :3], i.T_cam_obj[:3, 3], window, pixel_center=0.5)
        for i in instances
    ]
    if scene.has_depth(im_id):
        depth = scene.depth(im_id)
    else:
        layers = np.stack([p.paste(width, height) for p in patches] or [np.zeros((height, width), np.float32)])
        nearest = np.where(layers > 0, layers, np.inf).min(axis=0)
        depth = np.where(np.isfinite(nearest), nearest, 0).astype(np.float32)
    results = [instance_info(patch, depth, K, delta_mm) for patch in patches]
    return ImageAnnotation(
        im_id,
        tuple(i.obj_id for i in instances),
        tuple(info for info, _, _ in results),
        tuple(mask for _, mask, _ in results),
        tuple(visible for _, _, visible in results),
    )


def annotations_there(scene: BopScene, im_id: int) -> ImageAnnotation:
    """The same, of an image whose masks and info entries are there."""
    instances, infos = scene.ground_truth[im_id], scene.ground_truth_info[im_id]
    return ImageAnnotation(
        im_id,
        tuple(i.obj_id for i in instances),
        tuple({"visib_fract": info.visib_fract} for info in infos),
        tuple(scene.mask(im_id, i.gt_id, visible=False) for i in instances),
        tuple(scene.mask(im_id, i.gt_id) for i in instances),
    )


def write_scene(scene: BopScene, images: Iterable[ImageAnnotation], dataset_name: str) -> None:
    """Write masks, scene_gt_info.json and both COCO files of a scene; each appears whole or not at all."""
    infos: dict[str, Any] = {}
    coco = {name: CocoFile(scene, dataset_name) for name in (AMODAL, MODAL)}
    with atomic_path(scene.path / "mask") as masks, atomic_path(scene.path / "mask_visib") as visible:
        masks.mkdir()
        visible.mkdir()
        for image in images:
            infos[str(image.im_id)] = list(image.infos)
            for gt_id in range(len(image.infos)):
                name = f"{image.im_id:06d}_{gt_id:06d}.png"
                _write_mask(masks / name, image.masks[gt_id])
                _write_mask(visible / name, image.visible[gt_id])
            coco[AMODAL].add(image, image.masks)
            coco[MODAL].add(image, image.visible)
    for name, file in coco.items():
        write_json(scene.path / name, file.content, indent=None)
    write_json(scene.path / INFO, infos, indent=None)


def _write_mask(path: Path, mask: Mask) -> None:
    done, content = cv2.imencode(".png", mask.astype(np.uint8) * 255)
    if not done:
        raise OSError(f"{path}: the mask could not be encoded as PNG")
    path.write_bytes(content.tobytes())


class CocoFile:
    """Content of a scene's COCO annotations, filled image by image."""

    def __init__(self, scene: BopScene, dataset_name: str) -> None:
        self._scene, self._dataset = scene, dataset_name
        self._objects = {i.obj_id for instances in scene.ground_truth.values() for i in instances}
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(self, image: ImageAnnotation, boxed: Sequence[Mask]) -> None:
        """Add an image; `boxed` are the masks whose boxes are given (whole for amodal, visible for modal ones)."""
        width, height = self._scene.image_size(image.im_id)
        name = self._scene.rgb_path(image.im_id) if self._has_rgb(image.im_id) else Path(f"{image.im_id:06d}.png")
        file_name = f"{name.parent.name}/{name.name}" if name.parent.name else f"rgb/{name.name}"
        self._images.append({"id": image.im_id, "file_name": file_name, "width": width, "height": height})
        for gt_id, visible in enumerate(image.visible):
            if not visible.any():
                continue  # and the next annotation takes its id
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": image.im_id,
                    "category_id": image.obj_ids[gt_id],
                    "iscrowd": 0,
                    "area": int(visible.sum()),
                    "bbox": mask_box(boxed[gt_id]),
                    "segmentation": encode(visible),
                    "width": width,
                    "height": height,
                    "ignore": image.infos[gt_id]["visib_fract"] < MIN_VISIBLE_FRACTION,
                }
            )

    def _has_rgb(self, im_id: int) -> bool:
        return any((self._scene.path / folder).is_dir() for folder in ("rgb", "gray")) and any(
            (self._scene.path / folder / f"{im_id:06d}.{suffix}").exists()
            for folder in ("rgb", "gray")
            for suffix in ("png", "jpg", "tif")
        )

    @property
    def content(self) -> dict[str, Any]:
        """The whole file."""
        return {
            "info": {"description": f"{self._dataset} {self._scene.path.parent.name}", "year": _year()},
            "licenses": [],
            "categories": [
                {"id": obj_id, "name": str(obj_id), "supercategory": self._dataset} for obj_id in sorted(self._objects)
            ],
            "images": self._images,
            "annotations": self._annotations,
        }


def _year() -> int:
    return datetime.datetime.now(tz=datetime.UTC).year
