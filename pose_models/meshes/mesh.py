"""Triangle meshes as plain arrays, read from PLY or OBJ files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pose_models.files import InputError, atomic_path
from pose_models.meshes.checks import check_mesh
from pose_models.meshes.ply import read_ply


@dataclasses.dataclass(frozen=True)
class Mesh:
    """A triangle mesh in its object frame.

    vertices: (V, 3) float64, mm in BOP data. faces: (F, 3) int64, counter-clockwise seen from outside.
    colors: (V, 3) uint8 RGB per vertex, or None.
    texture: (H, W, 3) uint8 RGB, with uv: (F, 3, 2) coordinates of the faces' corners in it, u right, v up from its
    lower edge; or both None.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    colors: NDArray[np.uint8] | None = None
    uv: NDArray[np.float64] | None = None
    texture: NDArray[np.uint8] | None = None

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


def load_mesh(path: str | Path, scale: float = 1.0, texture: bool = False) -> Mesh:
    """Read a PLY or OBJ mesh; vertices are kept in file order and multiplied by `scale` (1000 for metres to mm).

    Args:
        texture: read the texture as well, if the mesh names one.

    Raises:
        InputError: missing or unreadable file or texture, or what `checks.check_mesh` refuses.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: mesh not found")
    mesh = read_mesh(path, texture)
    vertices = mesh.vertices * scale
    check_mesh(path, vertices, mesh.faces)
    return dataclasses.replace(mesh, vertices=vertices)


def read_mesh(path: Path, texture: bool = False) -> Mesh:
    """The mesh as it stands in the file, unchecked; PLY files of triangles need no mesh library."""
    if path.suffix.lower() == ".ply":
        try:
            ply = read_ply(path)
        except InputError:
            ply = None  # polygons of several sizes, say: the library knows more dialects
        if ply is not None and ply.faces.shape[1] == 3:
            mesh = Mesh(ply.vertices, ply.faces, ply.colors)
            if not texture or ply.texture is None:
                return mesh
            if ply.uv is None:
                raise InputError(f"{path}: names the texture {ply.texture} but has no texture coordinates")
            return dataclasses.replace(mesh, uv=ply.uv, texture=_read_texture(path, ply.texture))
    import trimesh

    try:
        loaded = trimesh.load(path, process=False, force="mesh", skip_materials=not texture)
    except Exception as error:  # trimesh raises whatever its parsers meet
        raise InputError(f"{path}: unreadable mesh ({error}); export it again") from None
    vertices = np.asarray(getattr(loaded, "vertices", np.zeros((0, 3))), dtype=np.float64)
    faces = np.asarray(getattr(loaded, "faces", np.zeros((0, 3))), dtype=np.int64).reshape(-1, 3)
    kind, visual = getattr(loaded.visual, "kind", None), loaded.visual
    if kind == "vertex":
        return Mesh(vertices, faces, np.asarray(visual.vertex_colors, dtype=np.uint8)[:, :3])
    name = _material_texture(path) if texture else None
    if name is None:
        return Mesh(vertices, faces)
    if getattr(visual, "uv", None) is None:
        raise InputError(f"{path}: names the texture {name} but has no texture coordinates")
    return Mesh(vertices, faces, uv=np.asarray(visual.uv, dtype=np.float64)[faces], texture=_read_texture(path, name))


def _material_texture(path: Path) -> str | None:
    """The texture that the material file of an OBJ names for the surface's colour."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.suffix.lower() == ".obj" else []
    for library in (line.split(maxsplit=1)[1].strip() for line in lines if line.startswith("mtllib ")):
        file = path.with_name(library)
        if not file.exists():
            raise InputError(f"{path}: its material file {library} is missing; put it beside the mesh")
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.strip().startswith("map_Kd "):
                return line.split()[-1]
    return None


def _read_texture(mesh: Path, name: str) -> NDArray[np.uint8]:
    """RGB image (H, W, 3) of a texture that lies beside the mesh."""
    import cv2

    path = mesh.with_name(name)
    if not path.exists():
        raise InputError(f"{mesh}: its texture {name} is missing; put it beside the mesh")
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise InputError(f"{path}: unreadable texture; export it again as PNG or JPEG")
    return np.asarray(np.ascontiguousarray(image[..., ::-1]), dtype=np.uint8)


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
