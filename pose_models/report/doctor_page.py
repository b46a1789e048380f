"""The doctor's page: findings with remedies, and pictures in which a person sees whether poses and models fit."""

from __future__ import annotations

import functools
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_models.datasets.image_files import decode_image
from pose_models.datasets.masks import Mask
from pose_models.evaluation.doctor.annotations import ImageRecord, Pose, SceneKey
from pose_models.evaluation.doctor.dataset import Report, Scene
from pose_models.evaluation.doctor.kinds import SEVERITIES
from pose_models.files import InputError
from pose_models.geometry.cameras import project, resize_intrinsics
from pose_models.meshes.mesh import load_mesh
from pose_models.render.raycast import RayCaster
from pose_models.report.contours import contours, mask_contours
from pose_models.report.page import environment
from pose_models.report.pictures import fit_width, picture

COLORS = 8  # colours of objects in check.html.j2
IMAGE_WIDTH = 960
MARGIN = 1.3  # of a crop, around the object's projected box
DEPTH_RANGE_MM = 10.0  # differences of depth that have full colour


def render(report: Report, pictures: int = 4) -> str:
    """The page as self-contained HTML.

    Args:
        report: of `examine`.
        pictures: whole images per split, and views per object and split.
    """
    gallery = _Gallery(report)
    splits = []
    for name, scenes in report.scenes.items():
        images = [(s.key, r) for s in scenes for r in s.records if r.K is not None and r.poses]
        splits.append(
            {
                "name": name,
                "scenes": len(scenes),
                "images": sum(len(s.records) for s in scenes),
                "instances": sum(r.instances or 0 for s in scenes for r in s.records),
                "objects": [_object_row(report, name, scenes, obj_id) for obj_id in _objects(scenes)],
                "views": [view for key, r in _covering(images, pictures) if (view := gallery.whole_image(key, r))],
                "crops": [
                    {"obj_id": obj_id, "color": obj_id % COLORS, "views": gallery.views_of(images, obj_id, pictures)}
                    for obj_id in _objects(scenes)
                ],
            }
        )
    counts = {severity: sum(f.kind.severity == severity for f in report.findings) for severity in SEVERITIES}
    context = {
        "name": report.root.resolve().name,
        "findings": [finding.to_json() for finding in report.findings],
        "counts": counts,
        "models": [
            {"folder": folder, "objects": list(models.values())} for folder, models in report.models.items() if models
        ],
        "splits": splits,
        "depth_range": DEPTH_RANGE_MM,
    }
    return environment().get_template("check.html.j2").render(context)


def _objects(scenes: list[Scene]) -> list[int]:
    return sorted({pose.obj_id for scene in scenes for record in scene.records for pose in record.poses})


def _object_row(report: Report, split: str, scenes: list[Scene], obj_id: int) -> dict[str, Any]:
    """Numbers of an object in a split; medians over the rendered images, None where nothing was rendered."""
    poses = [p for scene in scenes for r in scene.records for p in r.poses if p.obj_id == obj_id]
    fits = [fit for _, fit in report.fits[split] if fit.obj_id == obj_id]
    z = np.array([p.T_cam_obj[2, 3] for p in poses])
    return {
        "obj_id": obj_id,
        "color": obj_id % COLORS,
        "instances": len(poses),
        "distance": (float(z.min()), float(z.max())),
        "iou": _median([fit.iou for fit in fits]),
        "depth": _median([fit.depth_mm for fit in fits]),
        "rendered": len(fits),
    }


def _median(values: list[float]) -> float | None:
    finite = [value for value in values if np.isfinite(value)]
    return round(float(np.median(finite)), 3) + 0.0 if finite else None  # + 0.0: no "-0.0"


def _covering(images: list[tuple[SceneKey, ImageRecord]], count: int) -> list[tuple[SceneKey, ImageRecord]]:
    """Images spread evenly over a split."""
    if not images:
        return []
    return [images[i] for i in np.unique(np.linspace(0, len(images) - 1, min(count, len(images))).astype(int))]


class _Gallery:
    """Draws images of a dataset with its posed models; meshes are loaded when they are first needed."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.good = {} if report.model_folder is None else report.models[report.model_folder.name]

    @functools.cache  # noqa: B019 - lives as long as the page is made
    def caster(self, obj_id: int) -> RayCaster | None:
        """The object's mesh, ready to be drawn; None if it cannot be used."""
        if self.report.model_folder is None or obj_id not in self.good or not self.good[obj_id].is_good:
            return None
        return RayCaster(load_mesh(self.report.model_folder / f"obj_{obj_id:06d}.ply"))

    def whole_image(self, key: SceneKey, record: ImageRecord) -> dict[str, Any] | None:
        """An image with the outlines of all its posed models; None if it cannot be read."""
        image = _read(key, record)
        if image is None or record.K is None:
            return None
        small, factor = fit_width(image, IMAGE_WIDTH)
        K = resize_intrinsics(record.K, factor, factor)
        height, width = small.shape[:2]
        layers = [
            (f"model c{pose.obj_id % COLORS}", contours(caster, K, pose.T_cam_obj, width, height, oversample=2))
            for pose in sorted(record.poses, key=lambda pose: -pose.T_cam_obj[2, 3])
            if (caster := self.caster(pose.obj_id)) is not None
        ]
        title = f"scene {key.scene_id}, image {record.im_id}" + (f", {key.sensor}" if key.sensor else "")
        objects = sorted({pose.obj_id for pose in record.poses})
        return {
            "svg": picture(small, layers, title=title),
            "title": title,
            "objects": [{"obj_id": obj_id, "color": obj_id % COLORS} for obj_id in objects],
        }

    def views_of(self, images: list[tuple[SceneKey, ImageRecord]], obj_id: int, count: int) -> list[dict[str, Any]]:
        """Crops around instances of an object, spread over the split, the visible ones preferred."""
        found = [(key, record, pose) for key, record in images for pose in record.poses if pose.obj_id == obj_id]
        clear = [item for item in found if _visible_fraction(item[1], item[2]) >= 0.5] or found
        if not clear or self.caster(obj_id) is None:
            return []
        chosen = np.unique(np.linspace(0, len(clear) - 1, min(count, len(clear))).astype(int))
        return [view for i in chosen if (view := self._crop(*clear[i]))]

    def _crop(self, key: SceneKey, record: ImageRecord, pose: Pose) -> dict[str, Any] | None:
        image, caster = _read(key, record), self.caster(pose.obj_id)
        if image is None or caster is None or record.K is None:
            return None
        uv = project(caster.mesh.vertices @ pose.T_cam_obj[:3, :3].T + pose.T_cam_obj[:3, 3], record.K)
        side = int(max(np.ptp(uv, axis=0).max() * MARGIN, 32))
        left, top = np.round((uv.min(axis=0) + uv.max(axis=0)) / 2 - side / 2).astype(int)
        crop = _window(image, int(left), int(top), side)
        K = np.array([[1.0, 0, -left], [0, 1, -top], [0, 0, 1]]) @ record.K
        lines = contours(caster, K, pose.T_cam_obj, side, side)
        layers = [(f"model c{pose.obj_id % COLORS}", lines)]
        mask = _mask(key, record, pose)
        if mask is not None:
            layers.insert(0, ("truth", mask_contours(_window(mask, int(left), int(top), side))))
        visible = _visible_fraction(record, pose)
        title = f"scene {key.scene_id}, image {record.im_id}, instance {pose.gt_id}"
        return {
            "svg": picture(crop, layers, title=title),
            "depth": self._depth_picture(key, record, pose, caster, K, (int(left), int(top), side)),
            "title": title,
            "visible": None if np.isnan(visible) else visible,
        }

    def _depth_picture(
        self, key: SceneKey, record: ImageRecord, pose: Pose, caster: RayCaster, K: Any, window: tuple[int, int, int]
    ) -> str | None:
        """Measured minus rendered depth: white where they agree, red where measured nearer, blue where further."""
        left, top, side = window
        try:
            file = None if record.depth_scale is None else key.open().depth_file(record.im_id)
            raw = None if file is None else decode_image(file[1], file[0], cv2.IMREAD_UNCHANGED)
        except InputError:
            return None  # said among the findings
        if raw is None or raw.ndim != 2:
            return None
        measured = _window(raw, left, top, side) * np.float32(record.depth_scale or 1.0)
        rendered = caster.cast(K, pose.T_cam_obj, side, side).depth
        difference = np.clip((measured - rendered) / DEPTH_RANGE_MM, -1, 1)
        shade = np.full((side, side, 3), 60, dtype=np.float64)
        inside = (rendered > 0) & (measured > 0)
        fade = 1 - np.abs(difference[inside])
        near = difference[inside] < 0
        shade[inside] = 255 * np.stack([np.where(near, 1, fade), fade, np.where(near, fade, 1)], axis=1)
        shade[(rendered > 0) & (measured == 0)] = 110
        return picture(shade.astype(np.uint8), title="measured minus rendered depth", quality=None)


def _read(key: SceneKey, record: ImageRecord) -> NDArray[np.uint8] | None:
    try:
        return key.open().rgb(record.im_id)
    except InputError:
        return None  # said among the findings


def _mask(key: SceneKey, record: ImageRecord, pose: Pose) -> Mask | None:
    try:
        return key.open().mask(record.im_id, pose.gt_id)
    except (InputError, KeyError):
        return None  # said among the findings


def _visible_fraction(record: ImageRecord, pose: Pose) -> float:
    info = None if record.infos is None else record.infos[pose.gt_id]
    return float("nan") if info is None else float(info["visib_fract"])


def _window(image: NDArray[Any], left: int, top: int, side: int) -> NDArray[Any]:
    """A square window of an image (H, W, ...), zero where it reaches beyond."""
    result = np.zeros((side, side, *image.shape[2:]), dtype=image.dtype)
    height, width = image.shape[:2]
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + side, width), min(top + side, height)
    if x0 < x1 and y0 < y1:
        result[y0 - top : y1 - top, x0 - left : x1 - left] = image[y0:y1, x0:x1]
    return result
