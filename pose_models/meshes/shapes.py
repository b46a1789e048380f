"""Simple closed meshes, faces outwards, and meshes joined to one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pose_models.meshes.mesh import Mesh

_CORNERS = np.array([[i, j, k] for i in (-0.5, 0.5) for j in (-0.5, 0.5) for k in (-0.5, 0.5)])
_QUADS = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]


def box(size: ArrayLike, center: ArrayLike = (0.0, 0.0, 0.0)) -> Mesh:
    """A box of the given side lengths (3,): 8 vertices, 12 triangles."""
    faces = [face for a, b, c, d in _QUADS for face in ((a, b, c), (a, c, d))]
    return Mesh(_CORNERS * np.asarray(size) + np.asarray(center), np.array(faces, dtype=np.int64))


def ellipsoid(axes: ArrayLike, segments: int = 32) -> Mesh:
    """An ellipsoid with the given axis lengths (3,), about the origin."""
    return _scaled(lambda manifold: manifold.sphere(0.5, segments), axes)


def cylinder(size: ArrayLike, taper: float = 1.0, segments: int = 32) -> Mesh:
    """An upright elliptic cylinder in a box of `size` (3,), about the origin; `taper` narrows its top to a cone."""
    return _scaled(lambda manifold: manifold.cylinder(1.0, 0.5, 0.5 * taper, segments, True), size)


def _scaled(make: Callable[[Any], Any], size: ArrayLike) -> Mesh:
    from manifold3d import Manifold

    raw = make(Manifold).to_mesh()
    vertices = np.asarray(raw.vert_properties, dtype=np.float64)[:, :3] * np.asarray(size)
    return Mesh(vertices, np.asarray(raw.tri_verts, dtype=np.int64))


def merged(meshes: Sequence[Mesh]) -> Mesh:
    """All meshes as one, unconnected, without colours."""
    offsets = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes[:-1])])
    faces = [mesh.faces + offset for mesh, offset in zip(meshes, offsets, strict=True)]
    return Mesh(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(faces))
