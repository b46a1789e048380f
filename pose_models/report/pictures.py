"""Pictures of the report as inline SVG: an embedded image and vector lines over it. Nothing is loaded from outside."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_models.report.contours import Polyline

Image = NDArray[np.uint8]


def data_uri(image: NDArray[Any], quality: int | None = None) -> str:
    """An image (H, W, 3) RGB or (H, W) grey uint8 as a data URI: PNG, or JPEG of the given quality (1..100)."""
    pixels = image if image.ndim == 2 else image[..., ::-1]
    kind, options = (".png", []) if quality is None else (".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality])
    done, encoded = cv2.imencode(kind, np.ascontiguousarray(pixels), options)
    if not done:
        raise ValueError(f"image of shape {image.shape} could not be encoded")
    mime = "image/png" if quality is None else "image/jpeg"
    return f"data:{mime};base64,{base64.b64encode(encoded.tobytes()).decode()}"


def svg_path(polylines: Iterable[Polyline]) -> str:
    """Path data of closed polylines (P, 2) given with pixel centres at integers (SVG has them at halves)."""
    parts = []
    for line in polylines:
        points = " ".join(f"{x + 0.5:.1f},{y + 0.5:.1f}" for x, y in line)
        parts.append(f"M{points}Z")
    return "".join(parts)


def picture(
    image: NDArray[Any],
    layers: Sequence[tuple[str, Iterable[Polyline]]] = (),
    boxes: Sequence[tuple[str, Sequence[float]]] = (),
    title: str = "",
    quality: int | None = 88,
) -> str:
    """An image with lines over it.

    Args:
        image: (H, W, 3) RGB or (H, W) uint8.
        layers: (CSS class, polylines in px) drawn in order.
        boxes: (CSS class, (x, y, w, h) px).
        title: what the picture shows, for the mouse and for screen readers.
        quality: of the JPEG; None for PNG.
    """
    height, width = image.shape[:2]
    lines = [f'<path class="{name}" d="{svg_path(polylines)}"/>' for name, polylines in layers]
    frames = [
        f'<rect class="{name}" x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}"/>'
        for name, (x, y, w, h) in boxes
    ]
    return (
        f'<svg class="picture" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>"
        f'<image width="{width}" height="{height}" href="{data_uri(image, quality)}"/>'
        f"{''.join(frames)}{''.join(lines)}</svg>"
    )


def fit_width(image: Image, width: int) -> tuple[Image, float]:
    """The image no wider than `width` px, and the factor by which it was scaled (at most 1)."""
    factor = min(1.0, width / image.shape[1])
    if factor == 1.0:
        return image, factor
    size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8), factor
