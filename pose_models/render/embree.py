"""Ray casting on the CPU: one Embree structure per mesh, built once; poses and intrinsics come with each call.

Rays are made in the frame of each instance, only for the pixels of its box, and the nearest hit of all instances
stays. That takes the place of instancing inside Embree: nothing is built per image. Embree works in float32 on a mesh
scaled to the unit ball, from a start just outside of it; barycentrics and depth are then computed in float64 from the
triangle that was found. Rays go in packets of 4 x 4 pixels on a fixed grid, so a pixel's result depends on its own
image only. Kernels release the GIL, so threads share the images.
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import weakref
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models.compiled import Foreign, carray, kernel
from pose_models.meshes.mesh import Mesh
from pose_models.render.windows import bounding_corners

TILE = 4  # pixels per side of a packet of 16 rays
PIXELS_AT_ONCE = 16384  # of one piece of work

Array = NDArray[np.float64]

# From Embree 4's rtcore.h.
_TRIANGLES, _INDEX, _VERTEX, _UINT3, _FLOAT3, _ROBUST, _COHERENT = 0, 0, 1, 0x5003, 0x9003, 4, 1 << 16


class _Arguments(ctypes.Structure):
    """RTCIntersectArguments, and RTCOccludedArguments."""

    _fields_ = [
        ("flags", ctypes.c_uint),
        ("features", ctypes.c_uint),
        ("context", ctypes.c_void_p),
        ("filter", ctypes.c_void_p),
        ("intersect", ctypes.c_void_p),
    ]


COHERENT_RAYS = _Arguments(_COHERENT, 0xFFFFFFFF, None, None, None)
ANY_RAYS = _Arguments(0, 0xFFFFFFFF, None, None, None)


@functools.cache
def _library() -> ctypes.CDLL:
    """The Embree that comes inside embreex's wheel; embreex itself has no packets of rays, which halve the time."""
    from embreex import rtcore_scene

    library = ctypes.CDLL(rtcore_scene.__file__)  # finds the functions of the libraries that this one is linked to
    handle, number, size = ctypes.c_void_p, ctypes.c_uint, ctypes.c_size_t
    for name, result, arguments in (
        ("rtcNewDevice", handle, [ctypes.c_char_p]),
        ("rtcNewScene", handle, [handle]),
        ("rtcSetSceneFlags", None, [handle, number]),
        ("rtcNewGeometry", handle, [handle, number]),
        ("rtcSetNewGeometryBuffer", handle, [handle, number, number, number, size, size]),
        ("rtcCommitGeometry", None, [handle]),
        ("rtcAttachGeometry", number, [handle, handle]),
        ("rtcReleaseGeometry", None, [handle]),
        ("rtcCommitScene", None, [handle]),
        ("rtcReleaseScene", None, [handle]),
        ("rtcIntersect16", None, [handle, handle, handle, handle]),
        ("rtcOccluded16", None, [handle, handle, handle, handle]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


@functools.cache
def _device() -> int:
    device = _library().rtcNewDevice(b"threads=1")  # builds by one thread are the same every time
    if not device:
        raise RuntimeError("Embree does not start on this processor")
    return int(device)


def _address(name: str) -> int:
    return int(ctypes.cast(getattr(_library(), name), ctypes.c_void_p).value or 0)


rtcIntersect16: Any = Foreign("rtcIntersect16", 4, lambda: _address("rtcIntersect16"))
rtcOccluded16: Any = Foreign("rtcOccluded16", 4, lambda: _address("rtcOccluded16"))


class Structure:
    """An acceleration structure over meshes, each of vertices (V, 3) float32 and faces (F, 3) int32, C-contiguous.

    handle: Embree's scene. Hits name meshes by their place in the sequence. watertight: no ray is lost between
    neighbouring triangles, for a quarter more time.
    """

    def __init__(
        self, meshes: Iterable[tuple[NDArray[np.float32], NDArray[np.int32]]], watertight: bool = True
    ) -> None:
        library = _library()
        self.handle = int(library.rtcNewScene(_device()))
        weakref.finalize(self, library.rtcReleaseScene, self.handle)
        library.rtcSetSceneFlags(self.handle, _ROBUST if watertight else 0)
        for vertices, faces in meshes:
            geometry = library.rtcNewGeometry(_device(), _TRIANGLES)
            for kind, form, rows in ((_VERTEX, _FLOAT3, vertices), (_INDEX, _UINT3, faces)):
                target = library.rtcSetNewGeometryBuffer(geometry, kind, 0, form, 12, len(rows))
                ctypes.memmove(target, rows.ctypes.data, rows.nbytes)
            library.rtcCommitGeometry(geometry)
            library.rtcAttachGeometry(self.handle, geometry)
            library.rtcReleaseGeometry(geometry)
        library.rtcCommitScene(self.handle)


class EmbreeMesh:
    """A mesh and its acceleration structure; building takes less than a microsecond per triangle."""

    def __init__(self, mesh: Mesh) -> None:
        self.vertices = np.ascontiguousarray(mesh.vertices, dtype=np.float64)
        self.faces = np.ascontiguousarray(mesh.faces, dtype=np.int32)
        self.corners = bounding_corners(self.vertices)
        low, high = self.vertices.min(axis=0), self.vertices.max(axis=0)
        self.center = (low + high) / 2
        self.scale = 1.0 / max(float(np.linalg.norm(high - low)) / 2, 1e-12)
        unit = ((self.vertices - self.center) * self.scale).astype(np.float32)
        self.structure = Structure([(unit, self.faces)])


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
    """Rows (first, end) that see something, in pieces of some thousand pixels that cut no packet."""
    boxes = [instance.box for instance in view.instances if instance.box[2] > instance.box[0]]
    if not boxes:
        return []
    first, last = min(box[1] for box in boxes) // TILE * TILE, max(box[3] for box in boxes)
    width = max(box[2] for box in boxes) - min(box[0] for box in boxes)
    step = max(PIXELS_AT_ONCE // width // TILE, 1) * TILE
    return [(row, min(row + step, last)) for row in range(first, last, step)]


def _cast_rows(view: View, rows: tuple[int, int], pixel_center: float) -> None:
    canvas = view.canvas
    height, width = canvas.depth.shape
    K_inverse = np.linalg.inv(view.K)
    nearest = np.full((rows[1] - rows[0], width), np.inf)
    packet = new_packet()
    for instance in view.instances:
        left, top, right, bottom = instance.box
        top, bottom = max(top, rows[0]), min(bottom, rows[1])
        if left >= right or top >= bottom:
            continue
        mesh, T = instance.mesh, instance.T_cam_obj
        to_object = np.linalg.inv(T[:3, :3])
        camera = np.concatenate([(to_object @ K_inverse).ravel(), -to_object @ T[:3, 3], T[2], mesh.center])
        _cast_packets(
            mesh.structure.handle, ctypes.addressof(COHERENT_RAYS), packet.ctypes.data, packet, packet.view(np.int32),
            camera, mesh.scale, pixel_center, left, top, right, bottom,
            mesh.vertices, len(mesh.vertices), mesh.faces, len(mesh.faces), instance.number, width, height,
            rows[0], len(nearest), nearest, canvas.depth, canvas.instance, canvas.face, canvas.barycentric,
        )  # fmt: skip


def new_packet() -> NDArray[np.float32]:
    """Room for RTCRayHit16, rows of 16 numbers, and the lanes' validity in row 32, from a multiple of 64 bytes on."""
    room = np.zeros(4 * 40 * 16 + 64, dtype=np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + 4 * 40 * 16].view(np.float32)


@kernel(
    "void", "i8", "i8", "i8", "f4*", "i4*", "f8*", "f8", "f8", "i8", "i8", "i8", "i8",
    "f8*", "i8", "i4*", "i8", "i8", "i8", "i8", "i8", "i8", "f8*", "f4*", "i4*", "i4*", "f4*",
    foreign=(rtcIntersect16,),
)  # fmt: skip
def _cast_packets(
    scene: int, arguments: int, packet: int, ray_: Any, lane_: Any,
    camera_: Any, scale: float, center: float, left: int, top: int, right: int, bottom: int,
    vertices_: Any, vertex_count: int, faces_: Any, face_count: int, number: int, image_width: int, image_height: int,
    first_row: int, row_count: int, nearest_: Any, depth_: Any, instance_: Any, face_: Any, barycentric_: Any,
) -> None:  # fmt: skip # pragma: no cover - compiled
    """Cast one instance in a box, and write its hits where they are nearer than what the image holds.

    camera: R^-1 K^-1, the camera's place in the object frame, T_cam_obj[2], the centre of the ball. ray and lane: the
    packet (RTCRayHit16, rows of 16) as float32 and int32; in row 32 of lane which rays are valid.
    """
    ray, lane = carray(ray_, (40, 16)), carray(lane_, (40, 16))
    camera = carray(camera_, (19,))
    vertices, faces = carray(vertices_, (vertex_count, 3)), carray(faces_, (face_count, 3))
    shape = (image_height, image_width)
    nearest, depth, instance = (
        carray(nearest_, (row_count, image_width)),
        carray(depth_, shape),
        carray(instance_, shape),
    )
    face, barycentric = carray(face_, shape), carray(barycentric_, (image_height, image_width, 3))
    ox, oy, oz = (
        (camera[9] - camera[16]) * scale,
        (camera[10] - camera[17]) * scale,
        (camera[11] - camera[18]) * scale,
    )
    for row in range(top // 4 * 4, bottom, 4):
        for column in range(left // 4 * 4, right, 4):
            for k in range(16):
                j, i = row + k // 4, column + k % 4
                lane[32, k] = -1 if left <= i < right and top <= j < bottom else 0
                u, v = i + center, j + center
                dx = camera[0] * u + camera[1] * v + camera[2]
                dy = camera[3] * u + camera[4] * v + camera[5]
                dz = camera[6] * u + camera[7] * v + camera[8]
                length = 1.0 / np.sqrt(dx * dx + dy * dy + dz * dz)
                dx, dy, dz = dx * length, dy * length, dz * length
                # From the camera, or from where the ray comes near the ball: float32 is fine there and coarse far away.
                start = max(-(ox * dx + oy * dy + oz * dz) - 1.01, 0.0)
                ray[0, k], ray[1, k], ray[2, k] = ox + start * dx, oy + start * dy, oz + start * dz
                ray[3, k], ray[7, k], ray[8, k] = 0.0, 0.0, np.inf  # tnear, time, tfar
                ray[4, k], ray[5, k], ray[6, k] = dx, dy, dz
                lane[9, k], lane[10, k], lane[11, k] = -1, 0, 0  # mask, id, flags
                lane[17, k], lane[18, k], lane[19, k], lane[20, k] = (
                    -1,
                    -1,
                    -1,
                    -1,
                )  # primID, geomID, instID, instPrimID
            rtcIntersect16(packet + 2048, scene, packet, arguments)
            for k in range(16):
                j, i = row + k // 4, column + k % 4
                if lane[32, k] == 0 or lane[18, k] < 0:
                    continue
                f = lane[17, k]
                u, v = i + center, j + center
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
                wb, wc = float(ray[15, k]), float(ray[16, k])
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
                if along < nearest[j - first_row, i]:
                    nearest[j - first_row, i] = along
                    depth[j, i] = camera[12] * px + camera[13] * py + camera[14] * pz + camera[15]
                    instance[j, i], face[j, i] = number, f
                    barycentric[j, i, 0], barycentric[j, i, 1], barycentric[j, i, 2] = wa, wb, wc
