"""The rasteriser against Embree, at borders and near the camera; boxes and counts of visibility."""

import numpy as np
import pytest

from pose_models.geometry.transforms import from_rotation_translation, random_rotation
from pose_models.meshes.mesh import Mesh
from pose_models.render.rasterize import Window, clip_near, rasterize
from pose_models.render.raycast import RayCaster
from pose_models.render.visibility import DepthPatch, box_of_mask, instance_info, large_canvas_patch, visible_mask

K = np.array([[300.0, 0, 80.0], [0, 310.0, 60.0], [0, 0, 1]])
SQUARE = Mesh(np.array([[-10.0, -10, 0], [10, -10, 0], [10, 10, 0], [-10, 10, 0]]), np.array([[0, 1, 2], [0, 2, 3]]))


def blob(rng):
    """A closed bumpy octahedron, subdivided."""
    import trimesh

    sphere = trimesh.creation.icosphere(subdivisions=3)
    scale = 1 + 0.2 * np.sin(3 * sphere.vertices[:, :1]) + 0.05 * rng.normal(size=(len(sphere.vertices), 1))
    return Mesh(np.asarray(sphere.vertices) * 30 * scale, np.asarray(sphere.faces, dtype=np.int64))


@pytest.mark.parametrize("center", [0.0, 0.5])
def test_depth_equals_that_of_a_ray_caster(center):
    rng = np.random.default_rng(0)
    mesh = blob(rng)
    caster = RayCaster(mesh)
    for _ in range(5):
        R, t = random_rotation(rng), np.array([rng.uniform(-60, 60), rng.uniform(-40, 40), rng.uniform(150, 400)])
        got = rasterize(mesh, K, R, t, Window.of_image(160, 120), center).paste(160, 120)
        expected = caster.cast(K, from_rotation_translation(R, t), 160, 120, center).depth
        assert ((got > 0) != (expected > 0)).sum() <= 2
        both = (got > 0) & (expected > 0)
        assert both.sum() > 200
        # Single pixels at silhouettes of inner folds may see the other side of the fold.
        assert (np.abs(got - expected)[both] < 0.01).mean() > 0.995


def test_a_vertical_edge_first_covers_the_next_pixel_center():
    t = np.array([10 + (100.7 - 80) / 300 * 300, 0, 300.0])  # left edge of the square projects to u = 100.7
    depth = rasterize(SQUARE, K, np.eye(3), t, Window.of_image(160, 120)).paste(160, 120)
    assert np.flatnonzero((depth > 0).any(axis=0))[0] == 101


def test_both_sides_of_a_triangle_are_seen_and_seams_are_closed():
    flipped = Mesh(SQUARE.vertices, SQUARE.faces[:, ::-1].copy())
    for mesh in (SQUARE, flipped):
        patch = rasterize(mesh, K, np.eye(3), np.array([0, 0, 300.0]), Window.of_image(160, 120))
        depth = patch.paste(160, 120)
        assert (depth[51:69, 71:89] > 0).all()
        np.testing.assert_allclose(depth[depth > 0], 300, rtol=1e-6)


def test_the_nearer_surface_wins():
    two = Mesh(np.concatenate([SQUARE.vertices, SQUARE.vertices + np.array([0, 0, 50])]),
               np.concatenate([SQUARE.faces + 4, SQUARE.faces]))  # fmt: skip
    depth = rasterize(two, K, np.eye(3), np.array([0, 0, 300.0]), Window.of_image(160, 120)).depth
    np.testing.assert_allclose(depth[depth > 0], 300, rtol=1e-6)


def test_objects_outside_behind_or_across_the_camera_plane():
    window = Window.of_image(160, 120)
    assert rasterize(SQUARE, K, np.eye(3), np.array([5000, 0, 300.0]), window).depth.sum() == 0
    assert rasterize(SQUARE, K, np.eye(3), np.array([0, 0, -300.0]), window).depth.size == 0
    floor = Mesh(SQUARE.vertices[:, [0, 2, 1]] * [100, 1, 100] + [0, 20, 0], SQUARE.faces)  # reaches behind the camera
    depth = rasterize(floor, K, np.eye(3), np.array([0, 0, 5.0]), window).paste(160, 120)
    j = np.arange(62, 120) + 0.5 - K[1, 2]
    expected = 20 * K[1, 1] / j
    inside = expected < 1000
    np.testing.assert_allclose(depth[62:120, 80][inside], expected[inside], rtol=1e-5)


def test_clipping_keeps_the_area_in_front():
    points = np.array([[0.0, 0, -1], [0, 0, 3], [4, 0, 3]])
    for faces in ([[0, 1, 2]], [[1, 2, 0]], [[2, 0, 1]]):
        clipped, new_faces = clip_near(points, np.array(faces), 1.0)
        a, b, c = (clipped[new_faces[:, i]] for i in range(3))
        area = 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()
        assert area == pytest.approx(8 - 0.5 * 2 * 2)
        assert clipped[:, 2].min() == 1.0


def test_a_box_has_no_plus_one_and_an_empty_one_is_minus_one():
    mask = np.zeros((10, 12), bool)
    mask[2:5, 3:9] = True
    assert box_of_mask(mask) == [3, 2, 5, 2]
    assert box_of_mask(mask, -4, 1) == [-1, 3, 5, 2]
    assert box_of_mask(np.zeros((3, 3), bool)) == [-1, -1, -1, -1]


def test_info_counts_what_lies_outside_the_image():
    depth = np.full((4, 6), 300, np.float32)
    scene = np.full((20, 30), 300, np.float32)
    scene[:, 1] = 0  # not measured: visible, but not valid
    info, mask, visible = instance_info(DepthPatch(depth, -3, 5), scene, K, 15.0)
    assert info["px_count_all"] == 24
    assert info["px_count_visib"] == mask.sum() == visible.sum() == 12
    assert info["px_count_valid"] == 8
    assert info["visib_fract"] == 0.5
    assert info["bbox_obj"] == [-3, 5, 5, 3]
    assert info["bbox_visib"] == [0, 5, 2, 3]


def test_a_hidden_instance_has_no_boxes():
    info, _, _ = instance_info(DepthPatch(np.full((4, 6), 300, np.float32), 2, 2), np.full((20, 30), 200, np.float32),
                               K, 15.0)  # fmt: skip
    assert (info["px_count_visib"], info["visib_fract"], info["bbox_obj"]) == (0, 0, [-1, -1, -1, -1])


def test_large_canvas_is_three_images_wide():
    patch = large_canvas_patch(np.zeros((60, 90), np.float32))
    assert (patch.x, patch.y) == (-30, -20)
    assert patch.paste(30, 20).shape == (20, 30)


def test_visibility_tolerance_is_inclusive():
    depth = np.full((1, 1), 310, np.float32)
    assert visible_mask(depth, np.full((1, 1), 300, np.float32), np.eye(3), 10.0).all()
    assert not visible_mask(depth, np.full((1, 1), 299, np.float32), np.eye(3), 10.0).any()
