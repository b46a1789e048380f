"""Diameter, enclosing sphere and models_info entries against the obvious computation."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from pose_models.meshes.bounds import bounding_sphere, diameter, hull_points, model_info


@pytest.mark.parametrize("count", [2, 4, 30, 3000])
def test_diameter_is_the_largest_pairwise_distance(count):
    points = np.random.default_rng(count).normal(size=(count, 3)) * [10, 40, 25]
    assert diameter(points) == pytest.approx(pdist(points).max(), rel=1e-12)


def test_diameter_of_a_flat_point_set_needs_no_hull():
    points = np.random.default_rng(0).random((50, 3)) * [100, 50, 0]
    assert diameter(points) == pytest.approx(pdist(points).max())


def test_hull_points_of_a_filled_cube_are_its_corners():
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=float)
    inside = np.random.default_rng(0).uniform(0.1, 0.9, (100, 3))
    hull = hull_points(np.concatenate([inside, corners]))
    np.testing.assert_array_equal(np.unique(hull, axis=0), np.unique(corners, axis=0))


@pytest.mark.parametrize("seed", range(5))
def test_bounding_sphere_contains_all_points_and_moves_with_them(seed):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(200, 3)) * rng.uniform(5, 50, 3)
    center, radius = bounding_sphere(points)
    assert np.linalg.norm(points - center, axis=1).max() <= radius * (1 + 1e-9)
    assert diameter(points) / 2 <= radius <= diameter(points) * np.sqrt(3 / 8) * 1.001  # Jung's theorem
    shift = np.array([100, -50, 7])
    moved, same_radius = bounding_sphere(points + shift)
    np.testing.assert_allclose(moved, center + shift, atol=1e-6)
    assert same_radius == pytest.approx(radius)


def test_model_info_states_diameter_minimum_and_size():
    info = model_info([[0, 0, 0], [30, 0, 0], [0, 40, 0], [1, 2, 5]])
    assert info["diameter"] == pytest.approx(50)
    assert [info[f"min_{axis}"] for axis in "xyz"] == [0, 0, 0]
    assert [info[f"size_{axis}"] for axis in "xyz"] == [30, 40, 5]
