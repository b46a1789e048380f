"""From a CAD file to an object model of a dataset: welded, looking outwards, in millimetres."""

from __future__ import annotations

import dataclasses

import numpy as np

from pose_models.meshes.mesh import Mesh
from pose_models.meshes.orientation import Orientation, outward

MM_PER_UNIT = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "inch": 25.4}


def welded(mesh: Mesh) -> Mesh:
    """The mesh with vertices of the same place and colour made one (STL files repeat them) and without flat faces."""
    keys = mesh.vertices if mesh.colors is None else np.column_stack([mesh.vertices, mesh.colors])
    _, first, number = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)  # vertices stay in the order of the file
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    faces = rank[number.reshape(-1)][mesh.faces]
    solid = (faces != np.roll(faces, 1, axis=1)).all(axis=1)
    kept = first[order]
    colors = None if mesh.colors is None else mesh.colors[kept]
    return Mesh(mesh.vertices[kept], faces[solid], colors, None if mesh.uv is None else mesh.uv[solid], mesh.texture)


def as_model(mesh: Mesh, center: bool = False) -> tuple[Mesh, Orientation]:
    """A mesh made fit for a dataset, and what was wrong with its orientation.

    Args:
        mesh: mm.
        center: move the origin to the middle of the box, where BOP's models have it.
    """
    mesh = welded(mesh)
    if center:
        middle = (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)) / 2
        mesh = dataclasses.replace(mesh, vertices=mesh.vertices - middle)
    return outward(mesh)
