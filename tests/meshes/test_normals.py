"""Shading normals: flat at sharp edges, smooth on round surfaces."""

import numpy as np

from pose_models.meshes.mesh import Mesh
from pose_models.meshes.normals import corner_normals
from pose_models.meshes.shapes import box, cylinder, ellipsoid


def test_corners_of_a_box_keep_their_face_normal():
    mesh = box([10, 20, 30])
    expected = np.repeat(mesh.face_normals()[:, None], 3, axis=1)
    np.testing.assert_allclose(corner_normals(mesh), expected, atol=1e-6)


def test_normals_of_a_sphere_point_from_its_centre():
    mesh = ellipsoid([2, 2, 2], 64)
    outward = mesh.vertices[mesh.faces]
    cosine = (corner_normals(mesh) * outward).sum(axis=2) / np.linalg.norm(outward, axis=2)
    assert cosine.min() > 0.998


def test_cylinder_is_smooth_around_and_sharp_at_its_rim():
    mesh = cylinder([20, 20, 30], segments=48)
    normals = corner_normals(mesh)
    side = np.abs(mesh.face_normals()[:, 2]) < 0.5
    np.testing.assert_allclose(normals[~side][..., 2].__abs__(), 1, atol=1e-6)
    radial = mesh.vertices[mesh.faces][side][..., :2] / 10
    np.testing.assert_allclose(normals[side][..., :2], radial, atol=0.08)


def test_split_vertices_are_smoothed_like_shared_ones():
    mesh = ellipsoid([2, 2, 2], 32)
    corners = mesh.vertices[mesh.faces]
    split = Mesh(corners.reshape(-1, 3), np.arange(corners.size // 3).reshape(-1, 3))
    np.testing.assert_allclose(corner_normals(split), corner_normals(mesh), atol=1e-6)


def test_degenerate_face_gives_no_nan():
    mesh = Mesh(np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0.0]]), np.array([[0, 1, 2], [0, 1, 3]]))
    assert np.isfinite(corner_normals(mesh)).all()
