"""Depth of one camera seen from another: the depth image becomes a surface, and the other camera looks at it.

A surface, rather than points, leaves no holes where the target camera has the finer grid, and hides what stands behind.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pose_models.geometry.cameras import pixel_rays
from pose_models.geometry.transforms import apply
from pose_models.meshes.mesh import Mesh
from pose_models.render.raycast import RayCaster

Depth = NDArray[np.float32]


def depth_surface(depth: ArrayLike, K: ArrayLike, max_step: float = 0.02) -> Mesh:
    """Triangles between neighbouring pixels of a depth image (H, W) mm, camera frame; 0 = not measured.

    Args:
        depth: (H, W) mm along z.
        K: (3, 3), pixel centres at integers.
        max_step: largest share of its depth that a triangle may span; steeper ones would bridge a silhouette.
    """
    z = np.asarray(depth, dtype=np.float64)
    height, width = z.shape
    vertices = (pixel_rays(K, width, height) * z[..., None]).reshape(-1, 3)
    index = np.arange(height * width).reshape(height, width)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    faces = np.concatenate([np.stack([a, c, b], axis=-1).reshape(-1, 3), np.stack([b, c, d], axis=-1).reshape(-1, 3)])
    corners = z.reshape(-1)[faces]
    near, far = corners.min(axis=1), corners.max(axis=1)
    return Mesh(vertices, faces[(near > 0) & (far - near <= max_step * near)])


def register_depth(
    depth: ArrayLike, K_depth: ArrayLike, T_color_depth: ArrayLike, K_color: ArrayLike, width: int, height: int
) -> Depth:
    """Depth image as the colour camera sees it: (height, width) float32 mm, 0 where nothing is known.

    Args:
        depth: (H, W) mm of the depth camera, 0 = not measured.
        K_depth, K_color: (3, 3), pixel centres at integers, no distortion.
        T_color_depth: (4, 4) mm, depth camera to colour camera.
        width, height: size of the colour image.
    """
    surface = depth_surface(depth, K_depth)
    if len(surface.faces) == 0:
        return np.zeros((height, width), dtype=np.float32)
    used, faces = np.unique(surface.faces, return_inverse=True)
    seen = Mesh(apply(T_color_depth, surface.vertices[used]), faces.reshape(-1, 3))
    # A thousandth of a pixel aside: rays exactly through a vertex can slip between its triangles in float32.
    return RayCaster(seen).cast(K_color, np.eye(4), width, height, pixel_center=1e-3).depth
