"""Estimates drawn over an image, as pixels: posed meshes shaded and outlined, axes, boxes, scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pose_models.geometry.cameras import project
from pose_models.geometry.transforms import apply
from pose_models.meshes.mesh import load_mesh
from pose_models.methods.api import Estimate
from pose_models.render.raycast import RayCaster
from pose_models.report.contours import contours

Image = NDArray[np.uint8]
COLORS = ((86, 180, 233), (230, 159, 0), (0, 158, 115), (240, 228, 66), (204, 121, 167), (213, 94, 0))  # Okabe-Ito
AXES = ((220, 50, 47), (60, 170, 60), (38, 110, 230))  # x, y, z
SUBPIXEL_BITS = 4


@dataclasses.dataclass(frozen=True)
class Drawn:
    """An estimate to draw: mesh, T_cam_obj (4, 4) mm (nan: only the box is drawn), box x, y, w, h px, label."""

    caster: RayCaster
    T_cam_obj: NDArray[np.float64]
    box_xywh: tuple[float, float, float, float]
    label: str
    color: tuple[int, int, int]


def drawn_estimates(estimates: Sequence[Estimate], models: Path) -> list[Drawn]:
    """Estimates with the meshes of a models folder, one colour per object."""
    obj_ids = sorted({e.obj_id for e in estimates})
    casters = {i: RayCaster(load_mesh(models / f"obj_{i:06d}.ply")) for i in obj_ids}
    colors = {i: COLORS[n % len(COLORS)] for n, i in enumerate(obj_ids)}
    return [Drawn(casters[e.obj_id], e.T_cam_obj, e.box_xywh, _text(e), colors[e.obj_id]) for e in estimates]


def _text(estimate: Estimate) -> str:
    return f"{estimate.obj_id}: {estimate.score:.2f}" if estimate.found else f"{estimate.obj_id}: no pose"


def draw_estimates(image: Image, K: ArrayLike, estimates: list[Drawn], opacity: float = 0.45) -> Image:
    """The image (H, W, 3) RGB with shaded meshes, outlines, axes, boxes and labels; farthest objects first.

    Args:
        K: (3, 3) intrinsics, pixel centres at integers.
        opacity: of the shaded meshes.
    """
    result = image.copy()
    found = [e for e in estimates if np.isfinite(e.T_cam_obj).all()]
    scale = max(1, round(image.shape[1] / 640))
    for estimate in sorted(found, key=lambda e: -e.T_cam_obj[2, 3]):
        _shade(result, K, estimate, opacity)
        lines = contours(estimate.caster, K, estimate.T_cam_obj, image.shape[1], image.shape[0])
        cv2.polylines(result, [_fixed(line) for line in lines], True, estimate.color, scale, cv2.LINE_AA, SUBPIXEL_BITS)
    for estimate in found:
        _axes(result, K, estimate, scale)
    for estimate in estimates:
        _label(result, estimate, scale)
    return result


def _shade(image: Image, K: ArrayLike, estimate: Drawn, opacity: float) -> None:
    """Blend the mesh in, lit from the camera."""
    caster, T = estimate.caster, estimate.T_cam_obj
    hits = caster.cast(K, T, image.shape[1], image.shape[0])
    normals = caster.mesh.face_normals()[hits.face[hits.mask]] @ T[:3, :3].T
    light = 0.35 + 0.65 * np.abs(normals[:, 2:])
    color = light * np.array(estimate.color)
    image[hits.mask] = np.clip((1 - opacity) * image[hits.mask] + opacity * color, 0, 255).astype(np.uint8)


def _axes(image: Image, K: ArrayLike, estimate: Drawn, thickness: int) -> None:
    """The object's axes from its origin, a third of its size long."""
    length = float(np.ptp(estimate.caster.mesh.vertices, axis=0).max()) / 3
    points = apply(estimate.T_cam_obj, np.vstack([np.zeros(3), length * np.eye(3)]))
    if points[:, 2].min() <= 0:
        return
    ends = project(points, K)
    for axis in np.argsort(-points[1:, 2]):
        line = _fixed(np.stack([ends[0], ends[axis + 1]]))
        cv2.polylines(image, [line], False, AXES[axis], thickness + 1, cv2.LINE_AA, SUBPIXEL_BITS)


def _label(image: Image, estimate: Drawn, scale: int) -> None:
    """Box, and the label on its upper edge, inside the image."""
    x, y, width, height = estimate.box_xywh
    corners = np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])
    cv2.polylines(image, [_fixed(corners)], True, estimate.color, scale, cv2.LINE_AA, SUBPIXEL_BITS)
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.4 * scale
    (text_width, text_height), below = cv2.getTextSize(estimate.label, font, size, scale)
    left = int(np.clip(x, 0, max(image.shape[1] - text_width - 4, 0)))
    bottom = int(np.clip(y, text_height + below + 4, image.shape[0]))
    cv2.rectangle(image, (left, bottom - text_height - below - 2), (left + text_width + 4, bottom), estimate.color, -1)
    cv2.putText(image, estimate.label, (left + 2, bottom - below), font, size, (0, 0, 0), scale, cv2.LINE_AA)


def _fixed(points: NDArray[np.float64]) -> NDArray[np.int32]:
    """Points (P, 2) px in OpenCV's fixed-point form."""
    limited = np.clip(points, -1e5, 1e5)
    return np.round(limited * (1 << SUBPIXEL_BITS)).astype(np.int32)
