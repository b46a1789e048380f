"""Contours and silhouettes against shapes whose outline is known."""

import numpy as np
import pytest
import trimesh

from pose_models.geometry.transforms import from_rotation_translation
from pose_models.meshes.mesh import Mesh
from pose_models.render.raycast import RayCaster
from pose_models.report.contours import contours, mask_contours, polygon_mask, silhouette, silhouette_iou
from tests.report.conftest import cuboid

K = np.array([[300.0, 0, 79.5], [0, 300, 59.5], [0, 0, 1]])


def _sphere(radius: float) -> Mesh:
    solid = trimesh.creation.icosphere(subdivisions=5, radius=radius)
    return Mesh(np.asarray(solid.vertices), np.asarray(solid.faces))


def test_contour_of_a_sphere_is_its_circle():
    T = from_rotation_translation(np.eye(3), [0, 0, 500.0])
    (line,) = contours(RayCaster(_sphere(50)), K, T, 160, 120)
    radius = 300 * 50 / np.sqrt(500**2 - 50**2)  # tangent cone of a sphere on the axis
    distances = np.linalg.norm(line - [79.5, 59.5], axis=1)
    assert np.abs(distances - radius).max() < 0.35
    assert abs(distances.mean() - radius) < 0.2


def test_contour_of_a_facing_square_is_its_projection():
    T = from_rotation_translation(np.eye(3), [10.0, -5, 510])
    (line,) = contours(RayCaster(cuboid((80, 40, 20))), K, T, 160, 120)
    center, half = np.array([79.5 + 6, 59.5 - 3]), np.array([24.0, 12.0])  # the near face lies at 500 mm
    np.testing.assert_allclose(line.min(axis=0), center - half, atol=0.3)
    np.testing.assert_allclose(line.max(axis=0), center + half, atol=0.3)


def test_contour_does_not_depend_on_the_resolution_it_is_traced_at():
    T = from_rotation_translation(np.eye(3), [0.0, 0, 510])
    boxes = []
    for oversample in (2, 4, 8):
        (line,) = contours(RayCaster(cuboid((80, 40, 20))), K, T, 160, 120, oversample)
        boxes.append([*line.min(axis=0), *line.max(axis=0)])
    assert np.ptp(boxes, axis=0).max() < 0.5


def test_object_outside_or_without_pose_has_no_contour():
    caster = RayCaster(cuboid((80, 40, 20)))
    assert contours(caster, K, from_rotation_translation(np.eye(3), [900.0, 0, 500]), 160, 120) == []
    assert contours(caster, K, np.full((4, 4), np.nan), 160, 120) == []
    assert not silhouette(caster, K, np.full((4, 4), np.nan), 160, 120).any()


def test_object_cut_by_the_border_stays_inside():
    T = from_rotation_translation(np.eye(3), [120.0, 0, 500])
    (line,) = contours(RayCaster(cuboid((80, 40, 20))), K, T, 160, 120)
    assert line.max() <= 159.5


def test_object_around_the_camera_is_drawn_everywhere():
    assert silhouette(RayCaster(cuboid((80, 80, 80))), K, np.eye(4), 160, 120).all()
    assert contours(RayCaster(cuboid((80, 80, 80))), K, np.eye(4), 160, 120)


def test_hole_has_its_own_outline():
    mask = np.zeros((40, 40), bool)
    mask[5:35, 5:35] = True
    mask[15:25, 15:25] = False
    assert len(mask_contours(mask)) == 2


def test_polygon_mask_is_the_pixels_inside():
    mask = polygon_mask([[1.5, 2.5], [6.5, 2.5], [6.5, 5.5], [1.5, 5.5]], 10, 8)
    expected = np.zeros((8, 10), bool)
    expected[3:6, 2:7] = True
    np.testing.assert_array_equal(mask, expected)
    triangle = polygon_mask([[0, 0], [100, 0], [0, 100]], 100, 100)
    assert triangle.sum() == pytest.approx(5000, rel=0.02)


def test_silhouette_iou_of_shifted_squares():
    a, b = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    a[5:15, 5:15], b[5:15, 10:20] = True, True
    assert silhouette_iou(a, b) == pytest.approx(1 / 3)
    assert silhouette_iou(a, a) == 1
    assert silhouette_iou(np.zeros_like(a), np.zeros_like(a)) == 0
