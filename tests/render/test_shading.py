"""Shading: Lambert's law, highlights, shadows, soft shadows, anti-aliasing; compiled loops against plain numpy."""

import numpy as np
import pytest

from pose_models.geometry.transforms import from_rotation_translation, invert, random_rotation
from pose_models.meshes.mesh import Mesh
from pose_models.meshes.shapes import box, cylinder, ellipsoid
from pose_models.render.scene import Body, SceneCaster, Shape, camera_rays
from pose_models.render.shading import (
    Appearance,
    Camera,
    Lamp,
    Lighting,
    Materials,
    Paint,
    albedo_at,
    edges,
    light_received,
    render,
    see,
    smooth_light,
    subpixel_rays,
)
from tests.render import shading_twin as twin

BLACK = np.zeros(3, dtype=np.float32)
WHITE = np.ones(3, dtype=np.float32)
DOWN = np.diag([1.0, -1.0, -1.0])  # a camera that looks along -z


def _plain(value):
    return Paint(np.full((6, 3), value, dtype=np.float32))


def _materials(count, specular=0.0, shininess=20.0, metalness=0.0):
    return Materials(*(np.full(count, value, dtype=np.float32) for value in (specular, shininess, metalness)))


def _above(height, width, rows, focal=None):
    """A camera `height` mm above the origin that looks straight down."""
    focal = focal or 1.5 * width
    K = np.array([[focal, 0, (width - 1) / 2], [0, focal, (rows - 1) / 2], [0, 0, 1.0]])
    return Camera(K, invert(from_rotation_translation(DOWN, [0, 0, height])), width, rows)


def _appearance(camera, paints, materials, lighting, textures=None):
    textures = np.ones((1, 2, 2, 3), np.float32) if textures is None else textures
    background = np.zeros((camera.height, camera.width, 3), np.float32)
    return Appearance(paints, textures, materials, lighting, background)


def _plate(R=None, size=4000.0):
    return Body(Shape(box([size, size, 2])), from_rotation_translation(np.eye(3) if R is None else R, [0, 0, -1]))


def _look(bodies, lighting, camera, albedo=0.5, **material):
    paints = [_plain(albedo) for _ in bodies]
    return render(
        SceneCaster(bodies), camera, _appearance(camera, paints, _materials(len(bodies), **material), lighting)
    )


@pytest.mark.parametrize("degrees", [0, 30, 60, 85])
def test_brightness_follows_the_cosine_to_the_lamp(degrees):
    angle = np.radians(degrees)
    lamp = Lamp(np.float32([1e5 * np.sin(angle), 0, 1e5 * np.cos(angle)]), WHITE, 0.0)
    picture = _look([_plate()], Lighting([lamp], BLACK, BLACK), _above(500, 16, 12))
    np.testing.assert_allclose(picture.radiance, 0.5 * np.cos(angle), rtol=0.01, atol=1e-4)


def test_shadow_leaves_the_surroundings_light_only():
    roof = Body(Shape(box([900, 900, 2])), from_rotation_translation(np.eye(3), [0, 0, 600]))
    lamp = Lamp(np.float32([0, 0, 5000]), WHITE, 0.0)
    lighting = Lighting([lamp], 0.4 * WHITE, 0.2 * WHITE)
    camera = _above(500, 16, 12)
    lit = _look([_plate()], lighting, camera, 0.9).radiance[6, 8]
    dark = _look([_plate(), roof], lighting, camera, 0.9).radiance[6, 8]
    np.testing.assert_allclose(lit, 0.9 * 1.4, rtol=0.01)
    np.testing.assert_allclose(dark, 0.9 * 0.4, rtol=0.01)


def test_highlight_lies_where_the_lamp_is_mirrored():
    camera = _above(500, 81, 61)
    lamp = Lamp(np.float32([200, 0, 500]), WHITE, 0.0)  # mirrored at x = 100
    image = _look([_plate()], Lighting([lamp], BLACK, BLACK), camera, 0.01, specular=0.5, shininess=60.0).radiance
    row, column = np.unravel_index(image[..., 0].argmax(), image.shape[:2])
    assert abs(row - 30) <= 1
    assert column == pytest.approx(40 + 100 / 500 * camera.K[0, 0], abs=3)  # the plate's colour has its peak elsewhere


def test_lamp_of_some_size_gives_a_soft_shadow_edge():
    wall = Body(Shape(box([500, 900, 2])), from_rotation_translation(np.eye(3), [250, 0, 600]))
    camera = _above(500, 161, 61)
    widths = {}
    for radius in (0.0, 300.0):
        lamp = Lamp(np.float32([0, 0, 1800]), WHITE, radius)
        row = _look([_plate(), wall], Lighting([lamp], BLACK, BLACK), camera, 0.9).radiance[30, :, 0]
        row = row / row.max()
        assert row[:8].min() > 0.95
        assert row[-8:].max() == 0
        widths[radius] = int(((row > 0.05) & (row < 0.9)).sum())
    assert widths[0.0] <= 12  # light is averaged over 8 pixels
    assert widths[300.0] > 2 * widths[0.0]


def test_ambient_occlusion_darkens_a_concave_corner():
    wall = Body(Shape(box([200, 800, 400])), from_rotation_translation(np.eye(3), [100, 0, 200]))
    camera = _above(900, 161, 61)
    row = _look([_plate(), wall], Lighting([], WHITE, WHITE), camera, 0.9).radiance[30, :, 0]
    assert row[2] == pytest.approx(0.9, rel=0.02)
    assert 0.5 * 0.9 < row[77] < 0.85 * 0.9  # about half of what is around is hidden; a quarter stays in any case


@pytest.fixture
def scene():
    """Bodies of all kinds of paint in a turned world, with their pictures' parts."""
    rng = np.random.default_rng(0)
    meshes = [box([60, 40, 30]), cylinder([40, 40, 70], 0.5), ellipsoid([50, 50, 80])]
    colors = rng.integers(0, 256, (len(meshes[1].vertices), 3), dtype=np.uint8)
    meshes[1] = Mesh(meshes[1].vertices, meshes[1].faces, colors)
    places = [(-20, 5, 420), (25, -10, 450), (10, 20, 520)]
    T_cam_world = from_rotation_translation(random_rotation(rng), [50, -80, 300])
    T_cam_obj = [from_rotation_translation(random_rotation(rng), place) for place in places]
    caster = SceneCaster([Body(Shape(m), invert(T_cam_world) @ T) for m, T in zip(meshes, T_cam_obj, strict=True)])
    K = np.array([[300.0, 0, 49.5], [0, 310.0, 39.5], [0, 0, 1]])
    camera = Camera(K, T_cam_world, 100, 80)
    f4 = np.float32
    paints = [
        Paint(rng.uniform(0.2, 1.4, (6, 3)).astype(f4), 1, 1.7, rng.uniform(0, 16, (6, 2)).astype(f4)),
        Paint(np.ones((6, 3), f4), keeps_own=True),
        Paint(rng.uniform(0, 1, (6, 3)).astype(f4)),
    ]
    textures = rng.random((3, 16, 16, 3), dtype=f4)
    lamps = [Lamp((invert(T_cam_world) @ [*place, 1])[:3].astype(f4), rng.random(3, dtype=f4), 10.0)
             for place in [(-300, -500, 0), (400, -200, 300)]]  # fmt: skip
    lighting = Lighting(lamps, f4([0.3, 0.4, 0.5]), f4([0.2, 0.1, 0.1]))
    materials = Materials(f4([0.5, 0.3, 0.8]), f4([8, 60, 30]), f4([0.0, 0.6, 0.3]))
    return caster, camera, Appearance(paints, textures, materials, lighting, rng.random((80, 100, 3), dtype=f4))


def test_pixel_centres_see_what_rays_meet(scene):
    """Rasterising against Embree: same faces, weights and depths but for pixels on an outline."""
    caster, camera, _ = scene
    seen = see(caster, camera)
    met = caster.query(*camera_rays(camera.K, camera.T_cam_world, size=(camera.width, camera.height)))
    assert (seen.body == met.body).mean() > 0.999
    same = (seen.body == met.body) & (seen.face == met.face) & (seen.body >= 0)
    assert same.sum() > 0.98 * (met.body >= 0).sum()  # neighbours share the pixels on their common edge
    np.testing.assert_allclose(seen.depth[same], met.depth[same], atol=0.01)
    np.testing.assert_allclose(seen.u[same], met.u[same], atol=2e-3)
    np.testing.assert_allclose(seen.v[same], met.v[same], atol=2e-3)
    assert not seen.depth[seen.body < 0].any()


def test_a_floor_that_reaches_behind_the_camera_fills_the_view_up_to_its_horizon():
    K = np.array([[100.0, 0, 39.5], [0, 100.0, 29.5], [0, 0, 1]])
    R_world_cam = np.stack([[1, 0, 0], [0, 0, -1], [0, 1, 0]], axis=1)  # level, along +y
    camera = Camera(K, invert(from_rotation_translation(R_world_cam, [0, 0, 200])), 80, 60)
    caster = SceneCaster([_plate(size=1e6)])
    seen = see(caster, camera)
    met = caster.query(*camera_rays(K, camera.T_cam_world, size=(80, 60)))
    np.testing.assert_array_equal(seen.body, met.body)
    assert (seen.body.reshape(60, 80)[:29] == -1).all()
    assert (seen.body.reshape(60, 80)[31:] == 0).all()
    np.testing.assert_allclose(seen.depth.reshape(60, 80)[-1], 200 / (29.5 / 100), rtol=1e-4)


def test_albedo_is_that_of_plain_numpy(scene):
    caster, camera, appearance = scene
    rays = camera_rays(camera.K, camera.T_cam_world, size=(camera.width, camera.height))
    hits = caster.cast(*rays)
    assert len(np.unique(hits.body)) == 3
    found = albedo_at(caster, caster.query(*rays), appearance)[hits.ray]
    np.testing.assert_allclose(found, twin.albedo(caster, hits, appearance.paints, appearance.textures), atol=2e-3)


def _textured_plate(texture):
    """A square of 200 mm in z = 0 that faces up; its texture's lower left corner lies at (-100, -100)."""
    corners = 100.0 * np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    return Mesh(corners, faces, uv=(corners[faces][..., :2] + 100) / 200, texture=texture)


def test_a_model_shows_its_own_texture_the_right_way_up():
    """Four fields of sRGB colours: upper left red, upper right green, lower left blue, lower right grey."""
    fields = np.array([[[200, 20, 20], [20, 200, 20]], [[20, 20, 200], [128, 128, 128]]], dtype=np.uint8)
    texture = fields.repeat(50, axis=0).repeat(50, axis=1)
    camera = _above(500, 81, 61, focal=150)
    shapes = [Shape(_textured_plate(texture)), Shape(_textured_plate(texture.repeat(12, axis=0)))]
    for shape in shapes:  # the second is larger than TEXTURE_LIMIT, and so reduced
        assert shape.has_colors
        paints = [Paint(np.ones((6, 3), np.float32), keeps_own=True)]
        look = _appearance(camera, paints, _materials(1), Lighting([], WHITE, WHITE))
        radiance = render(SceneCaster([Body(shape, np.eye(4))]), camera, look).radiance
        seen = [[radiance[15, 25], radiance[15, 55]], [radiance[45, 25], radiance[45, 55]]]
        linear = ((fields / 255 + 0.055) / 1.055) ** 2.4  # IEC 61966-2-1
        np.testing.assert_allclose(seen, np.maximum(linear, 0.01), atol=3e-3)
    assert shapes[1].texture.shape == (512, 43, 3)
    plain = _appearance(camera, [_plain(0.5)], _materials(1), Lighting([], WHITE, WHITE))
    radiance = render(SceneCaster([Body(shapes[0], np.eye(4))]), camera, plain).radiance
    np.testing.assert_allclose(radiance[15, 25], 0.5, atol=1e-3)


def test_textures_are_interpolated_between_texels_and_repeat():
    texture = np.zeros((1, 4, 3), dtype=np.uint8)
    texture[0, :2] = 255
    mesh = _textured_plate(texture)
    camera = _above(500, 101, 11, focal=250)  # half a pixel per mm: texel centres 25 px apart, the first at 12.5
    row = []
    for shift in (0.0, 3.0):
        body = Body(Shape(Mesh(mesh.vertices, mesh.faces, uv=mesh.uv + shift, texture=texture)), np.eye(4))
        look = _appearance(
            camera, [Paint(np.full((6, 3), 0.9, np.float32), keeps_own=True)], _materials(1), Lighting([], WHITE, WHITE)
        )
        row.append(render(SceneCaster([body]), camera, look).radiance[5, :, 0])
    x = np.arange(1, 100) / 25 - 0.5
    value = np.interp(x, [-1, 0, 1, 2, 3, 4], [0, 1, 1, 0, 0, 1])
    np.testing.assert_allclose(row[0][1:100], np.maximum(0.9 * value, 0.01), atol=5e-3)
    np.testing.assert_allclose(row[1][1:100], row[0][1:100], atol=1e-3)


def test_radiance_away_from_edges_is_that_of_plain_numpy(scene):
    caster, camera, appearance = scene
    picture = render(caster, camera, appearance)
    origins, directions = camera_rays(camera.K, camera.T_cam_world, size=(camera.width, camera.height))
    hits = caster.cast(origins, directions)
    body, depth = picture.body, picture.depth
    normal = np.zeros((camera.height, camera.width, 3), np.float32)
    normal.reshape(-1, 3)[hits.ray] = hits.normal
    raw = light_received(caster, camera, directions, body, depth, normal, appearance.lighting)
    smooth = twin.smooth_light(raw, body, normal)
    # Pixels of even row and column are cells: their light is not interpolated.
    is_cell = np.zeros(body.shape, dtype=bool)
    is_cell[::2, ::2] = True
    chosen = (is_cell & ~twin.edges(body, normal, depth)).ravel()[hits.ray]
    view = -directions[hits.ray] / np.linalg.norm(directions[hits.ray], axis=1, keepdims=True)
    albedo = twin.albedo(caster, hits, appearance.paints, appearance.textures)
    received = smooth.reshape(-1, smooth.shape[-1])[(hits.ray // 100 // 2) * 50 + hits.ray % 100 // 2]
    expected = twin.radiance(
        hits.position, hits.normal, view, albedo, hits.body, appearance.materials, appearance.lighting, received
    )
    assert chosen.sum() > 200
    np.testing.assert_allclose(picture.radiance.reshape(-1, 3)[hits.ray][chosen], expected[chosen], atol=3e-3)
    far = (body < 0) & ~twin.edges(body, normal, depth)
    np.testing.assert_array_equal(picture.radiance[far], appearance.background[far])


def test_smoothing_and_edges_are_those_of_plain_numpy(scene):
    caster, camera, appearance = scene
    picture = render(caster, camera, appearance)
    rng = np.random.default_rng(1)
    normal = rng.standard_normal((80, 100, 3)).astype(np.float32) * 0.2 + np.float32([0, 0, 1])
    normal /= np.linalg.norm(normal, axis=2, keepdims=True)
    received = rng.integers(0, 2, (40, 50, 3)).astype(np.float32)
    smooth, is_plain = smooth_light(received, picture.body, normal)
    cells = picture.body[::2, ::2]
    same = (
        (cells[:-1, :-1] == cells[1:, :-1]) & (cells[:-1, :-1] == cells[:-1, 1:]) & (cells[:-1, :-1] == cells[1:, 1:])
    )
    assert not is_plain[:-1, :-1][~same | (cells[:-1, :-1] < 0)].any()
    assert is_plain.any()
    np.testing.assert_allclose(smooth, twin.smooth_light(received, picture.body, normal), atol=1e-6)
    expected = np.flatnonzero(twin.edges(picture.body, normal, picture.depth))
    np.testing.assert_array_equal(np.sort(edges(picture.body, normal, picture.depth)), expected)


def test_edge_pixels_approach_full_supersampling(scene):
    """Silhouettes are the mean of their samples: nearer to 8 x 8 supersampling than pixel centres alone."""
    caster, camera, appearance = scene
    flat = Appearance(
        [_plain(0.9)] * 3, appearance.textures, _materials(3), Lighting([], WHITE, WHITE), 0 * appearance.background
    )
    picture = render(caster, camera, flat)
    u, v = np.meshgrid((np.arange(800) + 0.5) / 8 - 0.5, (np.arange(640) + 0.5) / 8 - 0.5)
    uv = np.stack([u, v], axis=-1).reshape(-1, 2).astype(np.float32)
    seen = caster.query(*camera_rays(camera.K, camera.T_cam_world, uv)).body >= 0
    cover = seen.reshape(80, 8, 100, 8).mean(axis=(1, 3))
    outline = (cover > 0) & (cover < 1)
    ours = np.clip(picture.radiance[..., 0] / 0.9, 0, 1)
    assert np.abs(ours - cover)[outline].mean() < 0.6 * np.abs((picture.body >= 0) - cover)[outline].mean()


def test_light_does_not_cross_to_another_body_or_orientation():
    body = np.zeros((32, 32), dtype=np.int32)
    body[:, 16:] = 1
    normal = np.zeros((32, 32, 3), dtype=np.float32)
    normal[..., 2] = 1
    normal[16:] = [1, 0, 0]
    received = np.zeros((16, 16, 1), dtype=np.float32)
    received[:8, 8:] = 1
    np.testing.assert_array_equal(smooth_light(received, body, normal)[0], received)


def test_subpixel_rays_surround_the_pixel_centre():
    camera = Camera(np.array([[100.0, 0, 10], [0, 100.0, 5], [0, 0, 1]]), np.eye(4), 21, 11)
    chosen = np.array([5 * 21 + 10, 3])  # the principal point and pixel (3, 0)
    origins, directions = subpixel_rays(camera, chosen)
    assert origins.shape == (8, 3)
    uv = (directions[:, :2] * 100 + [10, 5]).reshape(2, 4, 2)
    np.testing.assert_allclose(uv.mean(axis=1), [[10, 5], [3, 0]], atol=1e-4)
    np.testing.assert_allclose(np.abs(uv - uv.mean(axis=1, keepdims=True)), 0.25, atol=1e-4)


def test_a_view_of_nothing_is_background():
    camera = _above(500, 20, 15)
    behind = Body(Shape(box([10, 10, 10])), from_rotation_translation(np.eye(3), [0, 0, 900]))
    picture = _look([behind], Lighting([], WHITE, WHITE), camera)
    assert (picture.body == -1).all()
    assert not picture.radiance.any()
    assert not picture.depth.any()
