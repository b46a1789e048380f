"""Ray casting of whole scenes: many placed meshes in one Embree scene; what every ray meets, and shadows.

World frame in millimetres. Camera rays have z = 1 in the camera frame, so the ray parameter of a hit is its depth.
Embree computes in float32: at a metre from the origin positions are good to about 1e-4 mm.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pose_models.geometry.cameras import pixel_rays
from pose_models.geometry.transforms import apply, invert
from pose_models.meshes.mesh import Mesh
from pose_models.meshes.normals import corner_normals

Float = NDArray[np.float32]
SHADOW_OFFSET_MM = 0.05  # start of shadow rays above the surface; well above float32 error, well below a visible gap


class Shape:
    """A mesh prepared for rendering, object frame.

    corners, normals: (F, 3, 3) float32, mm and smooth unit normals. side: (F,) int64, 2 * axis + (negative) of the
    axis that the face looks along most, for box-wise texture coordinates.
    """

    def __init__(self, mesh: Mesh, crease_rad: float = 0.6) -> None:
        self.corners: Float = mesh.vertices[mesh.faces].astype(np.float32)
        self.normals: Float = corner_normals(mesh, crease_rad)
        flat = mesh.face_normals()
        axis = np.abs(flat).argmax(axis=1)
        self.side: NDArray[np.int64] = 2 * axis + (flat[np.arange(len(flat)), axis] < 0)


@dataclasses.dataclass(frozen=True)
class Body:
    """A shape placed in the world by T_world_obj (4, 4), mm."""

    shape: Shape
    T_world_obj: NDArray[np.float64]


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

    def select(self, chosen: NDArray[np.bool_]) -> SceneHits:
        """The hits chosen (M,)."""
        return SceneHits(*(getattr(self, field.name)[chosen] for field in dataclasses.fields(self)))


class SceneCaster:
    """An Embree scene of placed bodies; building it costs about 2 ms per thousand triangles."""

    def __init__(self, bodies: Sequence[Body]) -> None:
        from embreex import rtcore_scene
        from embreex.mesh_construction import TriangleMesh

        self._scene = rtcore_scene.EmbreeScene()
        corners = [apply(body.T_world_obj, body.shape.corners).astype(np.float32) for body in bodies]
        self._buffers = [TriangleMesh(self._scene, c) for c in corners]
        rotations = [body.T_world_obj[:3, :3].T.astype(np.float32) for body in bodies]
        self._normals = np.concatenate([b.shape.normals @ R for b, R in zip(bodies, rotations, strict=True)])
        self._local = np.concatenate([body.shape.corners for body in bodies])
        self._side = np.concatenate([body.shape.side for body in bodies])
        edges = np.concatenate(corners)
        self._flat = np.cross(edges[:, 1] - edges[:, 0], edges[:, 2] - edges[:, 0])
        self._first_face = np.cumsum([0, *(len(c) for c in corners[:-1])])

    def cast(self, origins: Float, directions: Float) -> SceneHits:
        """First hits of rays (N, 3) float32 in the world; directions may have any length."""
        hit = self._scene.run(origins, directions, output=1)
        ray = np.flatnonzero(hit["geomID"] >= 0)
        body, u, v = hit["geomID"][ray], hit["u"][ray], hit["v"][ray]
        face = self._first_face[body] + hit["primID"][ray]
        barycentric = np.stack([1 - u - v, u, v], axis=1)
        depth, forward = hit["tfar"][ray], directions[ray]
        position = origins[ray] + depth[:, None] * forward
        normal = _interpolate(self._normals, face, barycentric)
        normal /= np.maximum(lengths(normal), 1e-12)
        # A smooth normal may lean over at the silhouette: what counts for front and back is the face itself.
        behind = np.einsum("ij,ij->i", self._flat[face], forward) > 0
        normal[behind] *= -1
        return SceneHits(ray, body, face, depth, barycentric, position, normal)

    def local_positions(self, hits: SceneHits) -> Float:
        """Object coordinates (M, 3) mm of hits, in each body's own frame."""
        return _interpolate(self._local, hits.face, hits.barycentric)

    def sides(self, hits: SceneHits) -> NDArray[np.int64]:
        """Side (M,) of the body that was hit, 0..5, as in `Shape.side`."""
        return np.asarray(self._side[hits.face])

    def is_lit(self, hits: SceneHits, to_light: Float) -> NDArray[np.bool_]:
        """Whether nothing stands between hits and lights.

        Args:
            to_light: (M, 3) float32 mm, vector from each hit to the light; what lies beyond the light casts none.
        """
        start = hits.position + SHADOW_OFFSET_MM * hits.normal
        reach = np.ones(len(start), dtype=np.float32)
        answer = self._scene.run(start, np.ascontiguousarray(to_light), reach, query="OCCLUDED")
        return np.asarray(answer == -1)


def camera_rays(
    K: ArrayLike, T_cam_world: ArrayLike, pixels: NDArray[np.float64] | None = None, size: tuple[int, int] = (0, 0)
) -> tuple[Float, Float]:
    """Origins and directions (N, 3) float32 in the world of the rays through pixels.

    Args:
        K: (3, 3); pixel centres at integers.
        T_cam_world: (4, 4) mm.
        pixels: (N, 2) u, v; None for every pixel of an image of `size` (width, height), row by row.
    """
    T_world_cam = invert(T_cam_world)
    if pixels is None:
        rays = pixel_rays(K, *size).reshape(-1, 3)
    else:
        rays = np.column_stack([pixels, np.ones(len(pixels))]) @ np.linalg.inv(np.asarray(K, dtype=np.float64)).T
    directions = (rays @ T_world_cam[:3, :3].T).astype(np.float32)
    origins = np.broadcast_to(T_world_cam[:3, 3].astype(np.float32), directions.shape)
    return np.ascontiguousarray(origins), directions


def lengths(vectors: Float) -> Float:
    """Lengths (N, 1) of vectors (N, 3)."""
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, None])


def _interpolate(values: Float, face: NDArray[np.int64], barycentric: Float) -> Float:
    return np.asarray(np.einsum("ijk,ij->ik", values[face], barycentric))
