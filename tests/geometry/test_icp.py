"""ICP: identities, outliers, and motions that the points cannot tell."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pose_models.geometry.icp import plane_step, point_to_plane, point_to_point, rigid_fit
from pose_models.geometry.transforms import apply, from_rotation_translation, invert, random_rotation, rotation_angle


def ellipsoid(rng, count):
    """Points (N, 3) and normals (N, 3) of an ellipsoid of 40 x 30 x 20."""
    axes = np.array([40.0, 30.0, 20.0])
    directions = rng.standard_normal((count, 3))
    points = axes * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    normals = points / axes**2
    return points, normals / np.linalg.norm(normals, axis=1, keepdims=True)


def small_motion(rng, degrees=8.0, length=5.0):
    axis, move = rng.standard_normal((2, 3))
    R = Rotation.from_rotvec(np.radians(degrees) * axis / np.linalg.norm(axis)).as_matrix()
    return from_rotation_translation(R, length * move / np.linalg.norm(move))


@pytest.mark.parametrize("flat", [False, True])
def test_rigid_fit_gives_back_the_motion(flat):
    rng = np.random.default_rng(0)
    points = rng.standard_normal((20, 3)) * ([1, 1, 0] if flat else [1, 1, 1])
    T = from_rotation_translation(random_rotation(rng), rng.standard_normal(3))
    np.testing.assert_allclose(rigid_fit(points, apply(T, points)), T, atol=1e-12)


def test_rigid_fit_never_mirrors():
    points = np.random.default_rng(1).standard_normal((20, 3))
    assert np.linalg.det(rigid_fit(points, points * [1, 1, -1])[:3, :3]) == pytest.approx(1.0)


def test_a_step_along_normals_leaves_alone_what_a_plane_does_not_tell():
    rng = np.random.default_rng(2)
    points = np.c_[rng.uniform(-1, 1, (50, 2)), np.zeros(50)]
    normals = np.tile([0.0, 0.0, 1.0], (50, 1))
    T = plane_step(points, points + np.array([0.3, -0.2, 0.5]), normals)
    np.testing.assert_allclose(T, from_rotation_translation(np.eye(3), [0, 0, 0.5]), atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_points_are_brought_onto_the_surface_among_outliers(seed):
    rng = np.random.default_rng(seed)
    target, normals = ellipsoid(rng, 8000)
    truth = small_motion(rng)
    source = apply(invert(truth), ellipsoid(rng, 1500)[0])
    source[::5] += 60.0  # a fifth lies elsewhere
    found = point_to_plane(source, target, normals, np.eye(4), max_distance=30.0, tolerance=1e-4).T_target_source
    error = found @ invert(truth)
    assert np.degrees(rotation_angle(error[:3, :3])) < 0.5
    assert np.linalg.norm(error[:3, 3]) < 0.3


def test_normals_may_have_either_sign():
    rng = np.random.default_rng(4)
    target, normals = ellipsoid(rng, 3000)
    source = apply(small_motion(rng, 3.0, 2.0), target[::3])
    one = point_to_plane(source, target, normals, np.eye(4))
    other = point_to_plane(source, target, -normals, np.eye(4))
    np.testing.assert_allclose(one.T_target_source, other.T_target_source, atol=1e-9)


def test_the_start_may_scale_and_its_scale_stays():
    rng = np.random.default_rng(5)
    target, _ = ellipsoid(rng, 4000)
    start = np.diag([10.0, 10.0, 10.0, 1.0])
    found = point_to_point(apply(small_motion(rng, 2.0, 1.0), target) / 10, target, start, max_distance=5.0)
    assert np.cbrt(np.linalg.det(found.T_target_source[:3, :3])) == pytest.approx(10.0)
    assert found.fitness > 0.99
    assert found.rmse < 1.0


@pytest.mark.parametrize("align", ["point", "plane"])
def test_without_partners_the_start_is_the_result(align):
    far, start = np.full((10, 3), 1e3), from_rotation_translation(np.eye(3), [1.0, 2.0, 3.0])
    normals = np.tile([0.0, 0, 1], (10, 1))
    if align == "point":
        found = point_to_point(np.zeros((10, 3)), far, start, max_distance=1.0)
    else:
        found = point_to_plane(np.zeros((10, 3)), far, normals, start, max_distance=1.0)
        none = np.zeros((0, 3))
        assert point_to_plane(none, far, normals, start).fitness == point_to_plane(far, none, none, start).fitness == 0
    np.testing.assert_array_equal(found.T_target_source, start)
    assert found.fitness == found.rmse == 0
