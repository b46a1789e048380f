"""Ray casting on the CPU: one Embree structure per mesh, built once; poses and intrinsics come with each call.

Rays are made in the frame of each instance, only for the pixels of its box, and the nearest hit of all instances stays.
That takes the place of instancing inside Embree, which its wheel does not offer: nothing is built per image. Embree
works in float32 on a mesh scaled to the unit ball, from a start just outside of it; barycentrics and depth are then
computed in float64 from the triangle that was found. Queries and kernels release the GIL, so threads share the images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models.compiled import carray, kernel
from pose_models.meshes.mesh import Mesh
from pose_models.render.windows import bounding_corners

RAYS_AT_ONCE = 16384  # their arrays stay in the processor's cache

Array = NDArray[np.float64]


class EmbreeMesh:
    """A mesh and its acceleration structure; building takes about half a microsecond per triangle."""

    def __init__(self, mesh: Mesh) -> None:
        from embreex import rtcore_scene
        from embreex.mesh_construction import TriangleMesh

        self.vertices = np.ascontiguousarray(mesh.vertices, dtype=np.float64)
        self.faces = np.ascontiguousarray(mesh.faces, dtype=np.int32)
        self.corners = bounding_corners(self.vertices)
        low, high = self.vertices.min(axis=0), self.vertices.max(axis=0)
        self.center = (low + high) / 2
        self.scale = 1.0 / max(float(np.linalg.norm(high - low)) / 2, 1e-12)
        self._scene = rtcore_scene.EmbreeScene(robust=True)  # no rays lost between neighbouring triangles
        unit = ((self.vertices - self.center) * self.scale).astype(np.float32)
        self._buffer = TriangleMesh(self._scene, unit, self.faces)
        # The first query builds the structure, which two threads must not do at once.
        self.run(np.zeros((1, 3), dtype=np.float32), np.ones((1, 3), dtype=np.float32))

    def run(self, origins: NDArray[np.float32], directions: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """Embree's answer, by name (`primID` is -1 for a miss), to rays (N, 3) in the frame of the unit ball."""
        answer: dict[str, NDArray[Any]] = self._scene.run(origins, directions, output=1)
        return answer


@dataclasses.dataclass(frozen=True)
class Instance:
    """A mesh placed in an image: T_cam_obj (4, 4) mm, and the box (left, top, right, bottom) of pixels that may see it.

    number: what the image's `instance` says where this one is seen.
    """

    number: int
    mesh: EmbreeMesh
    T_cam_obj: Array
    box: tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True)
class Canvas:
    """Arrays of one image that casting fills; they hold the background before.

    depth: (H, W) float32 mm. instance, face: (H, W) int32. barycentric: (H, W, 3) float32. All C-contiguous.
    """

    depth: NDArray[np.float32]
    instance: NDArray[np.int32]
    face: NDArray[np.int32]
    barycentric: NDArray[np.float32]

    @classmethod
    def empty(cls, width: int, height: int) -> Canvas:
        """Background only: depth and weights 0, indices -1."""
        return cls(
            np.zeros((height, width), dtype=np.float32),
            np.full((height, width), -1, dtype=np.int32),
            np.full((height, width), -1, dtype=np.int32),
            np.zeros((height, width, 3), dtype=np.float32),
        )


@dataclasses.dataclass(frozen=True)
class View:
    """An image to cast: its intrinsics K (3, 3), general, its instances, and the canvas that takes the result."""

    K: Array
    instances: Sequence[Instance]
    canvas: Canvas


def cast_views(views: Sequence[View], pixel_center: float, threads: int = 1) -> None:
    """Fill the canvases of views; the number of threads changes nothing in them."""
    tasks = [(view, rows) for view in views for rows in _bands(view)]
    if threads <= 1 or len(tasks) <= 1:
        for view, rows in tasks:
            _cast_rows(view, rows, pixel_center)
        return
    with ThreadPoolExecutor(min(threads, len(tasks))) as pool:
        for done in [pool.submit(_cast_rows, view, rows, pixel_center) for view, rows in tasks]:
            done.result()


def _bands(view: View) -> list[tuple[int, int]]:
    """Rows (first, end) that see something, in pieces of some thousand pixels."""
    boxes = [instance.box for instance in view.instances if instance.box[2] > instance.box[0]]
    if not boxes:
        return []
    first, last = min(box[1] for box in boxes), max(box[3] for box in boxes)
    step = max(RAYS_AT_ONCE // max(max(box[2] for box in boxes) - min(box[0] for box in boxes), 1), 1)
    return [(row, min(row + step, last)) for row in range(first, last, step)]


def _cast_rows(view: View, rows: tuple[int, int], pixel_center: float) -> None:
    canvas = view.canvas
    width = canvas.depth.shape[1]
    K_inverse = np.linalg.inv(view.K)
    nearest = np.full((rows[1] - rows[0], width), np.inf)
    for instance in view.instances:
        left, top, right, bottom = instance.box
        top, bottom = max(top, rows[0]), min(bottom, rows[1])
        if left >= right or top >= bottom:
            continue
        mesh, T = instance.mesh, instance.T_cam_obj
        to_object = np.linalg.inv(T[:3, :3])
        camera = np.concatenate([(to_object @ K_inverse).ravel(), -to_object @ T[:3, 3], T[2], mesh.center])
        first, count = np.array([left, top]) + pixel_center, (right - left) * (bottom - top)
        origins, directions = np.empty((2, count, 3), dtype=np.float32)
        _make_rays(camera, mesh.scale, *first, right - left, bottom - top, origins, directions)
        hit = mesh.run(origins, directions)
        _keep_nearest(
            camera, *first, left, top - rows[0], right - left, bottom - top, hit["primID"], hit["u"], hit["v"],
            mesh.vertices, len(mesh.vertices), mesh.faces, len(mesh.faces), instance.number, width, len(nearest),
            nearest, canvas.depth[rows[0] :], canvas.instance[rows[0] :], canvas.face[rows[0] :],
            canvas.barycentric[rows[0] :],
        )  # fmt: skip


@kernel("void", "f8*", "f8", "f8", "f8", "i8", "i8", "f4*", "f4*")
def _make_rays(
    camera_: Any, scale: float, u0: float, v0: float, width: int, height: int, origins_: Any, directions_: Any
) -> None:  # pragma: no cover - compiled
    """Rays in the frame of the unit ball; camera holds R^-1 K^-1, the camera's place, T_cam_obj[2], the centre."""
    camera = carray(camera_, (19,))
    origins, directions = carray(origins_, (height * width, 3)), carray(directions_, (height * width, 3))
    ox, oy, oz = (
        (camera[9] - camera[16]) * scale,
        (camera[10] - camera[17]) * scale,
        (camera[11] - camera[18]) * scale,
    )
    for j in range(height):
        v = v0 + j
        for i in range(width):
            u = u0 + i
            dx = camera[0] * u + camera[1] * v + camera[2]
            dy = camera[3] * u + camera[4] * v + camera[5]
            dz = camera[6] * u + camera[7] * v + camera[8]
            length = 1.0 / np.sqrt(dx * dx + dy * dy + dz * dz)
            dx, dy, dz = dx * length, dy * length, dz * length
            # From the camera, or from where the ray comes near the ball: float32 is fine there and coarse far away.
            start = max(-(ox * dx + oy * dy + oz * dz) - 1.01, 0.0)
            k = j * width + i
            origins[k, 0], origins[k, 1], origins[k, 2] = ox + start * dx, oy + start * dy, oz + start * dz
            directions[k, 0], directions[k, 1], directions[k, 2] = dx, dy, dz


@kernel(
    "void", "f8*", "f8", "f8", "i8", "i8", "i8", "i8", "i4*", "f4*", "f4*", "f8*", "i8", "i4*", "i8", "i8", "i8", "i8",
    "f8*", "f4*", "i4*", "i4*", "f4*",
)  # fmt: skip
def _keep_nearest(
    camera_: Any, u0: float, v0: float, left: int, top: int, width: int, height: int,
    prim_: Any, hit_u_: Any, hit_v_: Any, vertices_: Any, vertex_count: int, faces_: Any, face_count: int,
    number: int, image_width: int, image_height: int,
    nearest_: Any, depth_: Any, instance_: Any, face_: Any, barycentric_: Any,
) -> None:  # fmt: skip # pragma: no cover - compiled
    """Write the hits of one instance where they are nearer than what the image holds."""
    camera = carray(camera_, (19,))
    prim, hit_u, hit_v = (
        carray(prim_, (height, width)),
        carray(hit_u_, (height, width)),
        carray(hit_v_, (height, width)),
    )
    vertices, faces = carray(vertices_, (vertex_count, 3)), carray(faces_, (face_count, 3))
    shape = (image_height, image_width)
    nearest, depth, instance = carray(nearest_, shape), carray(depth_, shape), carray(instance_, shape)
    face, barycentric = carray(face_, shape), carray(barycentric_, (image_height, image_width, 3))
    for j in range(height):
        v = v0 + j
        for i in range(width):
            f = prim[j, i]
            if f < 0:
                continue
            u = u0 + i
            dx = camera[0] * u + camera[1] * v + camera[2]
            dy = camera[3] * u + camera[4] * v + camera[5]
            dz = camera[6] * u + camera[7] * v + camera[8]
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            ax, ay, az = vertices[a, 0], vertices[a, 1], vertices[a, 2]
            bx, by, bz = vertices[b, 0] - ax, vertices[b, 1] - ay, vertices[b, 2] - az
            cx, cy, cz = vertices[c, 0] - ax, vertices[c, 1] - ay, vertices[c, 2] - az
            nx, ny, nz = by * cz - bz * cy, bz * cx - bx * cz, bx * cy - by * cx
            qx, qy, qz = camera[9] - ax, camera[10] - ay, camera[11] - az
            slope, square = nx * dx + ny * dy + nz * dz, nx * nx + ny * ny + nz * nz
            wb, wc = float(hit_u[j, i]), float(hit_v[j, i])
            if slope * slope > 1e-16 * square * (dx * dx + dy * dy + dz * dz):
                # Where the ray meets the triangle's plane; edge-on triangles keep Embree's own weights.
                t = -(nx * qx + ny * qy + nz * qz) / slope
                qx, qy, qz = qx + t * dx, qy + t * dy, qz + t * dz
                wb = ((qy * cz - qz * cy) * nx + (qz * cx - qx * cz) * ny + (qx * cy - qy * cx) * nz) / square
                wc = ((by * qz - bz * qy) * nx + (bz * qx - bx * qz) * ny + (bx * qy - by * qx) * nz) / square
            wb, wc = max(wb, 0.0), max(wc, 0.0)
            wa = max(1.0 - wb - wc, 0.0)
            total = 1.0 / (wa + wb + wc)
            wa, wb, wc = wa * total, wb * total, wc * total
            px, py, pz = ax + wb * bx + wc * cx, ay + wb * by + wc * cy, az + wb * bz + wc * cz
            # Rays of all instances have the same parameter: distances along them compare.
            rx, ry, rz = px - camera[9], py - camera[10], pz - camera[11]
            along = (rx * dx + ry * dy + rz * dz) / (dx * dx + dy * dy + dz * dz)
            if along < nearest[top + j, left + i]:
                nearest[top + j, left + i] = along
                depth[top + j, left + i] = camera[12] * px + camera[13] * py + camera[14] * pz + camera[15]
                instance[top + j, left + i] = number
                face[top + j, left + i] = f
                barycentric[top + j, left + i, 0] = wa
                barycentric[top + j, left + i, 1] = wb
                barycentric[top + j, left + i, 2] = wc
