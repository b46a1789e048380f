"""Ray casting of whole scenes: many placed meshes in one Embree scene; what every ray meets, and shadows.

World frame in millimetres. Camera rays have z = 1 in the camera frame, so the ray parameter of a hit is its depth.
Embree computes in float32: at a metre from the origin positions are good to about 1e-4 mm.
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pose_models.geometry.transforms import apply, invert
from pose_models.meshes.mesh import Mesh
from pose_models.meshes.normals import corner_normals
from pose_models.render import scene_kernels
from pose_models.render.embree import ANY_RAYS, COHERENT_RAYS, Structure, new_packet

Float = NDArray[np.float32]
TEXTURE_LIMIT = 512  # texels a side of a model's own texture: parts take some hundred pixels of a picture
SHADOW_OFFSET_MM = 0.05  # start of shadow rays above the surface; well above float32 error, well below a visible gap


class Shape:
    """A mesh prepared for rendering, object frame.

    corners, normals: (F, 3, 3) float32, mm and smooth unit normals. side: (F,) uint8, 2 * axis + (negative) of the
    axis that the face looks along most, for box-wise texture coordinates. colors: (F, 3, 3) float32, the model's own
    colours, linear, at the corners; None where it has none. uv: (F, 3, 2) float32 coordinates of the corners in the
    model's own `texture`, u right, v up; None where it has none.
    """

    def __init__(self, mesh: Mesh, crease_rad: float = 0.6) -> None:
        self.corners: Float = mesh.vertices[mesh.faces].astype(np.float32)
        self.normals: Float = corner_normals(mesh, crease_rad)
        flat = mesh.face_normals()
        axis = np.abs(flat).argmax(axis=1)
        self.side: NDArray[np.uint8] = (2 * axis + (flat[np.arange(len(flat)), axis] < 0)).astype(np.uint8)
        self.colors: Float | None = None if mesh.colors is None else _linear(mesh.colors)[mesh.faces]
        self.uv: Float | None = None if mesh.uv is None else np.ascontiguousarray(mesh.uv, dtype=np.float32)
        self._mesh = mesh

    @functools.cached_property
    def texture(self) -> Float:
        """The model's own texture (H, W, 3), linear, of at most TEXTURE_LIMIT texels a side; only beside `uv`."""
        if self._mesh.texture is None:
            raise ValueError("a mesh without texture")
        image = _linear(self._mesh.texture)
        share = TEXTURE_LIMIT / max(image.shape[:2])
        if share < 1:  # one bilinear sample per ray then meets about every texel
            height, width = (max(round(side * share), 1) for side in image.shape[:2])
            image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), dtype=np.float32)
        return np.ascontiguousarray(image, dtype=np.float32)

    @property
    def has_colors(self) -> bool:
        """Whether the model has colours of its own, by vertex or as a texture."""
        return self.colors is not None or self.uv is not None


@dataclasses.dataclass(frozen=True)
class Body:
    """A shape placed in the world by T_world_obj (4, 4), mm."""

    shape: Shape
    T_world_obj: NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class RayAnswer:
    """What each of N rays meets first, as Embree gives it.

    body: (N,) int32 index into the scene's bodies, -1 for a miss. face: (N,) int32 index within the body.
    u, v: (N,) float32 barycentric weights of the second and third corner. depth: (N,) float32 ray parameter, mm along
    z for camera rays. Only `body` has a meaning where a ray misses.
    """

    body: NDArray[np.int32]
    face: NDArray[np.int32]
    u: Float
    v: Float
    depth: Float


@dataclasses.dataclass(frozen=True)
class SceneHits:
    """What N rays meet: arrays of the rays that hit something, `ray` (M,) int64 being their indices.

    body: (M,) int32 index into the scene's bodies. face: (M,) int64 index over the faces of all bodies.
    depth: (M,) float32 ray parameter, mm along z for camera rays. barycentric: (M, 3) float32.
    position: (M, 3) float32 mm, world. normal: (M, 3) float32, world, shading normal turned against the ray.
    """

    ray: NDArray[np.int64]
    body: NDArray[np.int32]
    face: NDArray[np.int64]
    depth: Float
    barycentric: Float
    position: Float
    normal: Float


class SceneCaster:
    """Placed bodies in one acceleration structure; building it costs about 0.1 ms per thousand triangles.

    Tables over the faces of all bodies, body by body: in the world `corners` (F, 3, 3) mm, `normals` (F, 3, 3) of the
    corners and `flat` (F, 3) of the faces (not normalised); in the object frame `local` (F, 3, 3) corners; `side` (F,),
    `colors` (F, 3, 3).
    `first_face` (B,) int64 says where each one begins, `has_colors` (B,) uint8 which have colours of their own, 2 for
    those with a texture.
    """

    def __init__(self, bodies: Sequence[Body]) -> None:
        corners = [apply(body.T_world_obj, body.shape.corners).astype(np.float32) for body in bodies]
        numbers = np.arange(3 * max(len(c) for c in corners), dtype=np.int32).reshape(-1, 3)
        # Watertight or not, nine million camera rays and a million shadow rays of bins met the same but for one.
        meshes = ((c.reshape(-1, 3), numbers[: len(c)]) for c in corners)
        self._structure = Structure(meshes, watertight=False)
        rotations = [body.T_world_obj[:3, :3].T.astype(np.float32) for body in bodies]
        self.normals = np.concatenate([b.shape.normals @ R for b, R in zip(bodies, rotations, strict=True)])
        self.local = np.concatenate([body.shape.corners for body in bodies])
        self.side = np.concatenate([body.shape.side for body in bodies])
        self.shapes = [body.shape for body in bodies]
        self.has_colors = np.array([2 if s.uv is not None else s.has_colors for s in self.shapes], dtype=np.uint8)
        white = np.ones((1, 3, 3), dtype=np.float32)
        colors = [np.broadcast_to(white, c.shape) if b.shape.colors is None else b.shape.colors
                  for b, c in zip(bodies, corners, strict=True)]  # fmt: skip
        self.colors = np.concatenate(colors)
        self.corners = np.concatenate(corners)
        self.flat = np.cross(self.corners[:, 1] - self.corners[:, 0], self.corners[:, 2] - self.corners[:, 0])
        self.first_face = np.cumsum([0, *(len(c) for c in corners[:-1])], dtype=np.int64)

    def query(self, origins: Float, directions: Float) -> RayAnswer:
        """First hits of rays (N, 3) float32 in the world; directions may have any length."""
        count, packet = len(origins), new_packet()
        body, face = np.full(count, -1, dtype=np.int32), np.zeros(count, dtype=np.int32)
        u, v, depth = np.zeros((3, count), dtype=np.float32)
        origins, directions = _rows(origins), _rows(directions)
        scene_kernels.first_hits(
            self._structure.handle, ctypes.addressof(COHERENT_RAYS), packet.ctypes.data, packet, packet, count,
            origins, directions, body, face, u, v, depth,
        )  # fmt: skip
        return RayAnswer(body, face, u, v, depth)

    def cast(self, origins: Float, directions: Float) -> SceneHits:
        """The same with positions and shading normals, for the rays that hit something."""
        answer = self.query(origins, directions)
        ray = np.flatnonzero(answer.body >= 0)
        body, u, v = answer.body[ray], answer.u[ray], answer.v[ray]
        face = self.first_face[body] + answer.face[ray]
        barycentric = np.stack([1 - u - v, u, v], axis=1)
        depth, forward = answer.depth[ray], directions[ray]
        position = origins[ray] + depth[:, None] * forward
        normal = _interpolate(self.normals, face, barycentric)
        normal /= np.maximum(lengths(normal), 1e-12)
        # A smooth normal may lean over at the silhouette: what counts for front and back is the face itself.
        behind = np.einsum("ij,ij->i", self.flat[face], forward) > 0
        normal[behind] *= -1
        return SceneHits(ray, body, face, depth, barycentric, position, normal)

    def local_positions(self, hits: SceneHits) -> Float:
        """Object coordinates (M, 3) mm of hits, in each body's own frame."""
        return _interpolate(self.local, hits.face, hits.barycentric)

    def sides(self, hits: SceneHits) -> NDArray[np.int64]:
        """Side (M,) of the body that was hit, 0..5, as in `Shape.side`."""
        return self.side[hits.face].astype(np.int64)

    def is_clear(self, starts: Float, vectors: Float) -> NDArray[np.bool_]:
        """Whether nothing stands between points (M, 3) float32 mm and the ends of vectors (M, 3) from them."""
        count, packet = len(starts), new_packet()
        clear = np.empty(count, dtype=np.bool_)
        starts, vectors = _rows(starts), _rows(vectors)
        scene_kernels.clear_ways(
            self._structure.handle, ctypes.addressof(ANY_RAYS), packet.ctypes.data, packet, packet, count,
            starts, vectors, clear,
        )  # fmt: skip
        return clear

    def is_lit(self, hits: SceneHits, to_light: Float) -> NDArray[np.bool_]:
        """Whether nothing stands between hits and lights.

        Args:
            to_light: (M, 3) float32 mm, vector from each hit to the light; what lies beyond the light casts none.
        """
        return self.is_clear(hits.position + SHADOW_OFFSET_MM * hits.normal, np.ascontiguousarray(to_light))


def camera_rays(
    K: ArrayLike, T_cam_world: ArrayLike, pixels: NDArray[np.floating] | None = None, size: tuple[int, int] = (0, 0)
) -> tuple[Float, Float]:
    """Origins (a read-only view of one) and directions (N, 3) float32 in the world of the rays through pixels.

    Args:
        K: (3, 3); pixel centres at integers.
        T_cam_world: (4, 4) mm.
        pixels: (N, 2) u, v; None for every pixel of an image of `size` (width, height), row by row.
    """
    T_world_cam = invert(T_cam_world)
    M = (T_world_cam[:3, :3] @ np.linalg.inv(np.asarray(K, dtype=np.float64))).T.astype(np.float32)
    if pixels is None:
        # Directions are linear in column and row: three sums of a row and a column.
        u, v = np.arange(size[0], dtype=np.float32), np.arange(size[1], dtype=np.float32)
        directions = np.empty((size[1], size[0], 3), dtype=np.float32)
        for axis in range(3):
            np.add((v * M[1, axis] + M[2, axis])[:, None], u * M[0, axis], out=directions[..., axis])
        rows: Float = directions.reshape(-1, 3)
    else:
        rows = np.asarray(pixels, dtype=np.float32) @ M[:2] + M[2]
    return np.broadcast_to(T_world_cam[:3, 3].astype(np.float32), rows.shape), rows


def _rows(vectors: Float) -> Float:
    return np.ascontiguousarray(vectors, dtype=np.float32)


def _linear(colors: NDArray[np.uint8]) -> Float:
    """Linear RGB in 0..1 of sRGB bytes (IEC 61966-2-1)."""
    value = colors.astype(np.float32) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


def lengths(vectors: Float) -> Float:
    """Lengths (N, 1) of vectors (N, 3)."""
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, None])


def _interpolate(values: Float, face: NDArray[np.int64], barycentric: Float) -> Float:
    return np.asarray(np.einsum("ijk,ij->ik", values[face], barycentric))
