"""What a mesh must be to be of use, checked once when it is read; each fault gets one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pose_models.files import InputError

LEAST_SIZE_MM = 2.0  # an object of a metre in metres is smaller, no object of any dataset is


def check_mesh(path: Path, vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> None:
    """Refuse a mesh, vertices (V, 3) mm and faces (F, 3), that cannot be rendered or measured.

    Raises:
        InputError: no faces, a vertex that is not finite, a face that names a missing vertex, a size in other units
            than millimetres, by itself or by the `models_info.json` beside it.
    """
    if len(faces) == 0:
        raise InputError(f"{path}: 0 faces; re-export the model with triangles")
    bad = np.flatnonzero(~np.isfinite(vertices).all(axis=1))
    if len(bad):
        raise InputError(f"{path}: vertex {bad[0]} is not finite ({len(bad)} such vertices); re-export the model")
    wrong = np.flatnonzero((faces < 0).any(axis=1) | (faces >= len(vertices)).any(axis=1))
    if len(wrong):
        raise InputError(
            f"{path}: face {wrong[0]} names vertices {faces[wrong[0]].tolist()} of {len(vertices)}; re-export the model"
        )
    used = vertices[faces.reshape(-1)]
    size = float(np.linalg.norm(np.ptp(used, axis=0)))
    if size < LEAST_SIZE_MM:
        raise InputError(f"{path}: only {size:.3g} mm large, so probably in metres; scale it to millimetres (by 1000)")
    expected = _listed_diameter(path)
    # The diagonal of the box is between the diameter and 1.74 diameters.
    if expected is not None and not 0.8 * expected < size < 2.2 * expected:
        raise InputError(
            f"{path}: {size:.4g} mm large, but models_info.json says a diameter of {expected:.4g} mm; "
            "scale the mesh to millimetres, or make models_info.json anew"
        )


def _listed_diameter(path: Path) -> float | None:
    """Diameter in mm that the `models_info.json` beside `obj_000001.ply` gives for it; None if it gives none."""
    number = path.stem.removeprefix("obj_")
    file = path.parent / "models_info.json"
    if not number.isdigit() or not file.exists():
        return None
    try:
        return float(json.loads(file.read_text(encoding="utf-8"))[str(int(number))]["diameter"])
    except (ValueError, KeyError, TypeError):
        return None  # whoever needs the file reports what is wrong with it
