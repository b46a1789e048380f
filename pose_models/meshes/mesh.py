"""Triangle meshes as plain arrays, read from PLY or OBJ files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pose_models.files import InputError, atomic_path
from pose_models.meshes.ply import read_ply


@dataclasses.dataclass(frozen=True)
class Mesh:
    """A triangle mesh in its object frame.

    vertices: (V, 3) float64, mm in BOP data. faces: (F, 3) int64, counter-clockwise seen from outside.
    colors: (V, 3) uint8 RGB per vertex, or None.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    colors: NDArray[np.uint8] | None = None

    def face_normals(self) -> NDArray[np.float64]:
        """Unit normals (F, 3) of the faces; zero for degenerate faces."""
        cross = self._face_cross()
        length = np.linalg.norm(cross, axis=1, keepdims=True)
        return np.asarray(np.divide(cross, length, out=np.zeros_like(cross), where=length > 0))

    def face_areas(self) -> NDArray[np.float64]:
        """Areas (F,) of the faces, in squared units of the vertices."""
        return np.asarray(0.5 * np.linalg.norm(self._face_cross(), axis=1))

    def _face_cross(self) -> NDArray[np.float64]:
        a, b, c = (self.vertices[self.faces[:, i]] for i in range(3))
        return np.cross(b - a, c - a)


def load_mesh(path: str | Path, scale: float = 1.0) -> Mesh:
    """Read a PLY or OBJ mesh; vertices are kept in file order and multiplied by `scale` (1000 for metres to mm).

    Raises:
        InputError: missing or unreadable file, no faces, faces that name missing vertices, non-finite vertices.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: mesh not found")
    vertices, faces, colors = _read(path)
    vertices = vertices * scale
    if len(faces) == 0:
        raise InputError(f"{path}: 0 faces; re-export the model with triangles")
    if not np.isfinite(vertices).all() or faces.min() < 0 or faces.max() >= len(vertices):
        raise InputError(f"{path}: non-finite vertices or faces that name missing ones; re-export the model")
    return Mesh(vertices, faces, colors)


def _read(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.uint8] | None]:
    """Vertices (V, 3), faces (F, 3), colours (V, 3) or None; PLY files of triangles need no mesh library."""
    if path.suffix.lower() == ".ply":
        try:
            vertices, faces, colors = read_ply(path)
            if faces.shape[1] == 3:
                return vertices, faces, colors
        except InputError:
            pass  # polygons of several sizes, say: the library knows more dialects
    import trimesh

    try:
        loaded = trimesh.load(path, process=False, force="mesh", skip_materials=True)
    except Exception as error:  # trimesh raises whatever its parsers meet
        raise InputError(f"{path}: unreadable mesh ({error}); export it again") from None
    vertices = np.asarray(getattr(loaded, "vertices", np.zeros((0, 3))), dtype=np.float64)
    faces = np.asarray(getattr(loaded, "faces", np.zeros((0, 3))), dtype=np.int64).reshape(-1, 3)
    colors = None
    if getattr(loaded.visual, "kind", None) == "vertex":
        colors = np.asarray(loaded.visual.vertex_colors, dtype=np.uint8)[:, :3]
    return vertices, faces, colors


def save_ply(path: str | Path, mesh: Mesh) -> None:
    """Write a binary PLY (float32 vertices, vertex colours if present), whole or not at all."""
    fields = [("x", "<f4"), ("y", "<f4"), ("z", "<f4")]
    if mesh.colors is not None:
        fields += [("red", "u1"), ("green", "u1"), ("blue", "u1")]
    rows = np.empty(len(mesh.vertices), dtype=fields)
    for axis, name in enumerate("xyz"):
        rows[name] = mesh.vertices[:, axis]
    if mesh.colors is not None:
        for channel, name in enumerate(("red", "green", "blue")):
            rows[name] = mesh.colors[:, channel]
    faces = np.empty(len(mesh.faces), dtype=[("count", "u1"), ("indices", "<i4", 3)])
    faces["count"], faces["indices"] = 3, mesh.faces
    kinds = {"<f4": "float", "u1": "uchar"}
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}"]
    header += [f"property {kinds[kind]} {name}" for name, kind in fields]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
    with atomic_path(path) as temporary:
        temporary.write_bytes("\n".join(header).encode() + b"\n" + rows.tobytes() + faces.tobytes())
