"""Sampling, scoring and refinement against slow obvious twins and known answers."""

import numpy as np
import pytest
import torch

from pose_models.geometry.transforms import from_rotation_translation, random_rotation, rotation_angle
from pose_models.methods.surfemb.hypotheses import plausible_size, pose_hypotheses
from pose_models.methods.surfemb.maps import log_sum_exp, make_maps, sample_correspondences, weights
from pose_models.methods.surfemb.refine import make_objective, refine_pose, rotation_matrix
from pose_models.methods.surfemb.scoring import score_poses, score_poses_torch

K = np.array([[180.0, 0, 31.5], [0, 180, 31.5], [0, 0, 1]])


def _maps(rng, side=24, points=300, **options):
    queries = torch.from_numpy(rng.normal(size=(side, side, 12)).astype(np.float32))
    keys = torch.from_numpy(rng.normal(size=(points, 12)).astype(np.float32))
    logits = torch.from_numpy(rng.normal(size=(side, side)).astype(np.float32))
    return make_maps(logits, queries, keys, K, 3, **options), keys


def test_blocks_do_not_change_the_maps(monkeypatch):
    rng = np.random.default_rng(0)
    maps, keys = _maps(rng)
    uniforms = torch.from_numpy(rng.random((50, 4)))
    whole = sample_correspondences(maps, keys, uniforms, 1.5)
    monkeypatch.setattr("pose_models.methods.surfemb.maps.BLOCK_VALUES", 1000)
    np.testing.assert_allclose(log_sum_exp(maps.queries, keys), maps.log_norm, atol=1e-5)
    for a, b in zip(whole, sample_correspondences(maps, keys, uniforms, 1.5), strict=True):
        np.testing.assert_array_equal(a, b)


def test_sampling_follows_the_joint_distribution():
    rng = np.random.default_rng(1)
    maps, keys = _maps(rng, side=6, points=5)
    cell, point = sample_correspondences(maps, keys, torch.from_numpy(rng.random(40_000)), 1.5)
    joint = weights(maps, keys, 1.5).double()
    counts = np.bincount((cell * 5 + point).numpy(), minlength=20) / 40_000
    np.testing.assert_allclose(counts, (joint / joint.sum()).flatten(), atol=0.01)


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
    assert (np.abs(fast.coordinates - slow.coordinates)[finite] < 1e-4).mean() > 0.9


def test_hypotheses_from_exact_correspondences_contain_the_truth():
    rng = np.random.default_rng(3)
    R, t = random_rotation(rng, 20), np.array([5.0, -8, 400])
    points = rng.normal(size=(20, 4, 3)) * 30
    uvw = (points @ R.transpose(0, 2, 1) + t) @ K.T
    poses, kept = pose_hypotheses(points, uvw[..., :2] / uvw[..., 2:], K)
    errors = rotation_angle(poses[:, :, :3] @ R[kept].transpose(0, 2, 1))
    assert len(kept) == 20
    assert np.median(errors) < 1e-5
    assert (errors < 1e-3).mean() >= 0.9


def test_degenerate_sets_are_dropped_or_pruned():
    points = np.zeros((3, 4, 3))
    poses, _ = pose_hypotheses(points, np.zeros((3, 4, 2)), K)
    assert not plausible_size(poses, K, 100.0, 64).any()
    nan = np.full((1, 3, 4), np.nan)
    assert not plausible_size(nan, K, 100.0, 64).any()


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
