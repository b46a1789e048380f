"""Lambert and Blinn-Phong on batches: closed forms, several lights, gradients."""

import math

import numpy as np
import pytest
import torch

from pose_models.render.phong import Lights, shade

BLACK, WHITE = torch.zeros(3), torch.ones(3)


def one(*values):
    return torch.tensor([[[values]]], dtype=torch.float64)


@pytest.mark.parametrize("degrees", [0, 30, 60, 89, 120])
def test_lambert_is_the_cosine(degrees):
    angle = math.radians(degrees)
    lights = Lights(torch.tensor([[math.sin(angle), 0, -math.cos(angle), 0]]), WHITE[None], BLACK)
    got = shade(one(0.2, 0.5, 1.0), one(0.0, 0.0, -1.0), one(0.0, 0.0, 500.0), lights)
    expected = max(math.cos(angle), 0) * torch.tensor([0.2, 0.5, 1.0])
    torch.testing.assert_close(got[0, 0, 0], expected.double(), atol=1e-7, rtol=0)


def test_lamps_shine_from_where_they_are_and_directions_from_everywhere():
    positions, normals = one(300.0, 0.0, 400.0), one(0.0, 0.0, -1.0)
    lamp = Lights(torch.tensor([[0.0, 0, 0, 1]]), WHITE[None], BLACK)
    assert shade(one(1.0, 1.0, 1.0), normals, positions, lamp)[0, 0, 0, 0] == pytest.approx(0.8)
    sun = Lights(torch.tensor([[0.0, 0, -7, 0]]), WHITE[None], BLACK)
    assert shade(one(1.0, 1.0, 1.0), normals, positions, sun)[0, 0, 0, 0] == pytest.approx(1.0)


def test_the_headlight_of_rendered_solids():
    """spyropose.md 8.2: 0.1 + 0.85 max(0, -n.v), v from the camera to the point."""
    positions, normals = one(10.0, -20.0, 150.0), one(0.6, 0.0, -0.8)
    v = positions / positions.norm()
    lights = Lights(torch.tensor([[0.0, 0, 0, 1]]), torch.full((1, 3), 0.85), torch.full((3,), 0.1))
    expected = 0.1 + 0.85 * max(0.0, -(normals * v).sum().item())
    assert shade(one(1.0, 1.0, 1.0), normals, positions, lights)[0, 0, 0, 0] == pytest.approx(expected)


def test_highlights_are_highest_where_the_mirror_looks_at_the_light():
    angle, positions = math.radians(40), one(0.0, 0.0, 500.0)
    lights = Lights(torch.tensor([[math.sin(angle), 0, -math.cos(angle), 0]]), WHITE[None], BLACK)
    normals = [one(math.sin(x), 0.0, -math.cos(x)) for x in np.radians(np.arange(0, 41, 5))]
    gloss = [
        shade(one(0.0, 0.0, 0.0), normal, positions, lights, specular=0.5, shininess=30.0)[0, 0, 0, 0].item()
        for normal in normals
    ]
    assert int(np.argmax(gloss)) == 4  # 20 degrees: half way
    assert gloss[4] == pytest.approx(0.5)
    assert gloss[5] == pytest.approx(0.5 * math.cos(math.radians(5)) ** 30)


def test_lights_add_up_and_may_differ_between_images():
    rng = torch.Generator().manual_seed(0)
    albedo = torch.rand(2, 3, 4, 3, generator=rng)
    normals = torch.nn.functional.normalize(torch.randn(2, 3, 4, 3, generator=rng), dim=-1)
    positions = torch.randn(2, 3, 4, 3, generator=rng) * 30 + torch.tensor([0, 0, 400.0])
    place = torch.randn(2, 2, 4, generator=rng) * 300
    place[..., 3] = 1
    color, ambient = torch.rand(2, 2, 3, generator=rng), torch.rand(2, 3, generator=rng)
    both = shade(albedo, normals, positions, Lights(place, color, ambient), 0.3)
    dark = torch.zeros(2, 3)
    parts = [
        shade(albedo, normals, positions, Lights(place[:, i : i + 1], color[:, i : i + 1], dark), 0.3) for i in (0, 1)
    ]
    torch.testing.assert_close(both, parts[0] + parts[1] + albedo * ambient[:, None, None])
    second = shade(albedo[1:], normals[1:], positions[1:], Lights(place[1], color[1], ambient[1]), 0.3)
    torch.testing.assert_close(both[1:], second)


def test_gradients_are_those_of_finite_differences():
    rng = torch.Generator().manual_seed(1)
    inputs = [torch.rand(1, 2, 3, 3, dtype=torch.float64, generator=rng, requires_grad=True)]
    normals = torch.nn.functional.normalize(torch.randn(1, 2, 3, 3, dtype=torch.float64, generator=rng), dim=-1)
    inputs += [
        normals.requires_grad_(),
        (torch.rand(1, 2, 3, 3, dtype=torch.float64, generator=rng) * 50 + 300).requires_grad_(),
    ]
    place = torch.tensor([[50.0, -80, 20, 1], [0.3, 0.2, -1, 0]], dtype=torch.float64, requires_grad=True)
    color = torch.rand(2, 3, dtype=torch.float64, generator=rng, requires_grad=True)

    def light(albedo, n, x, place, color):
        return shade(albedo, n, x, Lights(place, color, torch.full((3,), 0.1, dtype=torch.float64)), 0.5, 8.0)

    assert torch.autograd.gradcheck(light, (*inputs, place, color), fast_mode=True)


def test_the_background_stays_black_with_a_finite_gradient():
    albedo = torch.zeros(1, 1, 1, 3, requires_grad=True)
    got = shade(
        albedo,
        torch.zeros(1, 1, 1, 3),
        torch.zeros(1, 1, 1, 3),
        Lights(torch.tensor([[0.0, 0, 1, 1]]), WHITE[None], WHITE),
        0.5,
    )
    assert not got.any()
    got.sum().backward()
    assert albedo.grad.isfinite().all()
