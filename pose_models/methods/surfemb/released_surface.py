"""Surface samples of the authors' release (surfemb.md section 6)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pose_models.files import InputError
from pose_models.meshes.ply import read_ply


def read_surface_samples(points: Path, normals: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Surface samples as the release stores them: points (N, 3) mm and, as the vertices of a second PLY, their normals.

    Raises:
        InputError: a file is missing or unreadable, or the two do not belong together.
    """
    first, second = (read_ply(path).vertices for path in (points, normals))
    if len(first) != len(second) or len(first) == 0:
        raise InputError(f"{normals}: {len(second)} normals for {len(first)} points in {points}")
    low, high = (float(f(np.linalg.norm(second, axis=1))) for f in (np.min, np.max))
    if not 0.99 < low <= high < 1.01:
        raise InputError(f"{normals}: its vertices are no unit normals (lengths {low:.3g} to {high:.3g})")
    return first.astype(np.float32), second.astype(np.float32)
