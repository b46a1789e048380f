"""Interpolation on rendered pixels: against slow obvious computations, and gradients against finite differences."""

import dataclasses

import numpy as np
import pytest
import torch

from pose_models.geometry.transforms import from_rotation_translation, random_rotation
from pose_models.meshes.mesh import Mesh
from pose_models.meshes.shapes import box
from pose_models.render.renderer import Renderer
from pose_models.render.surfaces import GREY, sample_texture

SIZE = (48, 64)
K = torch.tensor([[150.0, 0, 32.0], [0, 155.0, 24.0], [0, 0, 1]], dtype=torch.float64)


@pytest.fixture(scope="module")
def painted():
    """A square plate with a 2 x 4 texture whose left half is wrapped around, and a box with vertex colours."""
    corners = np.array([[-20.0, -20, 0], [20, -20, 0], [20, 20, 0], [-20, 20, 0]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    # The plate's y axis points down in the image, v up: the upper left corner has v = 1.
    uv = np.array([[0.0, 1], [1, 1], [1, 0], [0, 0]])[faces]
    texture = np.arange(24, dtype=np.uint8).reshape(2, 4, 3) * 10
    colored = dataclasses.replace(box([30, 30, 30]), colors=np.arange(24, dtype=np.uint8).reshape(8, 3) * 10)
    return {1: Mesh(corners, faces, uv=uv, texture=texture), 2: colored, 3: box([20, 20, 20])}


def poses(count, seed=0):
    rng = np.random.default_rng(seed)
    t = rng.uniform([-15, -15, 150], [15, 15, 250], (count, 3))
    return torch.from_numpy(from_rotation_translation(random_rotation(rng, count), t))


@pytest.fixture(scope="module")
def scene(meshes):
    """Two images with three objects each: renderer, fragments, poses, image of each object."""
    renderer, T = Renderer(meshes), poses(6)
    image = [0, 1, 0, 1, 0, 1]
    return renderer, renderer.cast([2, 5, 9, 9, 5, 2], T, K.repeat(2, 1, 1), SIZE, image=image), T, image


def pixels(fragments):
    for b, j, i in fragments.mask.nonzero()[::5].tolist():
        yield (b, j, i), int(fragments.instance[b, j, i])


def test_coordinates_move_to_the_point_that_the_pixel_sees(scene):
    renderer, fragments, T, _ = scene
    local, moved = renderer.surfaces.coordinates(fragments), renderer.surfaces.positions(fragments, T)
    for at, n in pixels(fragments):
        point = T[n, :3, :3] @ local[at].double() + T[n, :3, 3]
        torch.testing.assert_close(moved[at].double(), point, atol=1e-3, rtol=0)
        assert moved[at][2] == pytest.approx(fragments.depth[at].item(), abs=1e-3)
        uvw = K @ point
        assert uvw[0] / uvw[2] == pytest.approx(at[2] + 0.5, abs=1e-3)
        assert uvw[1] / uvw[2] == pytest.approx(at[1] + 0.5, abs=1e-3)
    outside = ~fragments.mask
    assert outside.any()
    assert not local[outside].any()
    assert not moved[outside].any()


def test_vertex_values_are_weighted_means_of_the_right_vertices(scene, meshes):
    renderer, fragments, _, _ = scene
    values = torch.randn(len(renderer.surfaces.vertices), 2, generator=torch.Generator().manual_seed(0))
    got = renderer.surfaces.vertex_values(fragments, values)
    ids = [2, 5, 9, 9, 5, 2]
    for at, n in pixels(fragments):
        first = int(renderer.surfaces.first_vertex[list(meshes).index(ids[n])])
        triangle = meshes[ids[n]].faces[int(fragments.face[at])]
        expected = sum(w * values[first + k] for w, k in zip(fragments.barycentric[at], triangle, strict=True))
        torch.testing.assert_close(got[at], expected, atol=1e-5, rtol=1e-5)


def test_flat_normals_are_those_of_the_faces_and_look_at_the_camera(scene, meshes):
    renderer, fragments, T, _ = scene
    flat = renderer.surfaces.normals(fragments, T, smooth=False)
    smooth = renderer.surfaces.normals(fragments, T)
    positions = renderer.surfaces.positions(fragments, T)
    mask = fragments.mask
    assert ((flat * positions).sum(dim=-1)[mask] < 1e-3).all()
    ids = [2, 5, 9, 9, 5, 2]
    for at, n in pixels(fragments):
        normal = T[n, :3, :3] @ torch.from_numpy(meshes[ids[n]].face_normals()[int(fragments.face[at])])
        torch.testing.assert_close(flat[at].double(), normal, atol=1e-5, rtol=0)  # closed meshes: outside is seen
    torch.testing.assert_close(smooth.norm(dim=-1)[mask], torch.ones(int(mask.sum())), atol=1e-5, rtol=0)
    assert not smooth[~mask].any()
    # A box has only sharp edges, the bumpy ball only flat ones.
    kinds = fragments.per_pixel(fragments.mesh)
    torch.testing.assert_close(smooth[mask & (kinds == 0)], flat[mask & (kinds == 0)], atol=1e-5, rtol=0)
    assert (smooth - flat)[mask & (kinds == 1)].norm(dim=-1).mean() > 0.02


@pytest.mark.parametrize("smooth", [False, True])
def test_normals_of_a_mesh_turned_inside_out_look_at_the_camera_too(meshes, smooth):
    outside, T = meshes[2], poses(1, 3)
    seen = []
    for mesh in (outside, dataclasses.replace(outside, faces=np.ascontiguousarray(outside.faces[:, ::-1]))):
        renderer = Renderer({1: mesh})
        fragments = renderer.cast([1], T, K[None], SIZE)
        seen.append(renderer.surfaces.normals(fragments, T, smooth))
    assert seen[0].any()
    torch.testing.assert_close(seen[0], seen[1], atol=1e-5, rtol=0)


def test_weights_in_the_image_plane_are_those_of_the_projected_triangle(scene, meshes):
    renderer, fragments, T, _ = scene
    weights = renderer.surfaces.screen_barycentric(fragments, T)
    ids = [2, 5, 9, 9, 5, 2]
    for at, n in pixels(fragments):
        corners = meshes[ids[n]].vertices[meshes[ids[n]].faces[int(fragments.face[at])]]
        uvw = (corners @ T[n, :3, :3].numpy().T + T[n, :3, 3].numpy()) @ K.numpy().T
        seen = weights[at].double().numpy() @ (uvw[:, :2] / uvw[:, 2:])
        np.testing.assert_allclose(seen, [at[2] + 0.5, at[1] + 0.5], atol=2e-3)
    assert not weights[~fragments.mask].any()


def test_colours_come_from_texture_vertices_or_neither(painted):
    renderer = Renderer(painted)
    T = torch.eye(4, dtype=torch.float64).repeat(3, 1, 1)
    T[:, 2, 3] = 150
    square = torch.tensor([[150.0, 0, 32], [0, 150, 24], [0, 0, 1]])
    fragments = renderer.cast([1, 2, 3], T, square.repeat(3, 1, 1), SIZE)
    colors = renderer.surfaces.colors(fragments)
    assert not colors[~fragments.mask].any()
    grey = colors[2][fragments.mask[2]]
    torch.testing.assert_close(grey, torch.full_like(grey, GREY))
    expected = renderer.surfaces.vertex_values(fragments, renderer.surfaces.vertex_colors)[1]
    torch.testing.assert_close(colors[1], expected)
    # The plate covers columns 12..51 and rows 4..43: a texel is 10 x 20 px, a twentieth of it its neighbours.
    texture = torch.from_numpy(painted[1].texture).float() / 255
    for row in range(2):
        for column in range(4):
            middle = colors[0, 20 * row + 13 : 20 * row + 15, 10 * column + 16 : 10 * column + 18]
            torch.testing.assert_close(middle.mean(dim=(0, 1)), texture[row, column], atol=0.04, rtol=0)


def test_textures_repeat_and_blend_like_a_double_loop():
    rng = np.random.default_rng(0)
    first, second = rng.random((3, 5, 3)), rng.random((4, 2, 3))
    texels = torch.from_numpy(np.concatenate([first.reshape(-1, 3), second.reshape(-1, 3)]))
    uv = torch.from_numpy(rng.uniform(-1.5, 1.5, (40, 2)))
    for image, start in ((first, 0), (second, 15)):
        h, w = image.shape[:2]
        got = sample_texture(texels, torch.tensor([start, h, w]).expand(40, 3), uv).numpy()
        for (u, v), color in zip(uv.numpy(), got, strict=True):
            x, y = u * w - 0.5, (1 - v) * h - 0.5
            i, j = int(np.floor(x)), int(np.floor(y))
            expected = sum(
                image[(j + dj) % h, (i + di) % w] * (x - i if di else 1 - x + i) * (y - j if dj else 1 - y + j)
                for di in (0, 1)
                for dj in (0, 1)
            )
            np.testing.assert_allclose(color, expected, atol=1e-12)


def test_gradients_are_those_of_finite_differences(scene):
    renderer, fragments, T, _ = scene
    surfaces = renderer.surfaces
    small = dataclasses.replace(
        fragments, **{f: getattr(fragments, f)[:, ::9, ::9].contiguous() for f in ("depth", "instance", "face")},
        barycentric=fragments.barycentric[:, ::9, ::9].double(),
    )  # fmt: skip
    assert small.mask.sum() > 5
    rng = torch.Generator().manual_seed(0)
    values = torch.randn(len(surfaces.vertices), 2, dtype=torch.float64, generator=rng, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: surfaces.vertex_values(small, x), values, fast_mode=True)
    double = Renderer(renderer.meshes).surfaces
    double.vertices, double.corner_normals = surfaces.vertices.double(), surfaces.corner_normals.double()
    double.face_normals = surfaces.face_normals.double()
    moving = T.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: double.positions(small, x), moving, fast_mode=True)
    assert torch.autograd.gradcheck(lambda x: double.normals(small, x), moving, fast_mode=True)
    assert torch.autograd.gradcheck(lambda x: double.screen_barycentric(small, x), moving, fast_mode=True)
    texels = torch.rand(12, 3, dtype=torch.float64, generator=rng, requires_grad=True)
    uv = torch.rand(9, 2, dtype=torch.float64, generator=rng, requires_grad=True)
    place = torch.tensor([0, 3, 4]).expand(9, 3)
    assert torch.autograd.gradcheck(lambda t, x: sample_texture(t, place, x), (texels, uv), fast_mode=True)


def test_nothing_cast_interpolates_to_nothing(meshes):
    renderer = Renderer(meshes)
    fragments = renderer.cast([], torch.zeros(0, 4, 4), K[None], SIZE, image=[])
    for values in (
        renderer.surfaces.coordinates(fragments),
        renderer.surfaces.colors(fragments),
        renderer.surfaces.normals(fragments, torch.zeros(0, 4, 4)),
        renderer.surfaces.screen_barycentric(fragments, torch.zeros(0, 4, 4)),
    ):
        assert values.shape == (1, *SIZE, 3)
        assert not values.any()
