"""Scene-level ray casting: identity, depth, shadows, against the caster of single meshes and against geometry."""

import numpy as np
import pytest

from pose_models.geometry.transforms import apply, from_rotation_translation, invert, random_rotation
from pose_models.meshes.shapes import box, cylinder, ellipsoid
from pose_models.render.raycast import RayCaster
from pose_models.render.scene import Body, SceneCaster, Shape, camera_rays

K = np.array([[300.0, 0, 79.5], [0, 310.0, 59.5], [0, 0, 1]])
SIZE = (160, 120)


def _place(x, y, z, R=None):
    return from_rotation_translation(np.eye(3) if R is None else R, [x, y, z])


def _image(values, ray, fill):
    image = np.full((SIZE[0] * SIZE[1], *values.shape[1:]), fill, dtype=values.dtype)
    image[ray] = values
    return image.reshape(SIZE[1], SIZE[0], *values.shape[1:])


@pytest.fixture
def scene():
    """Three bodies in a world turned against the camera: (meshes, T_world_obj, T_cam_world)."""
    rng = np.random.default_rng(0)
    meshes = [box([60, 40, 30]), cylinder([40, 40, 70], 0.5), ellipsoid([50, 50, 80])]
    T_cam_obj = [_place(-20, 5, 420, random_rotation(rng)), _place(25, -10, 450, random_rotation(rng))]
    T_cam_obj.append(_place(10, 20, 520, random_rotation(rng)))
    T_cam_world = from_rotation_translation(random_rotation(rng), [50, -80, 300])
    return meshes, [invert(T_cam_world) @ T for T in T_cam_obj], T_cam_world


def _cast(scene):
    meshes, placed, T_cam_world = scene
    caster = SceneCaster([Body(Shape(mesh), T) for mesh, T in zip(meshes, placed, strict=True)])
    origins, directions = camera_rays(K, T_cam_world, size=SIZE)
    return caster, caster.cast(origins, directions)


def test_nearest_body_is_seen_with_the_depth_of_the_single_mesh_caster(scene):
    meshes, placed, T_cam_world = scene
    _, hits = _cast(scene)
    alone = np.stack(
        [RayCaster(mesh).cast(K, T_cam_world @ T, *SIZE).depth for mesh, T in zip(meshes, placed, strict=True)]
    )
    far = np.where(alone > 0, alone, np.inf)
    expected = np.where(np.isfinite(far.min(axis=0)), far.argmin(axis=0), -1)
    body = _image(hits.body, hits.ray, -1)
    assert len(np.unique(body)) == 4
    assert (body == expected).mean() > 0.999  # outlines may differ by float32 rounding
    same = (body == expected) & (body >= 0)
    np.testing.assert_allclose(_image(hits.depth, hits.ray, 0)[same], far.min(axis=0)[same], atol=0.01)


def test_hits_project_back_to_their_pixels_and_lie_on_their_bodies(scene):
    _, placed, T_cam_world = scene
    caster, hits = _cast(scene)
    in_camera = apply(T_cam_world, hits.position)
    uv = in_camera @ K.T
    uv = uv[:, :2] / uv[:, 2:]
    np.testing.assert_allclose(uv, np.stack([hits.ray % SIZE[0], hits.ray // SIZE[0]], axis=1), atol=5e-3)
    np.testing.assert_allclose(in_camera[:, 2], hits.depth, atol=5e-3)
    local = caster.local_positions(hits)
    for index, T in enumerate(placed):
        chosen = hits.body == index
        np.testing.assert_allclose(apply(T, local[chosen]), hits.position[chosen], atol=5e-3)


def test_sides_name_the_axis_that_faces_look_along(scene):
    caster, hits = _cast(scene)
    chosen = hits.body == 0  # the box
    local, side = caster.local_positions(hits)[chosen], caster.sides(hits)[chosen]
    half = np.array([30, 20, 15])
    reached = local[np.arange(len(local)), side // 2] / half[side // 2]
    np.testing.assert_allclose(reached, np.where(side % 2, -1, 1), atol=1e-3)


def test_normals_face_the_camera_also_on_a_mesh_turned_inside_out():
    mesh = box([50, 50, 50])
    inverted = type(mesh)(mesh.vertices, mesh.faces[:, ::-1].copy())
    for shape in (Shape(mesh), Shape(inverted)):
        caster = SceneCaster([Body(shape, _place(0, 0, 300, random_rotation(np.random.default_rng(1))))])
        origins, directions = camera_rays(K, np.eye(4), size=SIZE)
        hits = caster.cast(origins, directions)
        assert ((hits.normal * directions[hits.ray]).sum(axis=1) < 0).all()


def test_a_body_between_surface_and_lamp_casts_a_shadow_of_the_right_size():
    floor = Shape(box([2000, 2000, 2]))
    blocker = Shape(box([40, 40, 2]))
    caster = SceneCaster([Body(floor, _place(0, 0, -1)), Body(blocker, _place(0, 0, 100))])
    x, y = np.meshgrid(np.arange(-100, 101, 2.0), np.arange(-100, 101, 2.0))
    origins = np.stack([x.ravel(), y.ravel(), np.full(x.size, 50.0)], axis=1).astype(np.float32)
    down = np.broadcast_to(np.float32([0, 0, -1]), origins.shape).copy()
    hits = caster.cast(origins, down)
    lamp = np.float32([0, 0, 200])
    lit = caster.is_lit(hits, lamp - hits.position)
    # Seen from the lamp at 200 mm, the 40 mm square at 99..101 mm covers a 40 / 0.495 = 80.8 mm square of the floor.
    inside = (np.abs(hits.position[:, :2]) < 39.5).all(axis=1)
    outside = (np.abs(hits.position[:, :2]) > 41.5).any(axis=1)
    assert not lit[inside].any()
    assert lit[outside].all()


def test_what_lies_behind_the_lamp_casts_no_shadow():
    caster = SceneCaster(
        [Body(Shape(box([200, 200, 2])), _place(0, 0, -1)), Body(Shape(box([500, 500, 2])), _place(0, 0, 100))]
    )
    hits = caster.cast(np.float32([[0, 0, 50]]), np.float32([[0, 0, -1]]))
    assert caster.is_lit(hits, np.float32([[0, 0, 90]]))[0]
    assert not caster.is_lit(hits, np.float32([[0, 0, 110]]))[0]


def test_rays_that_meet_nothing_are_left_out():
    caster = SceneCaster([Body(Shape(box([10, 10, 10])), _place(0, 0, 300))])
    hits = caster.cast(np.zeros((2, 3), np.float32), np.float32([[0, 0, -1], [0, 0, 1]]))
    np.testing.assert_array_equal(hits.ray, [1])
    assert hits.depth[0] == pytest.approx(295)
