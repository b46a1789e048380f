"""The pixels that can see an object: the box of its projected bounds, so that no other pixel need be cast."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pose_models.meshes.visibility import fibonacci_directions

Array = NDArray[np.float64]
DIRECTIONS = 40
CORNERS = 2 * DIRECTIONS - 4  # as many as a convex body of so many planes can have
MARGIN_PX = 1e-3  # for the float32 of ray casters


def bounding_corners(vertices: ArrayLike) -> Array:
    """Corners (CORNERS, 3) of a convex body that contains all vertices (V, 3) and fits them tightly.

    The planes that touch the vertices in 40 directions bound it. Its projection is some per cent wider than the
    object's; that of an axis-aligned box can cover twice the pixels. Corners are repeated to make up the number.
    """
    from scipy.spatial import HalfspaceIntersection

    vertices = np.asarray(vertices, dtype=np.float64)
    normals = fibonacci_directions(DIRECTIONS)
    center, size = vertices.mean(axis=0), max(float(np.linalg.norm(np.ptp(vertices, axis=0))), 1e-9)
    # In units of the size, and a little thicker, so that flat objects have an inside too.
    reach = ((vertices - center) / size @ normals.T).max(axis=0) + 1e-4
    planes = np.column_stack([normals, -reach])
    corners = HalfspaceIntersection(planes, np.zeros(3)).intersections * size + center
    return np.asarray(np.concatenate([corners, np.repeat(corners[:1], CORNERS - len(corners), axis=0)]))


def projected_boxes(
    corners: ArrayLike, K: ArrayLike, T_cam_obj: ArrayLike, width: int, height: int, pixel_center: float
) -> NDArray[np.int64]:
    """Boxes (..., 4) of pixels, left, top, right, bottom (ends excluded), inside a width x height image.

    Args:
        corners: (..., P, 3) mm of convex bounds, object frame. K: (..., 3, 3) general intrinsics.
        T_cam_obj: (..., 4, 4) mm. pixel_center: image coordinate at which pixel 0 is sampled.

    The whole image where the bounds reach behind the camera; empty (right <= left) where they are all behind it, beside
    the image, or where pose or intrinsics are singular or not finite.
    """
    corners, T = np.asarray(corners, dtype=np.float64), np.asarray(T_cam_obj, dtype=np.float64)
    K = np.asarray(K, dtype=np.float64)
    with np.errstate(all="ignore"):
        P = K @ T[..., :3, :]
        uvw = corners @ np.swapaxes(P[..., :3], -1, -2) + P[..., None, :, 3]
        in_front = uvw[..., 2] > 1e-6
        uv = uvw[..., :2] / uvw[..., 2:]
        limit = np.array([width, height])
        first = np.clip(np.nan_to_num(np.ceil(uv.min(axis=-2) - pixel_center - MARGIN_PX)), 0, limit)
        end = np.clip(np.nan_to_num(np.floor(uv.max(axis=-2) - pixel_center + MARGIN_PX) + 1), 0, limit)
        boxes = np.concatenate([first, end], axis=-1).astype(np.int64)
        boxes[~in_front.all(axis=-1)] = [0, 0, width, height]
        # A determinant that is not finite or 0: no ray can be made.
        size = np.abs(np.linalg.det(T[..., :3, :3]) * np.linalg.det(K)) + 0 * T[..., :3, 3].sum(axis=-1)
    boxes[~(in_front.any(axis=-1) & np.isfinite(size) & (size > 0))] = 0
    return boxes
