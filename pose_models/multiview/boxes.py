"""Objects as the corners of their bounding boxes, and distances between poses up to symmetry (cosypose.md 12.2).

Of all symmetries, the one with the smallest mean squared corner distance is chosen; the distance is the mean Euclidean
one under it. The mean square is linear in 13 numbers of the relative pose, so that all symmetries of all pairs of poses
cost one matrix product.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models.geometry.cameras import project
from pose_models.geometry.symmetries import symmetry_transforms
from pose_models.geometry.transforms import apply, invert

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

# Shares of the box's size, in the reference's order (cosypose.md 2.3).
CORNERS = np.array(
    [[0, 1, 1], [1, 1, 1], [1, 0, 1], [0, 0, 1], [0, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]], dtype=np.float64
)


@dataclasses.dataclass(frozen=True)
class Box:
    """An object: corners (8, 3) mm of its axis-aligned box and symmetry transforms (S, 4, 4), the identity first."""

    corners: Array
    symmetries: Array

    @classmethod
    def from_info(cls, info: Mapping[str, Any], rotations: int = 64) -> Box:
        """From an entry of models_info.json, with so many rotations about each axis of symmetry."""
        low = np.array([info[f"min_{axis}"] for axis in "xyz"], dtype=np.float64)
        size = np.array([info[f"size_{axis}"] for axis in "xyz"], dtype=np.float64)
        step = math.nextafter(math.pi / rotations, math.inf)  # of which exactly `rotations` fit into half a turn
        return cls(low + CORNERS * size, symmetry_transforms(info, step))

    @functools.cached_property
    def turned_corners(self) -> Array:
        """Corners under every symmetry (S, 8, 3)."""
        return apply(self.symmetries, self.corners)

    @functools.cached_property
    def _weights(self) -> Array:
        """(13, S): the mean squared distance to the corners themselves, as a linear function of `_features`."""
        turned, corners = self.turned_corners, self.corners
        products = np.einsum("sni,nj->sij", turned, corners) / len(corners)
        constant = (turned**2).sum(axis=(1, 2)) / len(corners) + (corners**2).sum() / len(corners)
        return np.concatenate([-2 * products.reshape(-1, 9), 2 * turned.mean(axis=1), constant[:, None]], axis=1).T

    def best_symmetry(self, T_b_a: Array) -> Indices:
        """Index (N,) of the symmetry S that minimises the mean squared corner distance of T_b_a S to the identity."""
        if len(self.symmetries) == 1:
            return np.zeros(len(T_b_a), dtype=np.int64)
        R, t = T_b_a[:, :3, :3], T_b_a[:, :3, 3]
        turned_back = np.einsum("nij,ni->nj", R, t)
        features = np.concatenate([R.transpose(0, 2, 1).reshape(-1, 9), turned_back, np.ones((len(R), 1))], axis=1)
        return np.asarray((features @ self._weights).argmin(axis=1), dtype=np.int64)

    def distance(self, T_a: Array, T_b: Array) -> tuple[Array, Indices]:
        """Distances (N,) in mm between poses (N, 4, 4) up to symmetry, and the symmetries (N,) applied to T_a."""
        return self.relative_distance(invert(T_b) @ T_a)

    def relative_distance(self, T_b_a: Array) -> tuple[Array, Indices]:
        """The same for the relative pose (N, 4, 4) of the two."""
        chosen = self.best_symmetry(T_b_a)
        moved = apply(T_b_a, self.turned_corners[chosen])
        return np.sqrt(((moved - self.corners) ** 2).sum(axis=-1)).mean(axis=-1), chosen

    def is_far(self, T_b_a: Array, limit_mm: float) -> NDArray[np.bool_]:
        """(N,) whether the distance certainly exceeds a limit: it is at least that of the mean corners."""
        means = self.turned_corners.mean(axis=1)
        center = means.mean(axis=0)
        spread = np.linalg.norm(means - center, axis=1).max()
        moved = T_b_a[:, :3, :3] @ center + T_b_a[:, :3, 3]
        return np.asarray(np.linalg.norm(moved - self.corners.mean(axis=0), axis=1) > limit_mm + spread)

    def reprojection(self, K: Array, T_a: Array, T_b: Array) -> tuple[Array, Indices]:
        """Mean corner distances (N,) in pixels between projections up to symmetry, and the symmetries of T_a.

        Args:
            K: (N, 3, 3); T_a, T_b: (N, 4, 4) mm. All symmetries are tried: none has the smallest square here.
        """
        pixels_a = project(apply(T_a[:, None], self.turned_corners), K[:, None])
        pixels_b = project(apply(T_b, self.corners), K)
        mean = np.linalg.norm(pixels_a - pixels_b[:, None], axis=-1).mean(axis=-1)
        chosen = np.asarray(mean.argmin(axis=1), dtype=np.int64)
        return mean[np.arange(len(chosen)), chosen], chosen
