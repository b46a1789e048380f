"""Which part of a surface can be seen from outside, by rays (surfemb.md section 6), and which way its faces look.

Every face's centre sends rays, just above the surface, to directions spread over the sphere. Its visibility is the mean
over all directions of the cosine to its normal where the ray leaves without meeting the mesh; a face turned inside
out gets 0.
"""

from __future__ import annotations

import dataclasses
import logging

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

log = logging.getLogger(__name__)


def fibonacci_directions(count: int) -> Array:
    """Unit vectors (count, 3) spread evenly over the sphere."""
    index = np.arange(count)
    z = 1 - (2 * index + 1) / count
    angle = index * np.pi * (3 - np.sqrt(5))
    ring = np.sqrt(1 - z * z)
    return np.stack([ring * np.cos(angle), ring * np.sin(angle), z], axis=1)


def face_visibility(mesh: Mesh, views: int = VIEWS) -> Array:
    """Visibility (F,) of the faces from outside, 0 to 0.25 (a face in the open, on a convex body)."""
    from embreex import rtcore_scene
    from embreex.mesh_construction import TriangleMesh

    # Unit size about the origin, for Embree's float32.
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    scale = 1.0 / max(float(np.linalg.norm(high - low)), 1e-12)
    corners = ((mesh.vertices - (low + high) / 2) * scale)[mesh.faces]
    scene = rtcore_scene.EmbreeScene()
    buffer = TriangleMesh(scene, corners.astype(np.float32))
    normals, directions = mesh.face_normals(), fibonacci_directions(views)
    starts = corners.mean(axis=1) + OFFSET * diameter(mesh.vertices) * scale * normals
    result = np.zeros(len(mesh.faces))
    step = max(_RAYS_AT_ONCE // views, 1)
    for first in range(0, len(mesh.faces), step):
        cosine = normals[first : first + step] @ directions.T
        face, view = np.nonzero(cosine > 0)
        origins = starts[first : first + step][face].astype(np.float32)
        blocked = scene.run(origins, directions[view].astype(np.float32), query="OCCLUDED") != -1
        weights = np.where(blocked, 0.0, cosine[face, view])
        result[first : first + step] = np.bincount(face, weights=weights, minlength=len(cosine)) / views
    del buffer  # Embree reads it until here
    return result


def flipped(mesh: Mesh) -> Mesh:
    """The same surface with all faces looking the other way."""
    uv = None if mesh.uv is None else np.ascontiguousarray(mesh.uv[:, ::-1])
    return dataclasses.replace(mesh, faces=np.ascontiguousarray(mesh.faces[:, ::-1]), uv=uv)


def visible_surface(mesh: Mesh, views: int = VIEWS) -> tuple[Mesh, float]:
    """The faces of a mesh that can be seen from outside, and the share of the area that they are.

    A mesh whose inside would show more than its outside is taken to be inside out and is flipped (ITODD's object 18).

    Raises:
        InputError: nothing can be seen.
    """
    visibility = face_visibility(mesh, views)
    areas = mesh.face_areas()
    seen = areas[visibility > LEAST_VISIBILITY].sum()
    if seen < 0.5 * areas.sum():
        other_way = flipped(mesh)
        turned = face_visibility(other_way, views)
        if areas[turned > LEAST_VISIBILITY].sum() > seen:
            log.warning("the mesh is inside out: its faces are flipped")
            mesh, visibility = other_way, turned
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
