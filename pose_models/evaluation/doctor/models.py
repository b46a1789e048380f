"""Checks of a folder of models: meshes, their entries in models_info.json, units, symmetries."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np

from pose_models.datasets.estimates import rotation_error
from pose_models.evaluation.doctor.findings import Findings
from pose_models.files import InputError, read_json
from pose_models.geometry.symmetries import symmetry_transforms
from pose_models.meshes.bounds import model_info
from pose_models.meshes.checks import check_mesh
from pose_models.meshes.mesh import Mesh, read_mesh
from pose_models.synthesis.photos import symmetry_error

MIN_DIAMETER_MM = 2.0  # smaller "objects" are objects in metres
TOLERANCE = 0.02  # of the diameter, for diameter and box
UNITS = {1000.0: "metres", 100.0: "decimetres", 10.0: "centimetres", 1e-3: "micrometres"}
LOOSE_SYMMETRY = 0.05  # of the diameter, by which a vertex may leave the surface
WRONG_SYMMETRY, WRONG_SYMMETRY_MM = 0.1, 15.0  # BOP accepted symmetries within max(15 mm, 10 % of the diameter)
EXTENTS = tuple(f"{what}_{axis}" for what in ("min", "size") for axis in "xyz")


@dataclasses.dataclass(frozen=True)
class CheckedModel:
    """A model as it was found: diameter of models_info.json and extents of the mesh in mm, whether it can be used."""

    obj_id: int
    diameter: float
    size: tuple[float, float, float]
    faces: int
    symmetries: str
    is_good: bool


def model_folders(root: Path) -> list[Path]:
    """The folders of models of a dataset (`models`, `models_eval`, `models_cad`, ...), those for physics left out."""
    found = (path for path in sorted(root.glob("models*")) if path.is_dir() and path.name != "models_collision")
    return [path for path in found if (path / "models_info.json").exists() or any(path.glob("obj_*.*"))]


def check_folder(folder: Path, findings: Findings) -> dict[int, Any]:
    """Entries of models_info.json by object id, {} if unreadable; says which objects lack a mesh or an entry."""
    file = folder / "models_info.json"
    try:
        content = read_json(file)
        infos = {int(key): value for key, value in content.items()}
    except (InputError, ValueError, AttributeError) as error:
        findings.add("model-info", folder.name, file, detail=_reason(file, error))
        return {}
    meshes = {int(path.stem[4:]) for path in folder.glob("obj_*.*") if path.stem[4:].isdigit()}
    for obj_id in sorted(set(infos) - meshes):
        findings.add("model-missing", folder.name, folder / f"obj_{obj_id:06d}.ply", f"object {obj_id}")
    for obj_id in sorted(meshes - set(infos)):
        findings.add("model-info", folder.name, file, f"object {obj_id}", "no entry")
    return {obj_id: infos[obj_id] for obj_id in sorted(meshes & set(infos))}


def check_model(folder: Path, obj_id: int, info: Any) -> tuple[CheckedModel, Findings]:
    """Check one model against its entry of models_info.json; `is_good`: the mesh can be posed and rendered."""
    findings = Findings()
    where = (folder.name, folder / "models_info.json", f"object {obj_id}")
    path = next(iter(sorted(folder.glob(f"obj_{obj_id:06d}.[pog][lb][yjb]"))), folder / f"obj_{obj_id:06d}.ply")
    bad = CheckedModel(obj_id, math.nan, (math.nan,) * 3, 0, "", False)
    if not isinstance(info, dict) or not all(_is_positive(info.get(key)) for key in ("diameter", *EXTENTS[3:])):
        findings.add("model-info", *where, "diameter, size_x, size_y, size_z must be positive numbers")
        return bad, findings
    try:
        mesh = read_mesh(path)
        if not len(mesh.faces) or not np.isfinite(mesh.vertices).all():
            check_mesh(path, mesh.vertices, mesh.faces)
    except (InputError, FileNotFoundError) as error:
        findings.add("model-unreadable", folder.name, path, f"object {obj_id}", _reason(path, error))
        return bad, findings
    actual = model_info(mesh.vertices)
    is_good = _check_size(info, actual, where, path, findings)
    if is_good:
        try:
            check_mesh(path, mesh.vertices, mesh.faces)  # what every program that needs the mesh will ask
        except InputError as error:
            is_good = False
            if not findings.counts()["error"]:
                findings.add("model-unreadable", folder.name, path, f"object {obj_id}", _reason(path, error))
    kind = _check_symmetries(mesh, info, where, findings) if is_good else ""
    size = (actual["size_x"], actual["size_y"], actual["size_z"])
    return CheckedModel(obj_id, float(info["diameter"]), size, len(mesh.faces), kind, is_good), findings


def _check_size(
    info: dict[str, Any], actual: dict[str, Any], where: tuple[str, Path, str], path: Path, findings: Findings
) -> bool:
    diameter, real = float(info["diameter"]), actual["diameter"]
    for factor, unit in UNITS.items():
        if abs(diameter / real / factor - 1) < 0.2:
            findings.add("model-unit", where[0], path, where[2], f"diameter {real:.4g}, models_info.json says "
                         f"{diameter:.4g} mm: the mesh is in {unit}, factor {factor:g}")  # fmt: skip
            return False
    if max(diameter, real) < MIN_DIAMETER_MM:
        findings.add("model-unit", where[0], path, where[2], f"diameter {real:.4g}: metres? then the factor is 1000")
        return False
    if abs(diameter - real) > TOLERANCE * real:
        findings.add(
            "model-diameter", *where, f"{diameter:.2f} mm, the mesh has {real:.2f} mm", abs(diameter / real - 1)
        )
        return True
    off = {key: abs(_number(info.get(key)) - actual[key]) for key in EXTENTS}
    worst = max(EXTENTS, key=lambda key: math.inf if math.isnan(off[key]) else off[key])
    if not off[worst] <= TOLERANCE * real:
        said = info.get(worst, "missing")
        findings.add("model-extents", *where, f"{worst} is {said}, the mesh has {actual[worst]:.2f} mm", off[worst])
    return True


def _check_symmetries(mesh: Mesh, info: dict[str, Any], where: tuple[str, Path, str], findings: Findings) -> str:
    """Say what is wrong with the declared symmetries; returns them in words."""
    discrete, continuous = info.get("symmetries_discrete") or [], info.get("symmetries_continuous") or []
    is_rigid = False
    with contextlib.suppress(ValueError, TypeError, KeyError, ZeroDivisionError):
        axes = np.array([entry["axis"] for entry in continuous], dtype=np.float64).reshape(-1, 3)
        transforms = symmetry_transforms(info, max_step=0.5) if np.abs(axes).sum(axis=1).all() else np.zeros((1, 4, 4))
        is_rigid = bool(np.isfinite(transforms).all() and np.allclose(transforms[:, 3], [0, 0, 0, 1])
                        and (rotation_error(transforms[:, :3, :3]) < 1e-3).all()
                        and (np.linalg.det(transforms[:, :3, :3]) > 0).all())  # fmt: skip
    if not is_rigid:
        findings.add("symmetry-record", *where)
        return ""
    words = [f"{len(discrete)} discrete"] * bool(discrete) + [f"{len(continuous)} continuous"] * bool(continuous)
    if words:
        moved, diameter = symmetry_error(mesh, info, samples=20_000), float(info["diameter"])
        detail = f"moves the surface by up to {moved:.1f} mm, {100 * moved / diameter:.0f} % of the diameter"
        if moved > max(WRONG_SYMMETRY * diameter, WRONG_SYMMETRY_MM):
            findings.add("symmetry-wrong", *where, detail, moved / diameter)
        elif moved > LOOSE_SYMMETRY * diameter:
            findings.add("symmetry-loose", *where, detail, moved / diameter)
    return ", ".join(words)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _is_positive(value: Any) -> bool:
    return math.isfinite(_number(value)) and _number(value) > 0


def _reason(path: Path, error: Exception) -> str:
    """An error's text without the file's name, which stands before it already."""
    return str(error).removeprefix(f"{path}: ")
