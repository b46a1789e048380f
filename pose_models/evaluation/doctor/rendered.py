"""Checks that need rendering: posed models against masks and against measured depth.

Silhouettes are sampled as BOP samples them, at pixel centres +0.5 (bop.md 6.2).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pose_models.evaluation.doctor.annotations import ImageRecord, Pose
from pose_models.evaluation.doctor.findings import Findings
from pose_models.evaluation.doctor.images import Mask, Pixels
from pose_models.meshes.mesh import Mesh
from pose_models.render.rasterize import Window, rasterize
from pose_models.render.visibility import visible_mask

MIN_PX = 200  # silhouettes of fewer pixels say little
MIN_DEPTH_PX = 50
MIN_IOU, MIN_VISIBLE_IOU = 0.7, 0.5
DEPTH_RATIO = (0.8, 1.25)  # measured over rendered; outside, depth_scale is wrong
OFFSET_MM, OFFSET_SHARE = 15.0, 0.1  # largest median offset of depth: mm, and share of the diameter


@dataclasses.dataclass(frozen=True)
class Fit:
    """How a posed model fits its image: silhouette IoU with the mask, median of measured minus rendered depth (mm).

    nan where it could not be told.
    """

    im_id: int
    gt_id: int
    obj_id: int
    iou: float
    depth_mm: float


@dataclasses.dataclass(frozen=True)
class Model:
    """A mesh in mm and the diameter that models_info.json gives."""

    mesh: Mesh
    diameter: float


def check_poses(
    record: ImageRecord,
    pixels: Pixels,
    model: Callable[[int], Model | None],
    folder: Path,
    split: str,
    delta_mm: float,
    findings: Findings,
) -> list[Fit]:
    """Hold all sound poses of an image against its masks and depth.

    Args:
        record: with K and poses. pixels: of the image.
        model: by object id; None for models that are not fit for rendering.
        folder: of the scene, for messages.
        delta_mm: tolerance of the visibility test.
    """
    if record.K is None or not record.poses:
        return []
    rendered = [(pose, m, _depth(m.mesh, record, pose, pixels)) for pose in record.poses if (m := model(pose.obj_id))]
    fits, ratios, fitting = [], [], []
    for pose, m, depth in rendered:
        mask = pixels.masks.get(pose.gt_id)
        iou = np.nan if mask is None else _iou(depth > 0, mask)
        where = f"image {record.im_id}, instance {pose.gt_id}"
        if iou < MIN_IOU:
            detail = f"object {pose.obj_id}, IoU {iou:.2f} of its silhouette with mask"
            findings.add("pose-silhouette", split, folder, where, detail, 1 - iou)
        offset, ratio = _offset(depth, pixels, pose.gt_id)
        if not iou < MIN_IOU:
            fitting.append((pose, m, depth, offset))
            ratios.append(ratio)
        fits.append(Fit(record.im_id, pose.gt_id, pose.obj_id, float(iou), offset))
    finite = [ratio for ratio in ratios if np.isfinite(ratio)]
    if finite and not DEPTH_RATIO[0] <= np.median(finite) <= DEPTH_RATIO[1]:
        detail = f"measured depth is {np.median(finite):.3g} times the rendered one"
        findings.add("depth-unit", split, folder / "scene_camera.json", f"image {record.im_id}", detail)
        return fits
    is_whole = len(rendered) == record.instances
    for pose, m, depth, offset in fitting:
        where = f"image {record.im_id}, instance {pose.gt_id}"
        if abs(offset) > max(OFFSET_MM, OFFSET_SHARE * m.diameter):
            side = "behind" if offset > 0 else "before"
            detail = f"object {pose.obj_id}: the measured surface is {abs(offset):.0f} mm {side} the model (median)"
            findings.add("pose-depth", split, folder, where, detail, abs(offset))
            continue
        visible = pixels.visible.get(pose.gt_id)
        expected = _visible(depth, [d for *_, d in rendered] if is_whole else None, pixels, record, delta_mm)
        if visible is not None and expected is not None and _iou(expected, visible) < MIN_VISIBLE_IOU:
            iou = _iou(expected, visible)
            findings.add("mask-visible", split, folder, where, f"object {pose.obj_id}, IoU {iou:.2f}", 1 - iou)
    return fits


def _depth(mesh: Mesh, record: ImageRecord, pose: Pose, pixels: Pixels) -> NDArray[np.float32]:
    """Depth (H, W) mm of a posed model alone, 0 = background."""
    assert record.K is not None
    R, t = pose.T_cam_obj[:3, :3], pose.T_cam_obj[:3, 3]
    window = Window.of_image(pixels.width, pixels.height)
    return rasterize(mesh, record.K, R, t, window, pixel_center=0.5).paste(pixels.width, pixels.height)


def _iou(a: Mask, b: Mask) -> float:
    """Intersection over union; nan where neither is large enough to tell."""
    if max(int(a.sum()), int(b.sum())) < MIN_PX:
        return float("nan")
    return int((a & b).sum()) / int((a | b).sum())


def _offset(depth: NDArray[np.float32], pixels: Pixels, gt_id: int) -> tuple[float, float]:
    """Medians of measured minus rendered depth (mm) and of their ratio, over the instance's visible mask."""
    if pixels.depth is None or gt_id not in pixels.visible:
        return float("nan"), float("nan")
    seen = (depth > 0) & (pixels.depth > 0) & pixels.visible[gt_id]
    if int(seen.sum()) < MIN_DEPTH_PX:
        return float("nan"), float("nan")
    measured, own = pixels.depth[seen].astype(np.float64), depth[seen].astype(np.float64)
    return float(np.median(measured - own)), float(np.median(measured / own))


def _visible(
    depth: NDArray[np.float32],
    others: list[NDArray[np.float32]] | None,
    pixels: Pixels,
    record: ImageRecord,
    delta_mm: float,
) -> Mask | None:
    """Visible part by the measured depth; without one, by all other instances (`others`), if all could be rendered."""
    if pixels.depth is not None and record.K is not None:
        return visible_mask(depth, pixels.depth, record.K, delta_mm) if pixels.depth.any() else None
    if others is None:
        return None
    nearest = np.min([np.where(d > 0, d, np.inf) for d in others], axis=0)
    return np.asarray((depth > 0) & (depth <= nearest + delta_mm))
