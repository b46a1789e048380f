"""A reader of PLY triangle meshes that costs nothing to import and keeps the full precision of ascii files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pose_models.files import InputError

_KINDS = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip

Element = tuple[str, int, list[tuple[str, ...]]]  # name, count, properties: (name, kind) or (name, count kind, kind)
Columns = dict[str, NDArray[Any]]


class Ply(NamedTuple):
    """Content of a PLY mesh.

    vertices: (V, 3). faces: (F, 3). colors: (V, 3) RGB or None. uv: (F, 3, 2) texture coordinates of corners or None.
    texture: file name of the texture, from the comment `TextureFile`, or None.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    colors: NDArray[np.uint8] | None
    uv: NDArray[np.float64] | None
    texture: str | None


def read_ply(path: Path) -> Ply:
    """Read an ascii or binary PLY file of triangles; texture coordinates belong to vertices or to faces.

    Raises:
        InputError: no PLY, a truncated file, or faces that are no triangles.
    """
    content = path.read_bytes()
    start = content.find(b"end_header")
    end = content.find(b"\n", start) + 1
    if not content.startswith(b"ply") or start < 0 or end == 0:
        raise InputError(f"{path}: unreadable mesh (no PLY header); export it again")
    try:
        header = content[:start].decode("utf-8", "replace")
        encoding, elements = _header(header)
        columns = _ascii(content[end:], elements) if encoding == "ascii" else _binary(content[end:], encoding, elements)
        vertex = columns["vertex"]
        vertices = np.stack([vertex[axis] for axis in "xyz"], axis=1).astype(np.float64)
        faces = _triangles(columns.get("face", {}))
        colors = None
        if all(name in vertex for name in ("red", "green", "blue")):
            colors = np.stack([vertex[name] for name in ("red", "green", "blue")], axis=1).astype(np.uint8)
        uv = _texture_coordinates(vertex, columns.get("face", {}), faces)
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(f"{path}: unreadable mesh ({error}); export it again with triangles") from None
    marker = "comment TextureFile "
    named = [line.removeprefix(marker).strip() for line in header.splitlines() if line.startswith(marker)]
    return Ply(vertices, faces, colors, uv, named[0] if named else None)


def _texture_coordinates(vertex: Columns, face: Columns, faces: NDArray[np.int64]) -> NDArray[np.float64] | None:
    if "texcoord" in face and face["texcoord"].ndim == 2 and face["texcoord"].shape[1] == 6:
        return face["texcoord"].astype(np.float64).reshape(-1, 3, 2)
    for u, v in (("texture_u", "texture_v"), ("s", "t"), ("u", "v")):
        if u in vertex and v in vertex:
            uv = np.stack([vertex[u], vertex[v]], axis=1).astype(np.float64)
            return np.asarray(uv.take(faces, axis=0, mode="clip"))  # wrong faces are reported by `checks`
    return None


def _triangles(face: Columns) -> NDArray[np.int64]:
    for name in ("vertex_indices", "vertex_index"):
        if name in face and len(face[name]):
            return face[name].astype(np.int64).reshape(len(face[name]), -1)
    return np.zeros((0, 3), dtype=np.int64)


def _header(text: str) -> tuple[str, list[Element]]:
    encoding = ""
    elements: list[Element] = []
    for words in (line.split() for line in text.splitlines()):
        if words[:1] == ["format"]:
            encoding = words[1]
        elif words[:1] == ["element"]:
            elements.append((words[1], int(words[2]), []))
        elif words[:1] == ["property"]:
            kinds = tuple(_KINDS[kind] for kind in (words[2:4] if words[1] == "list" else words[1:2]))
            elements[-1][2].append((words[-1], *kinds))
    if encoding not in ("ascii", "binary_little_endian", "binary_big_endian"):
        raise ValueError(f"format '{encoding}' is unknown")
    return encoding, elements


def _ascii(body: bytes, elements: list[Element]) -> dict[str, Columns]:
    """Columns by element; ascii numbers are read as float64. Lists must be equally long in all rows."""
    numbers = np.array(body.split(), dtype=np.float64)
    columns: dict[str, Columns] = {}
    offset = 0
    for name, count, properties in elements:
        lengths, position = [], offset
        for prop in properties:
            lengths.append(1 if len(prop) == 2 else 1 + int(numbers[position])) if count else lengths.append(1)
            position += lengths[-1]
        rows = numbers[offset : offset + count * sum(lengths)].reshape(count, sum(lengths))
        columns[name], at = {}, 0
        for prop, length in zip(properties, lengths, strict=True):
            is_list = len(prop) == 3
            if is_list and (rows[:, at] != length - 1).any():
                raise ValueError(f"{name} lists of different lengths; it must be made of triangles")
            columns[name][prop[0]] = rows[:, at + 1 : at + length] if is_list else rows[:, at]
            at += length
        offset += rows.size
    return columns


def _binary(body: bytes, encoding: str, elements: list[Element]) -> dict[str, Columns]:
    order = "<" if encoding == "binary_little_endian" else ">"
    columns: dict[str, Columns] = {}
    offset = 0
    for name, count, properties in elements:
        fields: list[tuple[Any, ...]] = []
        for prop in properties:
            if len(prop) == 2:
                fields.append((prop[0], order + prop[1]))
                continue
            so_far = np.dtype([*fields, (f"{prop[0]} count", order + prop[1])])
            length = 0
            if count:
                first = np.frombuffer(body, so_far, count=1, offset=offset)
                length = int(first[f"{prop[0]} count"][0])
            fields += [(f"{prop[0]} count", order + prop[1]), (prop[0], order + prop[2], (length,))]
        rows = np.frombuffer(body, np.dtype(fields), count=count, offset=offset)
        for prop in properties:
            if len(prop) == 3 and count and (rows[f"{prop[0]} count"] != rows[prop[0]].shape[1]).any():
                raise ValueError(f"{name} lists of different lengths; it must be made of triangles")
        columns[name] = {prop[0]: rows[prop[0]] for prop in properties}
        offset += rows.nbytes
    return columns
