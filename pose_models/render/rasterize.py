"""Depth of one mesh by a compiled rasteriser: fast for small objects, exact in float64, no OpenGL and no display.

Convention: pixel (column i, row j) shows the surface point that projects to (i + pixel_center, j + pixel_center); BOP's
own renderer has pixel_center = 0.5 (bop.md 6.2). Both sides of a triangle are visible. Only the box that the object
covers is rendered. `python -m pose_models.compiled` compiles the kernels into their cache ahead of use.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pose_models.compiled import carray, kernel
from pose_models.meshes.mesh import Mesh
from pose_models.render.visibility import DepthPatch

NEAR_MM = 1e-3  # what lies nearer to the camera's plane is cut off

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Window:
    """Pixels that may be rendered: columns left..right-1, rows top..bottom-1, in image coordinates."""

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def of_image(cls, width: int, height: int) -> Window:
        """The image itself."""
        return cls(0, 0, width, height)

    @classmethod
    def large_canvas(cls, width: int, height: int) -> Window:
        """BOP's canvas for whole silhouettes: three times the image, the image in its middle."""
        return cls(-width, -height, 2 * width, 2 * height)


def rasterize(
    mesh: Mesh, K: ArrayLike, R_cam_obj: ArrayLike, t_cam_obj: ArrayLike, window: Window, pixel_center: float = 0.5
) -> DepthPatch:
    """Depth of a mesh inside the box that it covers.

    Args:
        mesh: triangles, mm.
        K: (3, 3) intrinsics, upper-triangular (skew allowed).
        R_cam_obj, t_cam_obj: (3, 3) and (3,) mm.
        window: the part of the image plane to keep.
        pixel_center: image coordinate at which pixel 0 is sampled.

    Returns:
        A patch inside the window, empty (0 x 0) if nothing of the object is in it. Triangles that cross the plane
        z = 0.001 mm are cut there.
    """
    points, faces = transform(mesh.vertices, R_cam_obj, t_cam_obj), mesh.faces
    if not points[:, 2].min() > NEAR_MM:
        points, faces = clip_near(points, faces, NEAR_MM)
    if not len(faces):
        return DepthPatch(np.zeros((0, 0), dtype=np.float32), window.left, window.top)
    uv = project_inverse(points, K)
    low = np.floor(uv[:, :2].min(axis=0) - pixel_center)
    high = np.ceil(uv[:, :2].max(axis=0) - pixel_center) + 1
    left, top = np.clip(low, [window.left, window.top], [window.right, window.bottom]).astype(int)
    right, bottom = np.clip(high, [window.left, window.top], [window.right, window.bottom]).astype(int)
    depth = np.zeros((max(bottom - top, 0), max(right - left, 0)), dtype=np.float32)
    if depth.size:
        inverse = np.zeros(depth.shape)
        faces = np.ascontiguousarray(faces, dtype=np.int64)
        origin = left + pixel_center, top + pixel_center
        _fill(uv, faces, len(uv), len(faces), *origin, inverse, depth, *depth.shape)
    return DepthPatch(depth, int(left), int(top))


def transform(vertices: Array, R: ArrayLike, t: ArrayLike) -> Array:
    """Vertices (V, 3) in the camera frame, mm."""
    return np.asarray(vertices @ np.asarray(R, dtype=np.float64).T + np.asarray(t, dtype=np.float64))


def project_inverse(points: Array, K: ArrayLike) -> Array:
    """(V, 3): pixel coordinates u, v and 1 / z of points (V, 3) in the camera frame, z > 0."""
    K = np.asarray(K, dtype=np.float64)
    result = np.empty((len(points), 3))
    inverse = 1.0 / points[:, 2]
    result[:, 0] = (points[:, 0] * K[0, 0] + points[:, 1] * K[0, 1]) * inverse + K[0, 2]
    result[:, 1] = points[:, 1] * K[1, 1] * inverse + K[1, 2]
    result[:, 2] = inverse
    return result


def clip_near(points: Array, faces: NDArray[np.int64], near: float) -> tuple[Array, NDArray[np.int64]]:
    """The part of a mesh with z >= near: new points (V', 3) and faces (F', 3); cut triangles become one or two."""
    inside = points[faces][..., 2] >= near
    count = inside.sum(axis=1)
    corners = [points[faces[count == 3]]]
    for kept in (1, 2):
        chosen = count == kept
        # Rotate each triangle so that its odd corner (the only one inside, or the only one outside) comes first.
        odd = np.argmax(inside[chosen] == (kept == 1), axis=1)
        turned = np.take_along_axis(faces[chosen], (odd[:, None] + np.arange(3)) % 3, axis=1)
        a, b, c = points[turned[:, 0]], points[turned[:, 1]], points[turned[:, 2]]
        ab, ac = _cut(a, b, near), _cut(a, c, near)
        corners += [np.stack([a, ab, ac], 1)] if kept == 1 else [np.stack([ab, b, c], 1), np.stack([ab, c, ac], 1)]
    triangles = np.concatenate(corners)
    return triangles.reshape(-1, 3), np.arange(3 * len(triangles), dtype=np.int64).reshape(-1, 3)


def _cut(a: Array, b: Array, near: float) -> Array:
    """Points (N, 3) at which the segments a-b (N, 3 each) cross z = near."""
    share = (near - a[:, 2]) / (b[:, 2] - a[:, 2])
    points = a + share[:, None] * (b - a)
    points[:, 2] = near
    return np.asarray(points)


@kernel("void", "f8*", "i8*", "i8", "i8", "f8", "f8", "f8*", "f4*", "i8", "i8")
def _fill(
    uv_: Any, faces_: Any, vertex_count: int, face_count: int, u0: float, v0: float,
    inverse_: Any, depth_: Any, height: int, width: int,
) -> None:  # fmt: skip # pragma: no cover - compiled
    """Fill depth (h, w) and 1/depth; pixel (0, 0) is sampled at (u0, v0). uv (V, 3) holds u, v, 1/z."""
    uv, faces = carray(uv_, (vertex_count, 3)), carray(faces_, (face_count, 3))
    inverse, depth = carray(inverse_, (height, width)), carray(depth_, (height, width))
    for f in range(face_count):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        au, av = uv[a, 0] - u0, uv[a, 1] - v0
        bu, bv = uv[b, 0] - u0, uv[b, 1] - v0
        cu, cv = uv[c, 0] - u0, uv[c, 1] - v0
        first = max(np.ceil(min(au, bu, cu)), 0.0)
        last = min(np.floor(max(au, bu, cu)), width - 1.0)
        top = max(np.ceil(min(av, bv, cv)), 0.0)
        bottom = min(np.floor(max(av, bv, cv)), height - 1.0)
        if not (first <= last and top <= bottom):
            continue
        area = (bu - au) * (cv - av) - (bv - av) * (cu - au)
        if area == 0.0:
            continue
        # Barycentric weights of b and c, and 1/z, are linear in the column i and the row j.
        scale = 1.0 / area
        wb_i, wb_j = (cv - av) * scale, -(cu - au) * scale
        wc_i, wc_j = -(bv - av) * scale, (bu - au) * scale
        za = uv[a, 2]
        zb, zc = uv[b, 2] - za, uv[c, 2] - za
        for j in range(int(top), int(bottom) + 1):
            wb_row, wc_row = (j - av) * wb_j - au * wb_i, (j - av) * wc_j - au * wc_i
            for i in range(int(first), int(last) + 1):
                wb, wc = wb_row + i * wb_i, wc_row + i * wc_i
                # The tolerance closes the seams between neighbours; it is far below any visible size.
                if wb >= -1e-10 and wc >= -1e-10 and wb + wc <= 1.0 + 1e-10:
                    z = za + wb * zb + wc * zc
                    if z > inverse[j, i]:
                        inverse[j, i] = z
    for j in range(height):
        for i in range(width):
            if inverse[j, i] > 0.0:
                depth[j, i] = 1.0 / inverse[j, i]
