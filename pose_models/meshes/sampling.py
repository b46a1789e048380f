"""Random points on a mesh's surface."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pose_models.meshes.mesh import Mesh


class AreaSampler:
    """Draws surface points with equal probability per area, inside surfaces included."""

    def __init__(self, mesh: Mesh) -> None:
        self._corners = mesh.vertices[mesh.faces]
        cumulative = np.cumsum(mesh.face_areas())
        self._cumulative = cumulative / cumulative[-1]

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Points (count, 3), in the mesh's unit and frame."""
        return self.draw_with_faces(count, rng)[0]

    def draw_with_faces(self, count: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Points (count, 3), and the faces (count,) that they lie on."""
        face = np.minimum(np.searchsorted(self._cumulative, rng.random(count)), len(self._corners) - 1)
        u, v = rng.random((2, count, 1))
        flip = u + v > 1
        u, v = np.where(flip, 1 - u, u), np.where(flip, 1 - v, v)
        a, b, c = (self._corners[face, i] for i in range(3))
        return np.asarray(a + u * (b - a) + v * (c - a)), face
