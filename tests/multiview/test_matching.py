"""Matching and bundle adjustment: what must hold on any scene."""

import dataclasses

import numpy as np
import pytest

from benchmarks.multiview import boxes, made_scene, pose_error_mm
from pose_models.geometry.transforms import from_rotation_translation, invert, random_rotation
from pose_models.multiview.adjustment import Problem, Scene, _moved, clipped_loss, local_jacobian
from pose_models.multiview.boxes import Box
from pose_models.multiview.config import AdjustSettings, MatchSettings
from pose_models.multiview.matching import Candidates, match, seeds
from pose_models.multiview.scene import reconstruct

SETTINGS, ADJUST = MatchSettings(), AdjustSettings()


def test_distance_is_zero_between_equivalent_poses_and_does_not_depend_on_the_frame():
    rng = np.random.default_rng(0)
    for box in boxes().values():
        T = from_rotation_translation(random_rotation(rng, 6), rng.normal(scale=300, size=(6, 3)))
        S = box.symmetries[rng.integers(len(box.symmetries), size=6)]
        assert box.distance(T, T @ S)[0].max() < 1e-9
        other = T @ from_rotation_translation(random_rotation(rng, 6), rng.normal(scale=10, size=(6, 3)))
        frame = from_rotation_translation(random_rotation(rng), rng.normal(scale=100, size=3))
        np.testing.assert_allclose(box.distance(T, other)[0], box.distance(frame @ T, frame @ other)[0], atol=1e-8)
        relative = invert(other) @ T
        distance, _ = box.relative_distance(relative)
        assert not box.is_far(relative, float(distance.min())).any() or (distance > distance.min()).any()
        assert not box.is_far(relative, float(distance.max())).any()


def test_true_candidates_of_one_object_are_matched_and_false_ones_are_not(made):
    candidates, owner, truth, K = made
    (scene,) = reconstruct(candidates, K, boxes(), SETTINGS, ADJUST)
    for number in range(len(scene.obj_id)):
        members = owner[scene.rows[scene.object_index == number]]
        assert len(np.unique(members)) == 1
        assert members[0] >= 0
    assert len(scene.obj_id) >= 7
    assert scene.adjusted.losses[-1] < scene.adjusted.losses[0]
    assert pose_error_mm(scene, owner, truth, invert(scene.T_world_cam)) < 8


def test_adjustment_brings_cameras_nearer_to_the_truth(made):
    candidates, _, truth, K = made
    (scene,) = reconstruct(candidates, K, boxes(), SETTINGS, ADJUST)

    def camera_error(T_cam_world):
        relative = T_cam_world[1:] @ invert(T_cam_world[0])
        true = truth.T_cam_world[scene.view_id[1:]] @ invert(truth.T_cam_world[scene.view_id[0]])
        return np.linalg.norm((relative - true)[:, :3, 3], axis=1).mean()

    assert camera_error(scene.adjusted.final.T_cam_world) < 0.7 * camera_error(scene.adjusted.initial.T_cam_world)


def test_known_cameras_are_held_and_match_all_objects_from_two_views():
    candidates, owner, truth, K = made_scene(np.random.default_rng(7), 2, 10, missed=0, wrong=0, noise=0.5)
    cameras = dict(enumerate(invert(truth.T_cam_world)))
    (scene,) = reconstruct(candidates, K, boxes(), SETTINGS, ADJUST, cameras)
    assert len(scene.obj_id) == 10
    np.testing.assert_allclose(scene.T_world_cam, invert(truth.T_cam_world), atol=1e-9)
    faithful = MatchSettings(faithful=True)
    assert reconstruct(candidates, K, boxes(), faithful, ADJUST, cameras) == []  # the reference loses the first pair
    assert owner.min() == 0


def test_order_and_ids_do_not_matter(made):
    candidates, *_ = made
    order = np.random.default_rng(1).permutation(len(candidates))
    first, second = match(candidates, boxes(), SETTINGS), match(candidates.select(order), boxes(), SETTINGS)

    def parts(index, rows):
        return {frozenset(rows[index == k].tolist()) for k in np.unique(index[index >= 0])}

    assert parts(first.object_index, np.arange(len(order))) == parts(second.object_index, order)
    renamed = dataclasses.replace(candidates, view_id=candidates.view_id * 100 + 7)
    np.testing.assert_array_equal(match(renamed, boxes(), SETTINGS).object_index, first.object_index)


def test_one_view_and_no_candidates_give_nothing(made):
    candidates, _, _, K = made
    assert reconstruct(candidates.select(candidates.view_id == 0), K, boxes(), SETTINGS, ADJUST) == []
    assert reconstruct(candidates.select(np.zeros(0, dtype=np.int64)), K, boxes(), SETTINGS, ADJUST) == []


def test_an_object_without_symmetries_entry_and_a_flat_one():
    info = {"min_x": -10, "min_y": -20, "min_z": 0, "size_x": 20, "size_y": 40, "size_z": 0}
    box = Box.from_info(info)
    assert len(box.symmetries) == 1
    assert box.distance(np.eye(4)[None], np.eye(4)[None])[0] == 0


@pytest.mark.parametrize("count", [3, 30, 100])
def test_pairs_of_matches_are_drawn_evenly_and_never_twice(count):
    chosen = seeds(count, SETTINGS, (0, 1))
    assert len(chosen) == min(count * (count - 1), SETTINGS.max_hypotheses)
    assert (chosen[:, 0] != chosen[:, 1]).all()
    assert len(np.unique(chosen, axis=0)) == len(chosen)
    assert len(np.unique(chosen[:, 0])) == count  # not the first few only, as nested loops would


def test_jacobian_agrees_with_finite_differences(made):
    candidates, owner, truth, K = made
    rows = np.flatnonzero(owner >= 0)
    problem = Problem(
        K=np.stack([K[v] for v in range(4)]),
        obj_id=np.arange(8) % 5 + 1,
        view=candidates.view_id[rows],
        obj=owner[rows],
        T_cam_obj=candidates.T_cam_obj[rows],
        boxes=boxes(),
    )
    _, corners = problem.residuals(truth)
    J = local_jacobian(problem, truth, corners)

    def pixels(step):
        from pose_models.geometry.cameras import project
        from pose_models.geometry.transforms import apply

        moved: Scene = _moved(truth, step)
        T = moved.T_cam_world[problem.view] @ moved.T_world_obj[problem.obj]
        return project(apply(T, corners), problem.K[problem.view]).ravel()

    for column in range(0, J.shape[1], 5):
        step = np.zeros(J.shape[1])
        step[column] = 1e-5
        numeric = (pixels(step) - pixels(-step)) / 2e-5
        np.testing.assert_allclose(J[:, column], numeric, atol=1e-4, rtol=1e-5)
    assert clipped_loss(np.full((2, 8, 2), 100.0), 5.0) == 25.0


def test_candidates_below_the_score_limit_take_no_part(made):
    candidates, _, _, K = made
    weak = Candidates(candidates.view_id, candidates.obj_id, np.full(len(candidates), 0.1), candidates.T_cam_obj)
    assert reconstruct(weak, K, boxes(), SETTINGS, ADJUST) == []
