"""Sizes of point sets: diameter, enclosing sphere and the entry of `models_info.json`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def hull_points(points: ArrayLike) -> Array:
    """The points (H, 3) that lie on the convex hull of points (N, 3); all points if the hull is flat."""
    from scipy.spatial import ConvexHull, QhullError

    points = np.asarray(points, dtype=np.float64)
    if len(points) < 5:
        return points
    try:
        return np.asarray(points[ConvexHull(points).vertices])
    except QhullError:
        return points


def diameter(points: ArrayLike) -> float:
    """Largest distance of two points of (N, 3): the `diameter` of `models_info.json`."""
    hull = hull_points(points)
    blocks = (hull[start : start + 512] for start in range(0, len(hull), 512))
    return float(np.sqrt(max(((block[:, None] - hull) ** 2).sum(axis=-1).max() for block in blocks)))


def bounding_sphere(points: ArrayLike) -> tuple[Array, float]:
    """Enclosing sphere that normalises object coordinates: centre (3,) and radius, in the points' unit.

    The smallest sphere through four hull points (farthest-site Voronoi vertices), which is what SurfEmb's reference
    takes for the minimum enclosing sphere. It contains all points; where the true minimum rests on two or three points
    only, it is slightly larger (0.05 % in the reference vectors).
    """
    import trimesh

    center, radius = trimesh.nsphere.minimum_nsphere(np.asarray(points, dtype=np.float64))
    return np.asarray(center, dtype=np.float64), float(radius)


def model_info(vertices: ArrayLike) -> dict[str, Any]:
    """Entry of `models_info.json` without symmetries: exact diameter, minimum and size of the vertices (N, 3), mm."""
    vertices = np.asarray(vertices, dtype=np.float64)
    low, size = vertices.min(axis=0), np.ptp(vertices, axis=0)
    info: dict[str, Any] = {"diameter": diameter(vertices)}
    info |= {f"min_{axis}": float(value) for axis, value in zip("xyz", low, strict=True)}
    return info | {f"size_{axis}": float(value) for axis, value in zip("xyz", size, strict=True)}
