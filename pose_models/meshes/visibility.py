"""Which part of a surface can be seen from outside, by rays (surfemb.md section 6), and which way its faces look.

Every face's centre sends rays, just above the surface, to directions spread over the sphere. Its visibility is the mean
over all directions of the cosine to its normal where the ray leaves without meeting the mesh; a face turned inside
out gets 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pose_models.files import InputError
from pose_models.meshes.bounds import diameter
from pose_models.meshes.mesh import Mesh

Array = NDArray[np.float64]
VIEWS = 256
LEAST_VISIBILITY = 1e-3
OFFSET = 1e-4  # start of the rays above the surface, in diameters
_RAYS_AT_ONCE = 1_000_000


def fibonacci_directions(count: int) -> Array:
    """Unit vectors (count, 3) spread evenly over the sphere."""
    index = np.arange(count)
    z = 1 - (2 * index + 1) / count
    angle = index * np.pi * (3 - np.sqrt(5))
    ring = np.sqrt(1 - z * z)
    return np.stack([ring * np.cos(angle), ring * np.sin(angle), z], axis=1)


class Openness:
    """How far points on a mesh can be seen from outside."""

    def __init__(self, mesh: Mesh) -> None:
        from embreex import rtcore_scene
        from embreex.mesh_construction import TriangleMesh

        # Unit size about the origin, for Embree's float32.
        low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
        self._center, self._scale = (low + high) / 2, 1.0 / max(float(np.linalg.norm(high - low)), 1e-12)
        self._offset = OFFSET * diameter(mesh.vertices) * self._scale
        self._scene = rtcore_scene.EmbreeScene()
        corners = ((mesh.vertices - self._center) * self._scale)[mesh.faces]
        self._buffer = TriangleMesh(self._scene, corners.astype(np.float32))  # Embree reads it as long as it casts

    def at(self, points: Array, normals: Array, directions: Array) -> Array:
        """Mean (N,) over all directions (D, 3) of the cosine to a point's normal (N, 3) where nothing is in the way."""
        starts = (points - self._center) * self._scale + self._offset * normals
        result = np.zeros(len(points))
        step = max(_RAYS_AT_ONCE // len(directions), 1)
        for first in range(0, len(points), step):
            cosine = normals[first : first + step] @ directions.T
            point, view = np.nonzero(cosine > 0)
            origins = starts[first : first + step][point].astype(np.float32)
            blocked = self._scene.run(origins, directions[view].astype(np.float32), query="OCCLUDED") != -1
            weights = np.where(blocked, 0.0, cosine[point, view])
            result[first : first + step] = np.bincount(point, weights=weights, minlength=len(cosine)) / len(directions)
        return result


def face_visibility(mesh: Mesh, views: int = VIEWS) -> Array:
    """Visibility (F,) of the faces from outside, 0 to 0.25 (a face in the open, on a convex body)."""
    centers = mesh.vertices[mesh.faces].mean(axis=1)
    return Openness(mesh).at(centers, mesh.face_normals(), fibonacci_directions(views))


def visible_surface(mesh: Mesh, views: int = VIEWS) -> tuple[Mesh, float]:
    """The faces of a mesh that can be seen from outside, and the share of the area that they are.

    Faces must look outwards (`orientation.outward`): one that looks inwards cannot be seen.

    Raises:
        InputError: nothing can be seen.
    """
    visibility = face_visibility(mesh, views)
    areas = mesh.face_areas()
    keep = visibility > LEAST_VISIBILITY
    if not keep.any():
        raise InputError("no face of the mesh can be seen from outside; check its face orientation and its size")
    return with_faces(mesh, keep), float(areas[keep].sum() / areas.sum())


def with_faces(mesh: Mesh, keep: NDArray[np.bool_]) -> Mesh:
    """The mesh with only the faces chosen by keep (F,), without the vertices that no face names any more."""
    faces = mesh.faces[keep]
    used = np.zeros(len(mesh.vertices), dtype=bool)
    used[faces] = True
    number = np.cumsum(used) - 1
    colors = mesh.colors[used] if mesh.colors is not None else None
    uv = mesh.uv[keep] if mesh.uv is not None else None
    return Mesh(mesh.vertices[used], number[faces], colors, uv, mesh.texture)
