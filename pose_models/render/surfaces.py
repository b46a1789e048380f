"""Interpolation on what pixels see: coordinates, vertex values, colours, textures, normals, in differentiable torch.

All meshes of a renderer lie in shared tables, so a batch needs no loop over objects. Gradients flow to the values
that are interpolated, to poses where they are used, and not to barycentric weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pose_models.meshes.mesh import Mesh
from pose_models.meshes.normals import corner_normals
from pose_models.render.fragments import Fragments

GREY = 0.6  # of meshes without colours


class Surfaces:
    """The meshes of a renderer as tables on its device.

    vertices: (V, 3) float32 mm, of all meshes one after the other; first_vertex (M,) says where each begins.
    faces: (F, 3) int64, indices into these vertices; first_face: (M,).
    """

    def __init__(self, meshes: Sequence[Mesh], device: torch.device) -> None:
        self._meshes, self._device = list(meshes), device
        first_vertex = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])[:-1]
        first_face = np.cumsum([0, *(len(mesh.faces) for mesh in meshes)])[:-1]
        faces = [mesh.faces + first for mesh, first in zip(meshes, first_vertex, strict=True)]
        self.first_vertex, self.first_face = torch.tensor(first_vertex).to(device), torch.tensor(first_face).to(device)
        self.vertices = self._table([mesh.vertices for mesh in meshes])
        self.faces = torch.from_numpy(np.concatenate(faces)).to(device)

    def _table(self, arrays: Sequence[NDArray[Any]]) -> Tensor:
        return torch.from_numpy(np.concatenate(arrays).astype(np.float32)).to(self._device)

    @cached_property
    def face_normals(self) -> Tensor:
        """(F, 3) unit normals, object frame."""
        return self._table([mesh.face_normals() for mesh in self._meshes])

    @cached_property
    def corner_normals(self) -> Tensor:
        """(F, 3, 3) unit normals of the corners, smooth across flat angles, object frame."""
        return self._table([corner_normals(mesh) for mesh in self._meshes])

    @cached_property
    def vertex_colors(self) -> Tensor:
        """(V, 3) RGB in 0..1; grey for meshes without."""
        grey = [np.full((len(mesh.vertices), 3), 255 * GREY) for mesh in self._meshes]
        return self._table([g if m.colors is None else m.colors for m, g in zip(self._meshes, grey, strict=True)]) / 255

    @cached_property
    def _textures(self) -> tuple[Tensor, Tensor, Tensor]:
        """Texels (T, 3) of all meshes in a row; (M, 3): first texel, height, width, 0 without; corner uv (F, 3, 2)."""
        texels: list[NDArray[Any]] = [np.zeros((1, 3))]
        places, uv = [], []
        for mesh in self._meshes:
            h, w = (0, 0) if mesh.texture is None else mesh.texture.shape[:2]
            places.append([sum(len(t) for t in texels), h, w])
            if mesh.texture is not None:
                texels.append(mesh.texture.reshape(-1, 3))
            uv.append(np.zeros((len(mesh.faces), 3, 2)) if mesh.uv is None else mesh.uv)
        return self._table(texels) / 255, torch.tensor(places).to(self._device), self._table(uv)

    def packed_faces(self, fragments: Fragments) -> Tensor:
        """(B, H, W) int64 index into `faces`; of the background, some face."""
        if not len(fragments.mesh):
            return torch.zeros_like(fragments.face, dtype=torch.int64)
        return fragments.per_pixel(self.first_face[fragments.mesh]) + fragments.face.clamp(min=0)

    def corner_values(self, fragments: Fragments, values: Tensor, barycentric: Tensor | None = None) -> Tensor:
        """Values (F, 3, C) of the corners of all faces, interpolated: (B, H, W, C), 0 in the background.

        Args:
            barycentric: (B, H, W, 3) weights in place of those of the fragments, see `screen_barycentric`.
        """
        weights = fragments.barycentric if barycentric is None else barycentric
        return (weights[..., None, :] @ values[self.packed_faces(fragments)])[..., 0, :]

    def vertex_values(self, fragments: Fragments, values: Tensor, barycentric: Tensor | None = None) -> Tensor:
        """Values (V, C) of all vertices, such as learnt features, interpolated: (B, H, W, C), 0 in the background."""
        weights = fragments.barycentric if barycentric is None else barycentric
        return (weights[..., None, :] @ values[self.faces[self.packed_faces(fragments)]])[..., 0, :]

    def coordinates(self, fragments: Fragments) -> Tensor:
        """Object coordinates (B, H, W, 3) mm of what pixels see; 0 in the background."""
        return self.vertex_values(fragments, self.vertices)

    def positions(self, fragments: Fragments, T_cam_obj: Tensor) -> Tensor:
        """Camera coordinates (B, H, W, 3) mm of the seen points of the objects at T_cam_obj (N, 4, 4); 0 outside.

        Differentiable by the poses; the points stay fixed to the objects.
        """
        return _moved(fragments, T_cam_obj, self.coordinates(fragments), 1.0)

    def screen_barycentric(self, fragments: Fragments, T_cam_obj: Tensor) -> Tensor:
        """Weights (B, H, W, 3) in the image plane, as of rasterisers without perspective correction (repose.md 6)."""
        corners = self.vertices[self.faces[self.packed_faces(fragments)]]
        poses = T_cam_obj.to(corners.dtype)
        if not len(poses):
            return fragments.barycentric
        row, shift = fragments.per_pixel(poses[:, 2, :3]), fragments.per_pixel(poses[:, 2, 3])
        depths = (corners @ row[..., None])[..., 0] + shift[..., None]
        weighted = fragments.barycentric * depths
        return weighted / weighted.sum(dim=-1, keepdim=True).where(fragments.mask[..., None], 1.0)

    def colors(self, fragments: Fragments) -> Tensor:
        """Colour (B, H, W, 3) in 0..1: of the texture where a mesh has one, else of its vertices; 0 outside."""
        colors = self.vertex_values(fragments, self.vertex_colors)
        if all(mesh.texture is None for mesh in self._meshes) or not len(fragments.mesh):
            return colors
        texels, places, uv = self._textures
        place = fragments.per_pixel(places[fragments.mesh])
        textured = (place[..., 1] > 0) & fragments.mask
        return torch.where(
            textured[..., None], sample_texture(texels, place, self.corner_values(fragments, uv)), colors
        )

    def normals(self, fragments: Fragments, T_cam_obj: Tensor, smooth: bool = True) -> Tensor:
        """Unit normals (B, H, W, 3) in the camera frame, turned to the camera; 0 in the background.

        Args:
            T_cam_obj: (N, 4, 4) mm, rigid or with one scale.
            smooth: interpolate across flat angles; False: the normals of the faces.
        """
        face_normals = self.face_normals[self.packed_faces(fragments)] * fragments.mask[..., None]
        flat = _moved(fragments, T_cam_obj, face_normals, 0.0)
        # A smooth normal may lean over at the silhouette: what counts for front and back is the face itself.
        behind = (flat * self.positions(fragments, T_cam_obj)).sum(dim=-1, keepdim=True) > 0
        normals = flat
        if smooth:
            normals = _moved(fragments, T_cam_obj, self.corner_values(fragments, self.corner_normals), 0.0)
        normals = torch.nn.functional.normalize(normals, dim=-1)
        return torch.where(behind, -normals, normals)


def sample_texture(texels: Tensor, place: Tensor, uv: Tensor) -> Tensor:
    """Bilinear colours (..., C) at texture coordinates uv (..., 2): u right, v up from the lower edge, repeating.

    Args:
        texels: (T, C) of all images in a row, top row first. place: (..., 3) int64, first texel, height, width.
    """
    first, height, width = place.unbind(dim=-1)
    height, width = height.clamp(min=1), width.clamp(min=1)
    x, y = uv[..., 0] * width - 0.5, (1 - uv[..., 1]) * height - 0.5
    column, row = x.floor(), y.floor()
    right, down = (x - column)[..., None], (y - row)[..., None]

    def at(step_x: int, step_y: int) -> Tensor:
        i, j = (column.long() + step_x).remainder(width), (row.long() + step_y).remainder(height)
        return texels[(first + j * width + i).clamp(max=len(texels) - 1)]

    upper = at(0, 0) * (1 - right) + at(1, 0) * right
    lower = at(0, 1) * (1 - right) + at(1, 1) * right
    return upper * (1 - down) + lower * down


def _moved(fragments: Fragments, T: Tensor, vectors: Tensor, w: float) -> Tensor:
    """Vectors (B, H, W, 3) of the object frames in the camera frame; w = 1 for points, 0 for directions; 0 outside."""
    if not len(T):
        return vectors
    poses = fragments.per_pixel(T[:, :3].to(vectors.dtype))
    moved = (poses[..., :3] @ vectors[..., None])[..., 0] + w * poses[..., 3]
    return moved.where(fragments.mask[..., None], 0.0)
