"""Finite symmetry groups from a few generating turns, so that people declare an axis and an angle, not matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pose_models.geometry.symmetries import rotation_about_axis
from pose_models.geometry.transforms import from_rotation_translation

Array = NDArray[np.float64]
LARGEST_GROUP = 120
"""Proper rotations of the icosahedron times two: more elements mean generators that do not close."""


def turn(axis: ArrayLike, angle_rad: float, center: ArrayLike = (0.0, 0.0, 0.0)) -> Array:
    """Transform (4, 4) that turns by `angle_rad` about an axis (3,) of any length through `center` (3,) mm."""
    R = rotation_about_axis(np.asarray(axis, dtype=np.float64), np.array([angle_rad]))[0]
    center = np.asarray(center, dtype=np.float64)
    return from_rotation_translation(R, center - R @ center)


def generated_group(generators: Sequence[ArrayLike], tolerance: float = 1e-6) -> Array:
    """All products of the generators (4, 4), the identity left out: (S, 4, 4), generators first.

    Raises:
        ValueError: the products do not close within 120 elements (an angle that does not divide a full turn, or axes
            at an angle that belongs to no finite group).
    """
    elements = [np.eye(4)]
    pending = [np.asarray(generator, dtype=np.float64) for generator in generators]
    while pending:
        candidate = pending.pop(0)
        if any(np.abs(candidate - known).max() < tolerance * (1 + np.abs(candidate).max()) for known in elements):
            continue
        elements.append(candidate)
        if len(elements) > LARGEST_GROUP:
            raise ValueError(f"the declared turns generate more than {LARGEST_GROUP} symmetries; check angles and axes")
        pending += [candidate @ np.asarray(generator) for generator in generators]
    return np.stack(elements[1:]) if len(elements) > 1 else np.zeros((0, 4, 4))
