"""Object-level matching and bundle adjustment against the reference's, as it behaves and mended (cosypose.md 12)."""

import json

import numpy as np
import pytest

from pose_models.geometry.transforms import invert
from pose_models.multiview.adjustment import (
    Problem,
    adjust,
    clipped_loss,
    initial_scene,
    nine_jacobian,
    to_nine,
)
from pose_models.multiview.boxes import Box
from pose_models.multiview.config import AdjustSettings, MatchSettings
from pose_models.multiview.matching import Candidates, Matching, ViewPair, match
from pose_models.multiview.scene import reconstruct, suppress
from pose_models.multiview.views import view_groups

FOLDER = "cosypose"


def millimetres(T):
    T = np.array(T, dtype=np.float64)
    T[..., :3, 3] *= 1000
    return T


def metres(T):
    T = np.array(T, dtype=np.float64)
    T[..., :3, 3] /= 1000
    return T


def ids(labels):
    return np.array([int(str(label)[-6:]) for label in labels], dtype=np.int64)


@pytest.fixture(scope="module")
def infos(golden_dir):
    return {int(k): v for k, v in json.loads(str(load(golden_dir, "models.npz")[0]["models_info_json"])).items()}


def load(golden_dir, pattern):
    found = sorted((golden_dir / FOLDER).glob(pattern))
    assert found, f"no {pattern}"
    return [np.load(path) for path in found]


def boxes(infos, rotations=64, single=False):
    made = {obj_id: Box.from_info(info, rotations) for obj_id, info in infos.items()}
    if not single:
        return made
    return {i: Box(rounded(box.corners), rounded_poses(box.symmetries)) for i, box in made.items()}


def rounded(lengths_mm):
    return (lengths_mm / 1000).astype(np.float32).astype(np.float64) * 1000


def rounded_poses(T):
    return millimetres(metres(T).astype(np.float32))


def test_symmetries_and_box_corners(golden_dir, infos):
    for arrays in load(golden_dir, "symmetries.npz"):
        for name in arrays.files:
            obj_id, rotations = (int(part.lstrip("n")) for part in name.split("_")[1:])
            ours = metres(boxes(infos, rotations)[obj_id].symmetries)
            np.testing.assert_allclose(ours, arrays[name], rtol=0, atol=1e-9)
    for arrays in load(golden_dir, "mesh_db.npz"):
        for label, corners in zip(arrays["labels"], arrays["aabb_points"], strict=True):
            np.testing.assert_allclose(boxes(infos)[int(label[-6:])].corners / 1000, corners, rtol=0, atol=1e-7)


def test_distances_up_to_symmetry(golden_dir, infos):
    for arrays in load(golden_dir, "symmetric_distance*.npz"):
        table = boxes(infos, single=True)
        for i, obj_id in enumerate(ids(arrays["labels"])):
            T1, T2 = (millimetres(arrays[name][i : i + 1]) for name in ("T1", "T2"))
            box = table[int(obj_id)]
            distance, chosen = box.distance(T1, T2)
            assert distance[0] / 1000 == pytest.approx(arrays["dist_fast_m"][i], abs=1e-6)
            pixels, _ = box.reprojection(arrays["K"][i : i + 1], T1, T2)
            assert pixels[0] == pytest.approx(arrays["dist_reproj_px"][i], abs=1e-3)
            relative = T1 @ box.symmetries[chosen]
            expected = T1 @ millimetres(arrays["S_fast"][i : i + 1])
            if np.abs(relative - expected).max() > 1e-3:  # another symmetry only where the two are as good
                other = box.turned_corners[chosen[0]]
                squares = (other @ T1[0, :3, :3].T + T1[0, :3, 3] - box.corners @ T2[0, :3, :3].T - T2[0, :3, 3]) ** 2
                best = (
                    (box.corners @ expected[0, :3, :3].T + expected[0, :3, 3])
                    - (box.corners @ T2[0, :3, :3].T + T2[0, :3, 3])
                ) ** 2
                assert abs(squares.sum() - best.sum()) < 1e-5 * best.sum()


def candidates_of(arrays, prefix=""):
    names = ("view_id", "label", "score", "TCO")
    view, label, score, T = (arrays[prefix + name] for name in names)
    return Candidates(view.astype(np.int64), ids(label), score, millimetres(T))


def variants(arrays):
    """Prefix of the expected arrays, whether cameras are known, whether the reference's behaviour is meant."""
    for name in arrays.files:
        if name.endswith("matched_cand_id"):
            prefix = name.removesuffix("matched_cand_id")
            known = "cam_view_id" in arrays.files and "unknown" not in prefix
            yield prefix, known, prefix.startswith("orig_")


def partition(candidate, obj):
    return {frozenset(candidate[obj == number].tolist()) for number in np.unique(obj[obj >= 0])}


def test_matching(golden_dir, infos):
    count = 0
    for arrays in load(golden_dir, "matching_*.npz"):
        table = boxes(infos, int(arrays["n_sym"]) if "n_sym" in arrays.files else 64, single=True)
        for prefix, known, faithful in variants(arrays):
            least = int(arrays["n_min_inliers"]) if "n_min_inliers" in arrays.files else 3
            settings = MatchSettings(faithful=faithful, min_inliers=least, min_inliers_known_cameras=least)
            cameras = None
            if known:
                cameras = dict(zip(arrays["cam_view_id"].tolist(), millimetres(arrays["TWC"]), strict=True))
            found = match(candidates_of(arrays), table, settings, cameras)
            expected = partition(arrays[f"{prefix}matched_cand_id"], arrays[f"{prefix}matched_obj_id"])
            assert partition(np.arange(len(found.object_index)), found.object_index) == expected
            views = list(
                zip(arrays[f"{prefix}pair_view1"].tolist(), arrays[f"{prefix}pair_view2"].tolist(), strict=True)
            )
            assert sorted(views) == sorted((pair.first, pair.second) for pair in found.pairs)
            poses = {(pair.first, pair.second): metres(pair.T_first_second) for pair in found.pairs}
            for key, T in zip(views, arrays[f"{prefix}pair_TC1C2"], strict=True):
                np.testing.assert_allclose(poses[key], T, rtol=0, atol=1e-6)
            count += 1
    assert count >= 9


def test_hypotheses_of_a_pair_of_views(golden_dir, infos):
    from pose_models.multiview import matching

    for arrays in load(golden_dir, "matching_[ab]_*.npz"):
        candidates, table = candidates_of(arrays), boxes(infos, single=True)
        first, second = arrays["first_pair"].tolist()
        tentative = matching.tentative_matches(candidates, first, second)
        chosen = matching.seeds(len(tentative), MatchSettings(), (first, second))
        T = matching.hypotheses(candidates, table, tentative, MatchSettings(), (first, second))
        ours = {(*tentative[i].tolist(), *tentative[j].tolist()): pose for (i, j), pose in zip(chosen, T, strict=True)}
        names = ("hyp_m1c1", "hyp_m1c2", "hyp_m2c1", "hyp_m2c2")
        keys = list(zip(*(arrays[name].tolist() for name in names), strict=True))
        assert set(ours) == set(keys)
        ties = 0
        for (a, b, g, d), expected in zip(keys, arrays["hyp_TC1C2"], strict=True):
            got = ours[a, b, g, d]
            if np.abs(metres(got) - expected).max() > 1e-6:  # two symmetries of the first match fit equally well
                box, poses = table[int(candidates.obj_id[g])], candidates.T_cam_obj
                fits = [box.distance(poses[g][None], (T @ poses[d])[None])[0][0] for T in (got, millimetres(expected))]
                assert fits[0] == pytest.approx(fits[1], abs=1e-4)
                ties += 1
        assert ties < 0.1 * len(keys)


def problem_of(arrays, infos):
    candidates = candidates_of(arrays, "cand_")
    views, objects = arrays["view_id"].tolist(), arrays["obj_id"].tolist()
    pairs = zip(arrays["pair_view1"].tolist(), arrays["pair_view2"].tolist(), arrays["pair_TC1C2"], strict=True)
    nothing = np.zeros((0, 2), dtype=np.int64)
    selected = tuple(ViewPair(a, b, millimetres(T), nothing) for a, b, T in pairs)
    matching = Matching(arrays["cand_obj_id"].astype(np.int64), selected, (tuple(views),))
    problem = Problem(
        K=arrays["K"],
        obj_id=ids(arrays["obj_label"]),
        view=np.array([views.index(v) for v in arrays["cand_view_id"]]),
        obj=np.array([objects.index(o) for o in arrays["cand_obj_id"]]),
        T_cam_obj=candidates.T_cam_obj,
        boxes=boxes(infos, single=True),
    )
    return problem, initial_scene(candidates, matching, views, objects)


def test_bundle_adjustment_starts_as_the_reference(golden_dir, infos):
    for arrays in load(golden_dir, "ba_*.npz"):
        problem, scene = problem_of(arrays, infos)
        np.testing.assert_allclose(metres(scene.T_world_obj), arrays["TWO_init"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(metres(invert(scene.T_cam_world)), arrays["TWC_init"], rtol=0, atol=1e-6)
        residuals, corners = problem.residuals(scene)
        np.testing.assert_allclose(residuals, arrays["residuals_init_px"], rtol=0, atol=1e-3)
        assert clipped_loss(residuals, 5.0) == pytest.approx(float(arrays["robust_loss_init"]), rel=1e-6)
        objects, cameras = to_nine(metres(scene.T_world_obj)), to_nine(metres(scene.T_cam_world))
        np.testing.assert_allclose(objects, arrays["TWO_init_9d"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(cameras, arrays["TCW_init_9d"], rtol=0, atol=1e-6)
        J = nine_jacobian(problem.in_units(1e-3), objects, cameras, corners / 1000)
        scale = np.abs(arrays["JtJ_init"]).max()
        np.testing.assert_allclose(J.T @ J, arrays["JtJ_init"], rtol=0, atol=1e-6 * scale)
        step = J.T @ residuals.reshape(-1, 1)
        np.testing.assert_allclose(step, arrays["Jte_init"], rtol=0, atol=1e-5 * np.abs(arrays["Jte_init"]).max())
        np.testing.assert_allclose(problem.targets(scene)[2], arrays["reproj_dist_init_px"], rtol=0, atol=1e-3)


def test_faithful_bundle_adjustment_takes_the_references_steps(golden_dir, infos):
    for arrays in load(golden_dir, "ba_*.npz"):
        problem, scene = problem_of(arrays, infos)
        done = adjust(problem, scene, AdjustSettings(mode="faithful"))
        np.testing.assert_allclose(done.losses, arrays["loss_history"], rtol=1e-4)
        np.testing.assert_allclose(done.dampings, arrays["lambda_history"], rtol=1e-4)
        for name, ours in (("init", done.initial), ("final", done.final)):
            T = metres(ours.T_cam_world[None] @ ours.T_world_obj[:, None]).reshape(-1, 4, 4)
            np.testing.assert_allclose(T, arrays[f"TCO_{name}_obj_major"], rtol=0, atol=1e-4)
        np.testing.assert_allclose(problem.targets(done.final)[2], arrays["reproj_dist_final_px"], rtol=0, atol=1e-2)


def test_robust_bundle_adjustment_ends_no_higher(golden_dir, infos):
    for arrays in load(golden_dir, "ba_*.npz"):
        problem, scene = problem_of(arrays, infos)
        done = adjust(problem, scene, AdjustSettings())
        assert done.losses[-1] <= arrays["loss_history"][-1]
        np.testing.assert_allclose(done.final.T_cam_world[0], scene.T_cam_world[0], atol=1e-12)


def test_whole_scene(golden_dir, infos):
    for arrays in load(golden_dir, "scene_*.npz"):
        cameras = dict(zip(arrays["cam_view_id"].tolist(), arrays["K"], strict=True))
        faithful = AdjustSettings(mode="faithful")
        (scene,) = reconstruct(candidates_of(arrays, "in_"), cameras, boxes(infos), MatchSettings(), faithful)
        # Objects come in another order: the label and the score to four digits tell them apart.
        ours = np.lexsort((scene.score, scene.obj_id))
        theirs = np.lexsort((arrays["obj_score"], ids(arrays["obj_label"])))
        np.testing.assert_array_equal(scene.obj_id[ours], ids(arrays["obj_label"])[theirs])
        np.testing.assert_allclose(scene.score[ours], arrays["obj_score"][theirs], rtol=0, atol=1e-5)
        np.testing.assert_array_equal(scene.candidates_of_object[ours], arrays["obj_n_cand"][theirs])
        seen = scene.reprojected()
        ours, theirs = (
            np.lexsort((view, score, obj_id))
            for view, score, obj_id in (
                (seen.view_id, seen.score.round(4), seen.obj_id),
                (arrays["out_view_id"], arrays["out_score"].round(4), ids(arrays["out_label"])),
            )
        )
        np.testing.assert_array_equal(seen.view_id[ours], arrays["out_view_id"][theirs])
        np.testing.assert_allclose(seen.score[ours], arrays["out_score"][theirs], rtol=0, atol=1e-5)
        np.testing.assert_allclose(metres(seen.T_cam_obj)[ours], arrays["out_TCO"][theirs], rtol=0, atol=2e-3)
        assert len(seen) + len(arrays["in_score"]) == int(arrays["all_n"])


def test_view_groups(golden_dir):
    for arrays in load(golden_dir, "view_groups*.npz"):
        counts = {int(name.split("nviews")[1].split("_")[0]) for name in arrays.files if "nviews" in name}
        frames = list(zip(arrays["scene_id"].tolist(), arrays["view_id"].tolist(), strict=True))
        for count in counts:
            groups = view_groups(frames, count)
            prefix = f"groups_nviews{count}_"
            assert [len(group) for group in groups] == arrays[f"{prefix}n"].tolist()
            assert [group[0][0] for group in groups] == arrays[f"{prefix}scene"].tolist()
            assert [view for group in groups for _, view in group] == arrays[f"{prefix}flat_view_ids"].tolist()


def test_suppression_in_space(golden_dir):
    for arrays in load(golden_dir, "nms3d*.npz"):
        T = millimetres(arrays["poses"])
        kept = suppress(T[:, :3, 3], arrays["score"], float(arrays["threshold_m"]) * 1000)
        np.testing.assert_array_equal(kept, arrays["keep_ids"])
