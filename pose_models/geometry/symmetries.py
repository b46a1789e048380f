"""Symmetry transforms of objects from the entries of a BOP `models_info.json` (bop.md section 4).

Symmetries act in the object frame, so they are applied on the right of a pose: `T_cam_obj @ S`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models.geometry.transforms import from_rotation_translation

Array = NDArray[np.float64]


def rotation_about_axis(axis: Array, angles: Array) -> Array:
    """Rotations (N, 3, 3) by `angles` (N,) rad about one axis (3,), which need not have unit length (Rodrigues)."""
    x, y, z = np.asarray(axis, dtype=np.float64) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    sin, cos = np.sin(angles)[:, None, None], np.cos(angles)[:, None, None]
    return np.asarray(np.eye(3) + sin * cross + (1 - cos) * (cross @ cross))


def symmetry_transforms(model_info: Mapping[str, Any], max_step: float = 0.01) -> Array:
    """All symmetry transforms (S, 4, 4) of an object, the identity first; translations in mm.

    Continuous symmetries are discretised into ceil(pi / max_step) rotations, where `max_step` is the largest share of
    the diameter that a vertex moves between neighbours (0.01 in BOP evaluation: 315 rotations). If there are discrete
    and continuous ones, every pair is combined, discrete first.
    """
    discrete = [np.eye(4)]
    discrete += [np.reshape(entry, (4, 4)).astype(np.float64) for entry in model_info.get("symmetries_discrete", [])]
    continuous = [_revolve(entry, max_step) for entry in model_info.get("symmetries_continuous", [])]
    if not continuous:
        return np.stack(discrete)
    turns = np.concatenate(continuous)
    return np.concatenate([turns @ flip for flip in discrete])


def _revolve(entry: Mapping[str, Any], max_step: float) -> Array:
    steps = math.ceil(math.pi / max_step)
    R = rotation_about_axis(np.array(entry["axis"], dtype=np.float64), 2 * np.pi * np.arange(steps) / steps)
    offset = np.asarray(entry["offset"], dtype=np.float64)
    return from_rotation_translation(R, offset - R @ offset)
