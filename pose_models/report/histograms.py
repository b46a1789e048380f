"""Distributions as inline SVG: histograms, and maps of the directions that objects are seen from."""

from __future__ import annotations

from html import escape

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pose_models.report.charts import ticks
from pose_models.report.pictures import data_uri

MAP_COLUMNS, MAP_ROWS = 48, 24


def histogram(
    values: ArrayLike, label: str, color: str, span: tuple[float, float] | None = None, bins: int = 30,
    size: tuple[int, int] = (360, 170),
) -> str:  # fmt: skip
    """Bars of how many values (N,) lie where; an empty string without finite values.

    Args:
        label: quantity and unit. span: ends of the axis; None for those of the values. size: width, height px.
    """
    numbers = np.asarray(values, dtype=np.float64)
    numbers = numbers[np.isfinite(numbers)]
    if len(numbers) == 0:
        return ""
    low, high = span or (float(numbers.min()), float(numbers.max()))
    high = high if high > low else low + 1
    counts, _ = np.histogram(numbers, bins, (low, high))
    width, height = size
    left, bottom, top = 40, height - 32, 8
    step, highest = (width - left - 6) / bins, max(int(counts.max()), 1)
    parts = []
    for tick in ticks(0, highest, 3):
        y = bottom - tick / highest * (bottom - top)
        parts.append(f'<path class="grid" d="M{left},{y:.1f}H{width - 6}"/>')
        parts.append(f'<text class="tick" x="{left - 5}" y="{y + 3.5:.1f}" text-anchor="end">{tick:g}</text>')
    for index, count in enumerate(counts):
        if count:
            h = count / highest * (bottom - top)
            parts.append(
                f'<rect x="{left + index * step + 0.5:.1f}" y="{bottom - h:.1f}" width="{step - 1:.1f}" '
                f'height="{h:.1f}" fill="{color}"/>'
            )
    for tick in ticks(low, high, 6):
        x = left + (tick - low) / (high - low) * (width - left - 6)
        parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 13}" text-anchor="middle">{tick:g}</text>')
    parts.append(
        f'<text class="axis" x="{(left + width) / 2:.0f}" y="{height - 3}" text-anchor="middle">{label}</text>'
    )
    title = f"{label}: {len(numbers)} values from {numbers.min():.3g} to {numbers.max():.3g}"
    return f'<svg class="chart" viewBox="0 0 {width} {height}" role="img"><title>{title}</title>{"".join(parts)}</svg>'


def viewing_directions(T_cam_obj: ArrayLike) -> NDArray[np.float64]:
    """Unit vectors (N, 3), object frame, from objects at T_cam_obj (N, 4, 4) to the camera."""
    T = np.asarray(T_cam_obj, dtype=np.float64).reshape(-1, 4, 4)
    camera = -np.einsum("nji,nj->ni", T[:, :3, :3], T[:, :3, 3])
    return np.asarray(camera / np.linalg.norm(camera, axis=1, keepdims=True))


def direction_counts(directions: ArrayLike, rows: int = MAP_ROWS, columns: int = MAP_COLUMNS) -> NDArray[np.int64]:
    """How many directions (N, 3) fall into each cell (rows, columns) of equal area: height above azimuth.

    The first row looks from the object's +z, azimuth goes from -180 to 180 degrees.
    """
    d = np.asarray(directions, dtype=np.float64).reshape(-1, 3)
    row = np.clip(((1 - d[:, 2]) / 2 * rows).astype(int), 0, rows - 1)
    column = np.clip(((np.arctan2(d[:, 1], d[:, 0]) / (2 * np.pi) + 0.5) * columns).astype(int), 0, columns - 1)
    counts = np.zeros((rows, columns), dtype=np.int64)
    np.add.at(counts, (row, column), 1)
    return counts


def coverage(directions: ArrayLike) -> float:
    """Share of the sphere, in 72 cells of equal area, from which something was seen."""
    return float((direction_counts(directions, 6, 12) > 0).mean())


def direction_map(directions: ArrayLike, title: str) -> str:
    """A map of `direction_counts`: dark where never, bright where often, with axes."""
    counts = direction_counts(directions)
    bright = np.where(counts > 0, 60 + 195 * np.sqrt(counts / max(counts.max(), 1)), 0).astype(np.uint8)
    colored = cv2.applyColorMap(bright, cv2.COLORMAP_VIRIDIS)[..., ::-1]
    colored = np.where((counts > 0)[..., None], colored, np.uint8(238))
    left, top, width, height = 34, 6, 280, 140
    parts = [
        f'<image x="{left}" y="{top}" width="{width}" height="{height}" preserveAspectRatio="none" '
        f'style="image-rendering:pixelated" href="{data_uri(colored.astype(np.uint8))}"/>'
    ]
    for degrees in (-90, -30, 0, 30, 90):
        y = top + (1 - np.sin(np.radians(degrees))) / 2 * height
        parts.append(f'<text class="tick" x="{left - 5}" y="{y + 3.5:.1f}" text-anchor="end">{degrees}°</text>')
    for degrees in (-180, -90, 0, 90, 180):
        x = left + (degrees / 360 + 0.5) * width
        parts.append(f'<text class="tick" x="{x:.1f}" y="{top + height + 12}" text-anchor="middle">{degrees}°</text>')
    return (
        f'<svg class="chart" viewBox="0 0 {left + width + 12} {top + height + 16}" role="img">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )
