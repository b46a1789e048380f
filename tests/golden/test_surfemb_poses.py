"""Reference vectors of SurfEmb: sampling (10), P3P (11), pruning (12), scores (13), refinement (14, 15), all (17)."""

import numpy as np
import pytest
import torch

from pose_models.geometry.p3p import solve_p3p
from pose_models.geometry.transforms import from_rotation_translation, rotation_angle
from pose_models.meshes.mesh import Mesh
from pose_models.methods.surfemb.config import InferSettings
from pose_models.methods.surfemb.correlation import GROUP
from pose_models.methods.surfemb.estimate import Surface, estimate_pose, refine, visible_points
from pose_models.methods.surfemb.hypotheses import faces_camera, plausible_size, spread
from pose_models.methods.surfemb.keys import Sphere
from pose_models.methods.surfemb.maps import make_maps, sample_correspondences
from pose_models.methods.surfemb.refine import Objective, make_objective, rotation_matrix
from pose_models.methods.surfemb.scoring import score_poses, score_poses_torch
from pose_models.render.raycast import RayCaster
from tests.golden.surfemb_vectors import vectors


def _t(array):
    return torch.from_numpy(np.asarray(array, dtype=np.float32))


def test_correspondences_are_those_of_the_reference(golden_dir):
    for v in vectors(golden_dir, "10_*.npz"):
        keys, alpha = _t(v["obj_keys"]), float(v["alpha"])
        maps = make_maps(_t(v["mask_lgts"]), _t(v["query_img"]), keys, v["K"], int(v["down_sample_scale"]), alpha=alpha)
        assert maps.side == int(v["res_sampled"])
        np.testing.assert_allclose(maps.K, v["K_down"], atol=1e-5)
        np.testing.assert_allclose(maps.mask_prob, v["mask_prob"], atol=1e-5)
        prob = torch.exp(maps.queries @ keys.T - maps.log_norm[:, None])
        np.testing.assert_allclose((maps.mask_prob[:, None] * prob) ** alpha, v["weights_unnormalised"], atol=1e-5)
        starts = np.arange(0, len(keys), GROUP)
        groups = np.add.reduceat(v["weights_unnormalised"], starts, axis=1)
        np.testing.assert_allclose(maps.group_weights, groups, atol=1e-5)
        uniforms = torch.from_numpy(v["uniforms"].astype(np.float64))
        cell, point = sample_correspondences(maps, keys, uniforms)
        assert ((cell * len(keys) + point).numpy() == v["corr_idx"]).mean() >= 0.995
        assert (cell.numpy() == v["pixel_idx"]).mean() >= 0.995
        assert (point.numpy() == v["point_idx"]).mean() >= 0.995


def _agree(a, b):
    return np.abs(a[:, :3] - b[:, :3]).max() < 1e-3 and np.abs(a[:, 3] - b[:, 3]).max() < 1e-3 * np.abs(b[:, 3]).max()


def test_p3p_finds_the_solutions_of_the_reference(golden_dir):
    for v in vectors(golden_dir, "11_*.npz"):
        K, complete = v["K"], []
        pixels = torch.from_numpy(v["p2d"][:, :3].astype(np.float64))
        rays = torch.cat([pixels, torch.ones(len(pixels), 3, 1)], dim=-1) @ torch.from_numpy(np.linalg.inv(K)).T
        solutions, valid = solve_p3p(torch.from_numpy(v["p3d"][:, :3].astype(np.float64)), rays)
        for i, expected in enumerate(v["solutions_3pt"]):
            found = solutions[i][valid[i]].numpy()
            wanted = [pose for pose in expected if np.isfinite(pose).all()]
            complete.append(all(any(_agree(pose, other) for pose in found) for other in wanted))
            for pose in found:
                uvw = (v["p3d"][i, :3] @ pose[:, :3].T + pose[:, 3]) @ K.T
                assert np.abs(uvw[:, :2] / uvw[:, 2:] - v["p2d"][i, :3]).max() < 1e-2
        assert np.mean(complete) >= 0.97


def test_pruning_is_that_of_the_reference(golden_dir):
    for v in vectors(golden_dir, "12_*.npz"):
        side = int(v["res_sampled"])
        pixels, poses, points, normals, K = (
            torch.from_numpy(v[name].astype(np.float64)) for name in ("p2d_xy", "poses", "p3d", "n3d", "K_down")
        )
        np.testing.assert_allclose(spread(pixels), v["dist_2d"], atol=1e-5)
        assert ((spread(pixels) >= 0.1 * side).numpy() == v["dist_2d_mask"]).mean() >= 0.99
        size = plausible_size(poses, K, float(v["obj_diameter"]), side).numpy()
        assert (size == v["size_mask"]).mean() >= 0.99
        assert (faces_camera(poses, points, normals).numpy() == v["normals_mask"]).mean() >= 0.98


@pytest.mark.parametrize("score", [score_poses, score_poses_torch])
def test_scores_are_those_of_the_reference(golden_dir, score):
    for v in vectors(golden_dir, "13_*.npz"):
        keys, points = _t(v["obj_keys"]), _t(v["obj_pts"])
        for pool in (0, 1):
            for average in (0, 1):
                options = {"max_pool": bool(pool), "average_queries": bool(average)}
                maps = make_maps(_t(v["mask_lgts"]), _t(v["query_img"]), keys, v["K"], 3, **options)
                found, name = score(maps, keys, points, v["poses"]), f"maxpool{pool}_avgq{average}"
                expected = v[f"score_{name}"]
                assert (np.isinf(found.total) == np.isinf(expected)).all()
                finite = np.isfinite(expected)
                assert (np.abs(found.total[finite] - expected[finite]) <= 1e-4).mean() >= 0.95
                assert (np.abs(found.mask - v[f"mask_score_{name}"]) <= 1e-4).mean() >= 0.95
                assert (np.abs(found.coordinates[finite] - v[f"coord_score_{name}"][finite]) <= 1e-4).mean() >= 0.95
        pooled = make_maps(_t(v["mask_lgts"]), _t(v["query_img"]), keys, v["K"], 3)
        np.testing.assert_allclose(pooled.log_mask, v["mask_log_prob"], atol=1e-5)
        np.testing.assert_allclose(pooled.log_background, v["neg_mask_log_prob"], atol=1e-5)


def test_refinement_objective_is_that_of_the_reference(golden_dir):
    for v in vectors(golden_dir, "14_*.npz"):
        points, keys = v["coord_obj_mm"][:, :3], _t(v["keys_visible"])
        objective = make_objective(_t(v["query_img"]), _t(v["keys_denominator"]), points, keys, v["K_crop"])
        np.testing.assert_allclose(objective.query_image[0, -1], v["denom_img"], atol=1e-4)
        for i, pose in enumerate(v["pose_rvec_t"]):
            x = torch.tensor(pose, dtype=torch.float32, requires_grad=True)
            value = objective(rotation_matrix(x[:3]), x[3:])
            value.backward()
            assert abs(value.item() - v["value"][i]) <= 1e-4
            if i > 0:  # pose 0 lies on the pixel lattice, where the gradient depends on rounding
                expected = v["gradient"][i]
                np.testing.assert_allclose(x.grad.numpy(), expected, atol=1e-3 * np.abs(expected).max())


def _analytic_surface(v, points_norm):
    """A surface whose keys are the reference's analytic function of position."""
    W, beta = _t(v["key_W"]), float(v["key_beta"])

    def keys(x):
        return beta / np.sqrt(6) * torch.cat([torch.cos(x @ W.T), torch.sin(x @ W.T)], dim=-1)

    mesh = Mesh(v["vertices"].astype(np.float64), v["faces"].astype(np.int64))
    sphere = Sphere(tuple(v["offset"].tolist()), float(v["scale"]))
    points = _t(points_norm) * sphere.radius + torch.tensor(sphere.center, dtype=torch.float32)
    normals = _t(v["obj_normals"]) if "obj_normals" in v.files else torch.zeros_like(points)
    diameter = float(v["diameter"]) if "diameter" in v.files else 2 * sphere.radius
    return Surface(points, normals, keys(_t(points_norm)), keys, RayCaster(mesh), sphere, diameter)


def _unshifted_objective(v, surface):
    side = len(v["query_img"])
    points = visible_points(surface, v["R_init"], v["t_init"][:, 0], v["K_crop"], side, (0.0, 0.0))
    normalised = (points - v["offset"]) / float(v["scale"])
    visible = surface.key_function(_t(normalised))
    return make_objective(_t(v["query_img"]), surface.keys, points, visible, v["K_crop"])


def _value(objective: Objective, R, t):
    return float(objective(_t(R), _t(np.reshape(t, 3))))


def test_refinement_ends_no_higher_than_the_reference(golden_dir):
    for v in vectors(golden_dir, "15_*.npz"):
        surface = _analytic_surface(v, v["keys_denominator_points_norm"])
        objective = _unshifted_objective(v, surface)
        assert abs(_value(objective, v["R_init"], v["t_init"]) - float(v["fun_init"])) <= 1e-3
        rng = np.random.default_rng(0)
        query, start = _t(v["query_img"]), (v["R_init"], v["t_init"][:, 0])
        R, t, before, after = refine(*start, query, v["K_crop"], surface, InferSettings(), rng)
        assert after < before
        assert _value(objective, R, t) <= float(v["fun_out"]) + 0.05


def test_whole_estimation_is_as_good_as_the_reference(golden_dir):
    for v in vectors(golden_dir, "17_*.npz"):
        surface = _analytic_surface(v, (v["obj_pts"] - v["offset"]) / float(v["scale"]))
        logits, queries, K = _t(v["mask_lgts"]), _t(v["query_img"]), v["K_crop"]
        maps = make_maps(logits, queries, surface.keys, K, 3)
        truth = np.hstack([v["R_gt"], v["t_gt"]])[None]
        scores = score_poses(maps, surface.keys, surface.points, truth)
        found = (scores.total[0], scores.mask[0], scores.coordinates[0])
        np.testing.assert_allclose(found, v["gt_score_mask_coord"], atol=2e-3)
        runs = v["runs_rotdeg_tmm_rotdegRef_tmmRef_score_mask_coord_fun_nposes"]
        settings = InferSettings(hypotheses=int(v["max_poses"]), scored=int(v["max_pose_evaluations"]))
        T_gt = from_rotation_translation(v["R_gt"], v["t_gt"][:, 0])
        for seed in range(5):
            estimate = estimate_pose(logits, queries, K, surface, settings, np.random.default_rng(seed))
            T = estimate.T_cam_obj
            assert np.degrees(rotation_angle(T[:3, :3] @ T_gt[:3, :3].T)) < 2
            assert np.linalg.norm(T[:3, 3] - T_gt[:3, 3]) < 0.025 * T_gt[2, 3]
            assert estimate.hypothesis_score >= runs[:, 4].max() - 0.02
            assert estimate.objective[1] <= runs[:, 7].min() + 0.1
