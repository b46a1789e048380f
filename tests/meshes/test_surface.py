"""Even surface samples: the statistics of the reference tool (surfemb.md section 6), closest faces."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from pose_models.meshes.mesh import Mesh
from pose_models.meshes.sampling import AreaSampler
from pose_models.meshes.shapes import box, ellipsoid, merged
from pose_models.meshes.surface import (
    closest_face_normals,
    closest_faces,
    disk_radius,
    even_samples,
    triangle_distance,
)

SHAPES = {"box": box([80, 50, 30]), "ellipsoid": ellipsoid([90, 60, 40], 64)}


@pytest.mark.parametrize("name", SHAPES)
def test_samples_are_as_even_as_those_of_the_reference(name):
    mesh = SHAPES[name]
    rng = np.random.default_rng(0)
    points, _ = even_samples(mesh, 2000, rng)
    radius = disk_radius(mesh.face_areas().sum(), 2000)
    tree = cKDTree(points)
    apart = tree.query(points, k=2)[0][:, 1] / radius
    gap = tree.query(AreaSampler(mesh).draw(20000, rng))[0] / radius
    assert 1.0 <= apart.min() < 1.01
    assert apart.mean() == pytest.approx(1.065, abs=0.01)
    assert apart.max() <= 1.5
    assert gap.mean() == pytest.approx(0.48, abs=0.01)
    assert gap.max() <= 1.15
    assert len(points) / 2000 == pytest.approx(1.47, abs=0.03)


def test_samples_lie_on_the_surface_with_the_normal_there():
    points, normals = even_samples(box([80, 50, 30]), 500, np.random.default_rng(1))
    half = np.array([40, 25, 15])
    on_side = np.isclose(np.abs(points), half)
    assert on_side.any(axis=1).all()
    axis = np.abs(normals).argmax(axis=1)
    rows = np.arange(len(points))
    np.testing.assert_allclose(np.abs(points[rows, axis]), half[axis])
    assert (np.sign(points[rows, axis]) == normals[rows, axis]).all()


def test_same_seed_gives_same_samples_and_another_seed_does_not():
    first, again, other = (even_samples(SHAPES["box"], 300, np.random.default_rng(seed))[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or not np.allclose(first, other)


def test_one_sample_can_be_asked_for():
    points, normals = even_samples(box([1, 1, 1]), 1, np.random.default_rng(0))
    assert len(points) >= 1
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1)


def test_random_points_hit_faces_in_proportion_to_their_area():
    mesh = merged([box([10, 10, 10]), box([20, 20, 20], [100, 0, 0])])
    points, faces = AreaSampler(mesh).draw_with_faces(40000, np.random.default_rng(0))
    assert (faces >= 12).mean() == pytest.approx(0.8, abs=0.01)
    assert ((points[:, 0] > 50) == (faces >= 12)).all()
    on_first = points[faces < 12]
    np.testing.assert_allclose(on_first.mean(axis=0), 0, atol=0.15)
    assert np.isclose(np.abs(on_first), 5).any(axis=1).all()


def test_triangle_distance_equals_a_dense_search():
    rng = np.random.default_rng(0)
    points, corners = rng.normal(size=(200, 3)), rng.normal(size=(200, 3, 3))
    grid = np.array([(i, j) for i in range(61) for j in range(61 - i)]) / 60
    weights = np.column_stack([grid, 1 - grid.sum(axis=1)])
    dense = np.linalg.norm(np.einsum("gc,ncd->ngd", weights, corners) - points[:, None], axis=2).min(axis=1)
    exact = triangle_distance(points, corners)
    assert (exact <= dense + 1e-9).all()
    np.testing.assert_allclose(exact, dense, atol=0.06)


def test_distance_to_a_degenerate_triangle_is_that_to_its_edge():
    corners = np.array([[[0, 0, 0], [1, 0, 0], [2, 0, 0.0]]])
    assert triangle_distance(np.array([[1.5, 3, 4]]), corners)[0] == pytest.approx(5)


def test_closest_faces_equal_brute_force_also_with_slender_triangles():
    rng = np.random.default_rng(5)
    mesh = merged([box([200, 3, 40]), box([10, 10, 10], [0, 40, 0])])
    points = rng.uniform(-60, 60, (300, 3))
    corners = mesh.vertices[mesh.faces]
    every = np.stack([triangle_distance(points, np.broadcast_to(c, (300, 3, 3))) for c in corners], axis=1)
    chosen = every[np.arange(300), closest_faces(mesh, points)]
    np.testing.assert_allclose(chosen, every.min(axis=1), atol=1e-9)


def test_normals_point_the_way_the_faces_do():
    up = Mesh(np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0.0]]), np.array([[0, 1, 2]]))
    np.testing.assert_allclose(closest_face_normals(up, np.array([[0.2, 0.2, -3.0]])), [[0, 0, 1]])


def test_thin_sheets_get_as_many_samples_as_asked_for():
    """Only one side's worth of disks fits on two sides at the same place: 0.73 of the target."""
    points, _ = even_samples(box([80, 50, 1e-3]), 500, np.random.default_rng(0))
    assert len(points) >= 500
