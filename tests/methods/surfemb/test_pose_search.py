"""Sampling, scoring and refinement against slow obvious twins and known answers."""

import dataclasses

import numpy as np
import pytest
import scipy.stats
import torch

from pose_models.geometry.cameras import project
from pose_models.geometry.transforms import from_rotation_translation, random_rotation, rotation_angle
from pose_models.meshes.shapes import box
from pose_models.methods.surfemb import correlation
from pose_models.methods.surfemb.config import InferSettings
from pose_models.methods.surfemb.correlation import GROUP, log_sum_exp
from pose_models.methods.surfemb.estimate import Surface, visible_points
from pose_models.methods.surfemb.hypotheses import plausible_size, pose_hypotheses
from pose_models.methods.surfemb.keys import Sphere
from pose_models.methods.surfemb.maps import make_maps, sample_correspondences
from pose_models.methods.surfemb.refine import (
    LATTICE_SHIFT,
    Chart,
    CompiledObjective,
    make_objective,
    refine_pose,
    rotation_matrix,
)
from pose_models.methods.surfemb.scoring import score_poses, score_poses_torch
from pose_models.render.raycast import RayCaster

K = np.array([[180.0, 0, 31.5], [0, 180, 31.5], [0, 0, 1]])


def _maps(rng, side=24, points=300, **options):
    queries = torch.from_numpy(rng.normal(size=(side, side, 12)).astype(np.float32))
    keys = torch.from_numpy(rng.normal(size=(points, 12)).astype(np.float32))
    logits = torch.from_numpy(rng.normal(size=(side, side)).astype(np.float32))
    return make_maps(logits, queries, keys, K, 3, **options), keys


def _joint(maps, keys):
    """Weights (n, m) of all pairs, in float64 and the obvious way."""
    prob = torch.softmax(maps.queries.double() @ keys.double().T, dim=1)
    return (maps.mask_prob.double()[:, None] * prob) ** maps.alpha


@pytest.mark.parametrize("alpha", [1.5, 1.0, 3.0])
@pytest.mark.parametrize("scale", [1, 30])
def test_streamed_sums_equal_those_of_the_whole_matrix(monkeypatch, alpha, scale):
    rng = np.random.default_rng(0)
    queries, keys = (torch.from_numpy(rng.normal(size=(n, 12)).astype(np.float32)) for n in (700, 1300))
    products = scale * queries.double() @ keys.double().T
    log_norm, weights = correlation.group_weights(scale * queries, keys, alpha)
    torch.testing.assert_close(log_norm.double(), torch.logsumexp(products, dim=1), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(log_sum_exp(scale * queries, keys), log_norm)
    whole = torch.nn.functional.pad(torch.softmax(products, dim=1) ** alpha, (0, -1300 % GROUP))
    expected = whole.reshape(700, -1, GROUP).sum(dim=2)
    torch.testing.assert_close(weights.double(), expected, rtol=1e-3, atol=1e-7)
    monkeypatch.setattr(correlation, "_ROWS", 100)
    torch.testing.assert_close(correlation.group_weights(scale * queries, keys, alpha)[1], weights)


def test_draws_are_those_of_the_flat_cumulative_sum():
    rng = np.random.default_rng(1)
    maps, keys = _maps(rng)
    uniforms = rng.random((2000, 4))
    cell, point = sample_correspondences(maps, keys, torch.from_numpy(uniforms))
    cumulative = _joint(maps, keys).flatten().cumsum(0)
    expected = np.searchsorted((cumulative / cumulative[-1]).numpy(), uniforms)
    assert ((cell * len(keys) + point).numpy() == expected).mean() > 0.999


def test_sampling_follows_the_joint_distribution():
    """Chi-squared over pairs of cell and group, at the 0.1 % level."""
    rng = np.random.default_rng(1)
    maps, keys = _maps(rng, side=12, points=2 * GROUP + 30)
    draws = 100_000
    cell, point = sample_correspondences(maps, keys, torch.from_numpy(rng.random(draws)))
    assert int(point.min()) >= 0
    assert int(point.max()) < len(keys)
    joint = (_joint(maps, keys) / _joint(maps, keys).sum()).numpy()
    expected = np.add.reduceat(joint, np.arange(0, len(keys), 16), axis=1) * draws
    counts = np.zeros_like(expected)
    np.add.at(counts, (cell.numpy(), point.numpy() // 16), 1)
    often = expected > 5
    statistic = (np.square(counts - expected)[often] / expected[often]).sum()
    assert often.sum() > 200
    assert scipy.stats.chi2.sf(statistic, often.sum() - 1) > 1e-3


@pytest.mark.parametrize("options", [{}, {"max_pool": False}, {"average_queries": False}])
def test_compiled_scores_equal_their_torch_twin(options):
    rng = np.random.default_rng(2)
    maps, keys = _maps(rng, side=48, **options)
    points = torch.from_numpy(rng.normal(size=(300, 3)).astype(np.float32) * 20)
    t = np.stack([rng.uniform(-20, 20, 40), rng.uniform(-20, 20, 40), rng.uniform(-100, 900, 40)], axis=1)
    poses = np.concatenate([random_rotation(rng, 40), t[:, :, None]], axis=2)
    fast, slow = score_poses(maps, keys, points, poses), score_poses_torch(maps, keys, points, poses, batch=7)
    np.testing.assert_allclose(fast.mask, slow.mask, atol=1e-5)
    np.testing.assert_array_equal(np.isinf(fast.coordinates), np.isinf(slow.coordinates))
    finite = np.isfinite(slow.coordinates)
    assert finite.any()
    # A point that rounds to another cell in one of the two float32 projections may change a pose a little.
    assert (np.abs(fast.coordinates[finite] - slow.coordinates[finite]) < 1e-4).mean() > 0.9


def test_hypotheses_from_exact_correspondences_contain_the_truth():
    rng = np.random.default_rng(3)
    R, t = random_rotation(rng, 20), np.array([5.0, -8, 400])
    points = rng.normal(size=(20, 4, 3)) * 30
    uvw = (points @ R.transpose(0, 2, 1) + t) @ K.T
    sets = torch.from_numpy(points), torch.from_numpy(uvw[..., :2] / uvw[..., 2:]), torch.from_numpy(K)
    poses, kept = pose_hypotheses(*sets)
    errors = rotation_angle(poses[:, :, :3].numpy() @ R[kept].transpose(0, 2, 1))
    assert len(kept) == 20
    assert np.median(errors) < 1e-5
    assert (errors < 1e-3).mean() >= 0.9
    chosen = [pose_hypotheses(*sets, np.random.default_rng(seed))[0] for seed in (0, 0, 1)]
    torch.testing.assert_close(chosen[0], chosen[1])
    assert not torch.equal(chosen[0], chosen[2])


def test_degenerate_sets_are_dropped_or_pruned():
    points = torch.zeros(3, 4, 3, dtype=torch.float64)
    camera = torch.from_numpy(K)
    poses, _ = pose_hypotheses(points, points[..., :2], camera)
    assert not plausible_size(poses, camera, 100.0, 64).any()
    nan = torch.full((1, 3, 4), torch.nan, dtype=torch.float64)
    assert not plausible_size(nan, camera, 100.0, 64).any()


def test_faithful_settings_override_what_was_mended():
    assert InferSettings(erosion=1).effective().erosion == 1
    published = InferSettings(faithful=True, erosion=1).effective()
    assert (published.p3p_solution, published.erosion, published.rescore) == ("random", 0, False)


def _refinement_problem(rng):
    """Queries that equal the keys of a tilted plane's points: the truth is the optimum."""
    side = 48
    camera = np.array([[150.0, 0, 23.5], [0, 150, 23.5], [0, 0, 1]])
    R, t = rotation_matrix(torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)).numpy(), np.array([1.0, -2, 300])
    W = torch.from_numpy(rng.normal(size=(6, 3)) * 0.05)

    def keys(x):
        return 3 * torch.cat([torch.cos(x @ W.T), torch.sin(x @ W.T)], dim=-1)

    rays = np.linalg.inv(camera) @ np.stack([*np.meshgrid(np.arange(side), np.arange(side)), np.ones((side, side))]
                                            ).reshape(3, -1)  # fmt: skip
    normal = R[:, 2]
    seen = (rays * ((normal @ t) / (normal @ rays))).T
    plane = torch.from_numpy((seen - t) @ R)
    queries = keys(plane).reshape(side, side, 12)
    inside = (plane.abs() < 20).all(dim=1)
    return camera, R, t, keys, queries, plane[inside]


def test_gradient_of_the_objective_equals_finite_differences():
    camera, _, _, keys, queries, points = _refinement_problem(np.random.default_rng(4))
    objective = make_objective(queries, keys(points), points.numpy(), keys(points), camera)
    x = torch.tensor([0.31, -0.22, 0.12, 1.3, -2.2, 304.0], dtype=torch.float64, requires_grad=True)

    def value(v):
        return objective(rotation_matrix(v[:3]), v[3:])

    (gradient,) = torch.autograd.grad(value(x), x)
    for i in range(6):
        step = torch.zeros(6, dtype=torch.float64)
        step[i] = 1e-5
        with torch.no_grad():
            numeric = (value(x + step) - value(x - step)) / 2e-5
        torch.testing.assert_close(gradient[i], numeric, rtol=1e-3, atol=1e-6)


def test_compiled_objective_equals_its_torch_twin():
    camera, R, t, keys, queries, points = _refinement_problem(np.random.default_rng(6))
    objective = make_objective(queries.float(), keys(points).float(), points.numpy(), keys(points).float(), camera)
    twin = dataclasses.replace(
        objective, **{name: getattr(objective, name).double() for name in ("query_image", "points", "keys", "K")}
    )
    chart = Chart(R, t, np.array([3.0, 1, -2]), 20.0)
    compiled = CompiledObjective(objective)
    for x in (np.array([0.02, -0.03, 0.01, 0.1, -0.2, 0.01]), np.array([0.5, 0.9, -0.4, 1.5, 2.0, -0.3])):
        R_x, t_x = (torch.from_numpy(part).requires_grad_() for part in chart.pose(x))
        value = twin(R_x, t_x)
        value.backward()
        found, G, g = compiled(R_x.detach().numpy(), t_x.detach().numpy())
        np.testing.assert_allclose(found, value.item(), rtol=1e-6)
        np.testing.assert_allclose(G, R_x.grad, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(g, t_x.grad, rtol=1e-5, atol=1e-9)
        function = chart.function(objective)
        step = 1e-6 * np.eye(6)
        numeric = [(function(x + e)[0] - function(x - e)[0]) / 2e-6 for e in step]
        np.testing.assert_allclose(function(x)[1], numeric, rtol=1e-3, atol=1e-5)


def test_refinement_finds_the_truth_and_never_gets_worse():
    camera, R, t, keys, queries, points = _refinement_problem(np.random.default_rng(5))
    objective = make_objective(queries, keys(points), points.numpy(), keys(points), camera)
    turn = rotation_matrix(torch.tensor([0.03, 0.04, -0.03], dtype=torch.float64)).numpy()
    found = refine_pose(objective, turn @ R, t + np.array([2, -1, 8]), 100, (0, 0, 0), 20.0, faithful=False)
    assert found[3] < found[2]
    assert np.degrees(rotation_angle(found[0] @ R.T)) < 0.5
    np.testing.assert_allclose(found[1], t, atol=1.5)
    again = refine_pose(objective, *found[:2], 0, (0, 0, 0), 20.0, faithful=False)
    np.testing.assert_array_equal(again[0], found[0])


def test_rotation_matrix_is_a_rotation_with_finite_gradients_everywhere():
    for vector in ([0.0, 0, 0], [1e-9, 0, 0], [0.1, -0.3, 0.2], [3.0, 0.5, 0]):
        x = torch.tensor(vector, dtype=torch.float64, requires_grad=True)
        R = rotation_matrix(x)
        torch.testing.assert_close(R @ R.T, torch.eye(3, dtype=torch.float64))
        R.sum().backward()
        assert torch.isfinite(x.grad).all()
    T = from_rotation_translation(R.detach().numpy(), [0, 0, 0])
    np.testing.assert_allclose(rotation_angle(T[:3, :3]), np.linalg.norm([3.0, 0.5, 0]), rtol=1e-9)


def test_refinement_starts_off_the_pixel_lattice():
    """On the lattice, where the release starts, every point sits on a kink of the bilinear interpolation."""
    mesh, R, t = box([80, 50, 30]), random_rotation(np.random.default_rng(8), 1)[0], np.array([1.0, -2, 400])
    none = torch.empty(0)
    surface = Surface(none, none, none, torch.clone, RayCaster(mesh), Sphere((0, 0, 0), 50.0), 100.0)
    for shift, least, most in (((0.0, 0.0), 0, 1e-3), (LATTICE_SHIFT, 0.2, 0.5)):
        uv = project(visible_points(surface, R, t, K, 64, shift) @ R.T + t, K)
        offset = np.abs(uv - np.round(uv))
        assert len(uv) > 100
        assert least <= offset.min()
        assert offset.max() <= most


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_draws_solves_and_scores_like_the_cpu():
    rng = np.random.default_rng(7)
    queries, keys = (torch.from_numpy(rng.normal(size=(*n, 12)).astype(np.float32)) for n in ((48, 48), (900,)))
    logits = torch.from_numpy(rng.normal(size=(48, 48)).astype(np.float32))
    points = torch.from_numpy(rng.normal(size=(900, 3)).astype(np.float32) * 20)
    uniforms, found = torch.from_numpy(rng.random((500, 4))), []
    for device in ("cpu", "cuda"):
        key, point = keys.to(device), points.to(device)
        maps = make_maps(logits.to(device), queries.to(device), key, K, 3)
        cell, index = sample_correspondences(maps, key, uniforms.to(device))
        pixels = torch.stack([cell % maps.side, cell // maps.side], dim=-1).double()
        poses, kept = pose_hypotheses(point[index].double(), pixels, torch.from_numpy(maps.K).to(device))
        total = score_poses(maps, key, point, poses.cpu().numpy()).total
        found.append((cell.cpu().numpy(), index.cpu().numpy(), len(kept), np.median(total[np.isfinite(total)])))
    for cpu, gpu in zip(found[0][:2], found[1][:2], strict=True):
        assert (cpu == gpu).mean() > 0.99
    assert abs(found[0][2] - found[1][2]) <= 5
    assert abs(found[0][3] - found[1][3]) < 0.01
