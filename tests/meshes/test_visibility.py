"""Which faces can be seen from outside."""

import numpy as np
import pytest

from pose_models.files import InputError
from pose_models.meshes.mesh import Mesh
from pose_models.meshes.orientation import flipped
from pose_models.meshes.shapes import box, ellipsoid, merged
from pose_models.meshes.visibility import face_visibility, fibonacci_directions, visible_surface, with_faces


def test_directions_are_unit_and_balanced():
    directions = fibonacci_directions(256)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)
    assert np.abs(directions.mean(axis=0)).max() < 0.01
    np.testing.assert_allclose(directions.T @ directions / 256, np.eye(3) / 3, atol=0.01)


def test_faces_of_a_convex_body_see_the_whole_hemisphere():
    # The mean of max(0, cosine) over the sphere is 1/4.
    np.testing.assert_allclose(face_visibility(ellipsoid([100, 60, 40])), 0.25, atol=0.01)


def test_faces_turned_inwards_see_nothing():
    assert face_visibility(flipped(box([10, 20, 30]))).max() < 1e-3


def test_a_wall_halves_what_a_face_in_its_corner_sees():
    floor = Mesh(np.array([[-1, -1, 0], [1, -1, 0], [0, 1, 0.0]]), np.array([[0, 1, 2]]))
    wall = box([1e-3, 400, 400], [0.6, 0, 200])
    assert face_visibility(merged([floor, wall]))[0] == pytest.approx(0.125, abs=0.01)


def test_inner_surface_is_dropped_and_the_share_of_area_reported():
    mesh, share = visible_surface(merged([box([40, 40, 40]), box([20, 20, 20])]))
    assert len(mesh.faces) == 12
    assert len(mesh.vertices) == 8
    assert np.ptp(mesh.vertices, axis=0).max() == 40
    assert share == pytest.approx(40**2 / (40**2 + 20**2))


def test_result_does_not_depend_on_the_unit():
    mesh = merged([box([40, 40, 5]), box([5, 40, 40], [10, 0, 20])])
    tiny = Mesh(mesh.vertices * 1e-3 + 5.0, mesh.faces)
    np.testing.assert_allclose(face_visibility(mesh), face_visibility(tiny), atol=5e-3)


def test_mesh_of_which_nothing_is_visible_is_an_error():
    degenerate = Mesh(np.zeros((3, 3)), np.array([[0, 1, 2]]))
    with pytest.raises(InputError, match="face orientation"):
        visible_surface(degenerate)


def test_dropping_faces_keeps_the_colors_of_the_vertices_left():
    colors = np.arange(24, dtype=np.uint8).reshape(8, 3)
    mesh = Mesh(box([1, 1, 1]).vertices, box([1, 1, 1]).faces, colors)
    keep = np.zeros(12, dtype=bool)
    keep[:2] = True
    part = with_faces(mesh, keep)
    assert len(part.vertices) == 4
    assert part.colors is not None
    for vertex, color in zip(part.vertices, part.colors, strict=True):
        index = np.flatnonzero((mesh.vertices == vertex).all(axis=1))[0]
        np.testing.assert_array_equal(color, colors[index])
