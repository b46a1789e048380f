"""Normals for shading: smooth across flat angles, sharp at edges."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pose_models.meshes.mesh import Mesh


def corner_normals(mesh: Mesh, crease_rad: float = 0.6) -> NDArray[np.float32]:
    """Unit normal of every corner of every face.

    The area-weighted mean of the normals of the faces around the vertex that differ from the corner's own face by less
    than `crease_rad`. Vertices at the same place count as one, so that split vertices do not show.

    Returns:
        (F, 3, 3) float32: face, corner, xyz.
    """
    _, place = np.unique(np.round(mesh.vertices, 5), axis=0, return_inverse=True)
    corner_place = place.reshape(-1)[mesh.faces].reshape(-1)
    normals = mesh.face_normals()
    weighted = normals * mesh.face_areas()[:, None]
    corner, other = _pairs_in_group(corner_place)
    face, neighbour = corner // 3, other // 3
    smooth = (normals[face] * normals[neighbour]).sum(axis=1) > np.cos(crease_rad)
    total = np.zeros((len(corner_place), 3))
    for axis in range(3):
        values = weighted[neighbour[smooth], axis]
        total[:, axis] = np.bincount(corner[smooth], weights=values, minlength=len(corner_place))
    length = np.linalg.norm(total, axis=1, keepdims=True)
    result = np.divide(total, length, out=np.repeat(normals, 3, axis=0), where=length > 0)
    return np.asarray(result.reshape(-1, 3, 3), dtype=np.float32)


def _pairs_in_group(group: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All ordered pairs (i, j), i = j included, of indices that carry the same group number."""
    order = np.argsort(group, kind="stable")
    counts = np.bincount(group)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    size = counts[group[order]]
    left = np.repeat(order, size)
    start = np.repeat(first[group[order]], size)
    step = np.arange(len(left)) - np.repeat(np.cumsum(size) - size, size)
    return left, order[start + step]
