"""The objects of a model as padded tables: vertices and symmetries (cosypose.md section 2.3)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models.geometry.symmetries import symmetry_transforms
from pose_models.meshes.mesh import Mesh

Array = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class ObjectTable:
    """O objects in ascending order of their ids.

    ids: (O,). points: (O, V, 3) mm, the vertices, smaller objects filled up with random ones of their own.
    point_counts: (O,) vertices of each. symmetries: (O, S, 4, 4) mm, the identity first, filled up with identities.
    """

    ids: list[int]
    points: Array
    point_counts: list[int]
    symmetries: Array

    @classmethod
    def of(cls, meshes: Mapping[int, Mesh], infos: Mapping[int, Mapping[str, Any]], rotations: int) -> ObjectTable:
        """Make the tables.

        Args:
            infos: entries of models_info.json; an object without one, or without symmetries, has none.
            rotations: how many stand for a continuous symmetry.
        """
        ids = sorted(meshes)
        vertices = [meshes[obj_id].vertices for obj_id in ids]
        largest, rng = max(len(v) for v in vertices), np.random.RandomState(0)
        padded = []
        for v in vertices:
            extra = rng.choice(np.arange(len(v)), size=largest - len(v))
            padded.append(np.concatenate([v, v[extra]]))
        step = math.nextafter(math.pi / rotations, math.inf)  # of which exactly `rotations` fit into half a turn
        groups = [symmetry_transforms(infos.get(obj_id, {}), step) for obj_id in ids]
        size = max(len(group) for group in groups)
        filled = [np.concatenate([g, np.tile(np.eye(4), (size - len(g), 1, 1))]) for g in groups]
        counts = [len(v) for v in vertices]
        return cls(ids, np.stack(padded).astype(np.float32), counts, np.stack(filled).astype(np.float32))

    def fixed_points(self, count: int) -> Array:
        """The same `count` vertices of each object at every call (O, count, 3) mm; some twice if it has fewer."""
        size = self.points.shape[1]
        chosen = np.random.RandomState(0).choice(size, count, replace=count > size)
        return self.points[:, chosen]

    def random_points(self, index: int, count: int, rng: np.random.Generator) -> Array:
        """Other `count` vertices (count, 3) mm of the object at an index, none twice if it has as many."""
        size = self.point_counts[index]
        chosen: Array = self.points[index][rng.choice(size, count, replace=count > size)]
        return chosen
