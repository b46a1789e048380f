"""Registration of depth: planes stay planes, near hides far, gaps stay gaps."""

import numpy as np

from pose_models.geometry.transforms import from_rotation_translation
from pose_models.render.register_depth import depth_surface, register_depth

K_DEPTH = np.array([[100.0, 0, 39.5], [0, 100, 29.5], [0, 0, 1]])
K_COLOR = np.array([[180.0, 0, 69.5], [0, 180, 49.5], [0, 0, 1]])
SIZE = (140, 100)


def test_same_camera_gives_the_same_depth():
    depth = np.random.default_rng(0).uniform(500, 505, (60, 80))
    registered = register_depth(depth, K_DEPTH, np.eye(4), K_DEPTH, 80, 60)
    np.testing.assert_allclose(registered[1:-1, 1:-1], depth[1:-1, 1:-1], atol=0.02)


def test_plane_seen_from_a_shifted_and_turned_camera():
    angle = 0.1
    R = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    T = from_rotation_translation(R, [20.0, -5, 12])
    registered = register_depth(np.full((60, 80), 600.0), K_DEPTH, T, K_COLOR, *SIZE)
    # The plane z = 600 of the depth camera: n . p = 600 with n = R[:, 2] and p shifted by t, along each colour ray.
    u, v = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    rays = np.stack([(u - 69.5) / 180, (v - 49.5) / 180, np.ones_like(u)], axis=-1)
    expected = (600 + R[:, 2] @ [20, -5, 12]) / (rays @ R[:, 2])
    known = registered > 0
    assert known.mean() > 0.5
    np.testing.assert_allclose(registered[known], expected[known], rtol=1e-4)


def test_no_holes_in_a_finer_image():
    registered = register_depth(np.full((60, 80), 600.0), K_DEPTH, np.eye(4), K_COLOR, *SIZE)
    assert (registered[5:-5, 5:-5] > 0).all()


def test_near_surface_hides_the_far_one():
    depth = np.full((60, 80), 1000.0)
    depth[20:40, 30:50] = 400.0
    T = from_rotation_translation(np.eye(3), [-60.0, 0, 0])
    registered = register_depth(depth, K_DEPTH, T, K_COLOR, *SIZE)
    assert set(np.round(np.unique(registered)).astype(int)) <= {0, 400, 1000}
    # The patch's left edge moves to the left by 180 * 60 / 400 = 27 px, over background that was seen beside it.
    row = registered[50]
    left = (30 - 39.5) / 100 * 180 + 69.5 - 27
    assert row[int(left) + 3] == np.float32(400.0)


def test_silhouettes_and_missing_values_are_not_bridged():
    depth = np.full((60, 80), 1000.0)
    depth[:, 40:] = 400.0
    depth[10, 10] = 0
    surface = depth_surface(depth, K_DEPTH)
    z = surface.vertices[surface.faces][..., 2]
    assert np.ptp(z, axis=1).max() == 0
    assert z.min() > 0


def test_nothing_measured_gives_nothing():
    assert not register_depth(np.zeros((60, 80)), K_DEPTH, np.eye(4), K_COLOR, *SIZE).any()
