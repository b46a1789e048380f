"""Shading: Lambert's law, shadows, soft shadows, anti-aliasing where it belongs."""

import numpy as np
import pytest

from pose_models.geometry.transforms import from_rotation_translation
from pose_models.meshes.shapes import box, ellipsoid
from pose_models.render.scene import Body, SceneCaster, SceneHits, Shape
from pose_models.render.shading import (
    Camera,
    Lamp,
    Lighting,
    Materials,
    PixelLight,
    edges,
    light_received,
    pixel_pattern,
    shade,
    smooth_received,
    subpixel_rays,
)

BLACK = np.zeros(3, dtype=np.float32)
WHITE = np.ones(3, dtype=np.float32)


def _hits(normals):
    count = len(normals)
    zeros = np.zeros(count, dtype=np.int64)
    points = np.zeros((count, 3), dtype=np.float32)
    normals = np.asarray(normals, dtype=np.float32)
    return SceneHits(np.arange(count), zeros.astype(np.int32), zeros, zeros.astype(np.float32), points, points, normals)


def _materials(specular=0.0, shininess=20.0, metalness=0.0):
    return Materials(*(np.array([value], dtype=np.float32) for value in (specular, shininess, metalness)))


def test_brightness_follows_the_cosine_to_the_lamp():
    angles = np.radians([0, 30, 60, 89, 120])
    normals = np.stack([np.sin(angles), np.zeros(5), np.cos(angles)], axis=1)
    lighting = Lighting([Lamp(np.float32([0, 0, 1e6]), WHITE, 0.0)], BLACK, BLACK)
    view = np.tile(np.float32([0, 0, 1]), (5, 1))
    albedo = np.full((5, 3), 0.5, dtype=np.float32)
    radiance = shade(_hits(normals), view, albedo, _materials(), lighting, np.ones((5, 2), np.float32))
    expected = 0.5 * np.maximum(np.cos(angles), 0)
    np.testing.assert_allclose(radiance, np.repeat(expected[:, None], 3, axis=1), atol=1e-6)


def test_shadow_leaves_the_surroundings_light_only():
    lighting = Lighting([Lamp(np.float32([0, 0, 1e6]), WHITE, 0.0)], 0.4 * WHITE, 0.2 * WHITE)
    args = (_hits([[0, 0, 1]]), np.float32([[0, 0, 1]]), np.ones((1, 3), np.float32), _materials(), lighting)
    assert shade(*args, np.float32([[0, 1]]))[0, 0] == pytest.approx(0.4)
    assert shade(*args, np.float32([[1, 1]]))[0, 0] == pytest.approx(1.4)
    assert shade(*args, np.float32([[0, 0]]))[0, 0] == pytest.approx(0.1)  # a quarter when fully enclosed


def test_highlight_lies_where_the_lamp_is_mirrored():
    angles = np.radians([-40, -20, 0, 20, 40])
    view = np.stack([np.sin(angles), np.zeros(5), np.cos(angles)], axis=1).astype(np.float32)
    lamp = Lamp(np.float32([-1e6 * np.tan(np.radians(20)), 0, 1e6]), WHITE, 0.0)
    arguments = (_hits(np.tile([0, 0, 1], (5, 1))), view, np.zeros((5, 3), np.float32), _materials(0.5, 60.0))
    radiance = shade(*arguments, Lighting([lamp], BLACK, BLACK), np.ones((5, 2), np.float32))
    assert radiance[:, 0].argmax() == 3
    assert radiance[3, 0] > 10 * radiance[1, 0]


def test_lamp_of_some_size_gives_a_soft_shadow_edge():
    floor = Body(Shape(box([2000, 2000, 2])), from_rotation_translation(np.eye(3), [0, 0, -1]))
    wall = Body(Shape(box([500, 500, 2])), from_rotation_translation(np.eye(3), [250, 0, 100]))
    caster = SceneCaster([floor, wall])
    x = np.linspace(-60, 60, 400)
    origins = np.stack([x, np.zeros(400), np.full(400, 20.0)], axis=1).astype(np.float32)
    hits = caster.cast(origins, np.tile(np.float32([0, 0, -1]), (400, 1)))
    for radius, width in ((0.0, 2.0), (60.0, 40.0)):
        lighting = Lighting([Lamp(np.float32([0, 0, 300]), WHITE, radius)], BLACK, BLACK)
        share = np.mean([light_received(caster, hits, lighting, np.full(400, i))[:, 0] for i in range(16)], axis=0)
        assert share[x < -40].min() == 1
        assert share[x > 40].max() == 0
        partly = (share > 0.01) & (share < 0.99)
        assert (np.ptp(x[partly]) if partly.any() else 0.0) == pytest.approx(width, abs=width)
        assert partly.any() == (radius > 0)


def test_smoothing_stays_within_a_body_and_within_an_orientation():
    body = np.zeros((16, 16), dtype=np.int32)
    body[:, 8:] = 1
    normal = np.zeros((16, 16, 3), dtype=np.float32)
    normal[..., 2] = 1
    normal[8:] = [1, 0, 0]
    received = np.zeros((16, 16, 1), dtype=np.float32)
    received[:8, 8:] = 1
    np.testing.assert_array_equal(smooth_received(received, body, normal), received)


def test_smoothing_averages_the_whole_pattern():
    pattern = pixel_pattern(16, 16).reshape(16, 16, 1).astype(np.float32)
    flat = np.zeros((16, 16, 3), dtype=np.float32)
    flat[..., 2] = 1
    smooth = smooth_received(pattern, np.zeros((16, 16), np.int32), flat)
    np.testing.assert_allclose(smooth[4:-4, 4:-4], 7.5)


def test_edges_are_found_on_both_sides_of_a_change_only():
    body = np.zeros((6, 8), dtype=np.int32)
    body[:, 4:] = 1
    normal = np.zeros((6, 8, 3), dtype=np.float32)
    normal[..., 2] = 1
    found = edges(body, normal, np.full((6, 8), 100.0, np.float32))
    np.testing.assert_array_equal(np.flatnonzero(found.all(axis=0)), [3, 4])
    assert found.sum() == 12


def test_subpixel_rays_surround_the_pixel_centre():
    camera = Camera(np.array([[100.0, 0, 10], [0, 100.0, 5], [0, 0, 1]]), np.eye(4), 21, 11)
    chosen = np.array([5 * 21 + 10, 3])  # the principal point and pixel (3, 0)
    origins, directions = subpixel_rays(camera, chosen)
    assert origins.shape == (8, 3)
    uv = (directions[:, :2] * 100 + [10, 5]).reshape(2, 4, 2)
    np.testing.assert_allclose(uv.mean(axis=1), [[10, 5], [3, 0]], atol=1e-4)
    np.testing.assert_allclose(np.abs(uv - uv.mean(axis=1, keepdims=True)), 0.25, atol=1e-4)


def test_samples_at_an_edge_take_the_light_of_their_own_side():
    body = np.zeros((4, 4), dtype=np.int32)
    body[:, 2:] = 1
    body[:, 3] = 2
    normal = np.zeros((4, 4, 3), dtype=np.float32)
    normal[..., 2] = 1
    pixels = PixelLight(body, normal, np.arange(16, dtype=np.float32).reshape(4, 4, 1))
    hits = _hits(np.tile([0, 0, 1.0], (4, 1)))  # the four samples of one pixel, all on body 0
    received, known = pixels.at_samples(hits, np.array([4 * 1 + 2]))  # pixel (2, 1) itself shows body 1
    # Samples to the left (first and third) find body 0 in pixel (1, 1); those to the right find body 2 only.
    np.testing.assert_array_equal(known, [True, False, True, False])
    np.testing.assert_array_equal(received[:, 0], [5, 0, 5, 0])
    received, known = pixels.at_samples(hits, np.array([4 * 1 + 1]))
    assert known.all()
    np.testing.assert_array_equal(received[:, 0], 5)


def test_ambient_occlusion_darkens_a_concave_corner():
    floor = Body(Shape(box([400, 400, 2])), from_rotation_translation(np.eye(3), [0, 0, -1]))
    wall = Body(Shape(box([2, 400, 200])), from_rotation_translation(np.eye(3), [0, 0, 100]))
    ball = Body(Shape(ellipsoid([10, 10, 10])), from_rotation_translation(np.eye(3), [0, 150, 200]))
    caster = SceneCaster([floor, wall, ball])
    origins = np.repeat(np.float32([[3, 0, 50], [150, 0, 50]]), 16, axis=0)
    hits = caster.cast(origins, np.tile(np.float32([0, 0, -1]), (32, 1)))
    received = light_received(caster, hits, Lighting([], BLACK, BLACK), np.tile(np.arange(16), 2))
    near, far = received[:16, 0].mean(), received[16:, 0].mean()
    assert far == 1
    assert 0.3 <= near <= 0.7
