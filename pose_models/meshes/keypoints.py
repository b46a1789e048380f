"""Keypoints of an object: points spread over its surface, or the corners of its box (object frame, mm)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pose_models.meshes.bounds import bounding_sphere
from pose_models.meshes.mesh import Mesh

Array = NDArray[np.float64]
_CORNERS = np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])


def farthest_points(points: ArrayLike, count: int, start: ArrayLike, keep_start: bool = True) -> NDArray[np.int64]:
    """Indices (count,) of a farthest-point order: each next point is the one farthest from all chosen before.

    Args:
        points: (N, 3). Ties go to the lowest index.
        start: (3,) the first choice is farthest from here.
        keep_start: whether `start` goes on counting as chosen (RePOSE's keypoints: golden `repose/fps`) or is dropped
            after the first choice (SpyroPose: spyropose.md section 5).

    Raises:
        ValueError: there are fewer points than asked for.
    """
    points = np.asarray(points)
    if not 1 <= count <= len(points):
        raise ValueError(f"{count} of {len(points)} points cannot be chosen")
    distance = ((points - np.asarray(start, dtype=points.dtype)) ** 2).sum(axis=1)
    chosen = np.empty(count, dtype=np.int64)
    for index in range(count):
        chosen[index] = distance.argmax()
        to_chosen = ((points - points[chosen[index]]) ** 2).sum(axis=1)
        distance = to_chosen if index == 0 and not keep_start else np.minimum(distance, to_chosen)
    return chosen


def vertex_keypoints(mesh: Mesh, count: int = 8) -> Array:
    """Vertices (count, 3) in farthest-point order from the box's centre, which counts as chosen (RePOSE, PVNet)."""
    center = (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)) / 2
    return np.asarray(mesh.vertices[farthest_points(mesh.vertices, count, center)])


def surface_keypoints(mesh: Mesh, count: int = 16, samples: int = 10_000) -> Array:
    """Points (count, 3) of the surface in farthest-point order from the samples' mean (SpyroPose, its default).

    The samples follow the reference's law, so that the keypoints are its own: numpy's legacy generator with seed 0, all
    faces first, then both weights of each point.
    """
    random = np.random.RandomState(0)
    corners = mesh.vertices[mesh.faces]
    areas = np.cumsum(mesh.face_areas())
    a, b, c = np.moveaxis(corners[np.searchsorted(areas, random.random(samples) * areas[-1])], 1, 0)
    weights = random.random((samples, 2, 1))
    weights = np.where(weights.sum(axis=1, keepdims=True) > 1, np.abs(weights - 1), weights)
    points = a + weights[:, 0] * (b - a) + weights[:, 1] * (c - a)
    return np.asarray(points[farthest_points(points, count, points.mean(axis=0), keep_start=False)])


def sphere_box_keypoints(mesh: Mesh) -> Array:
    """Corners (16, 3) of the cube around the bounding sphere and of one half as large (SpyroPose, `box`)."""
    center, radius = bounding_sphere(mesh.vertices)
    return np.concatenate([center + radius * _CORNERS, center + radius / 2 * _CORNERS])


def box_corners(mesh: Mesh) -> Array:
    """Corners (8, 3) of the axis-aligned box; x slowest, z fastest."""
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    return np.asarray((low + high) / 2 + _CORNERS * (high - low) / 2)
