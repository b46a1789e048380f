"""What the protocols must say of results whose truth is known, and that no option changes a score it should not."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from pose_models.datasets.bop import BopDataset
from pose_models.datasets.catalogue import catalogue_entry
from pose_models.datasets.estimates import write_estimates
from pose_models.datasets.layouts import convert_split
from pose_models.evaluation import analysis
from pose_models.evaluation.bop19 import tables
from pose_models.evaluation.localisation import averages, bop19_errors, perfect_ranking
from pose_models.evaluation.protocols import ResultFile, Run, score_files
from pose_models.evaluation.world import World
from pose_models.files import InputError
from pose_models.geometry.symmetries import rotation_about_axis


@pytest.fixture(scope="module")
def world(made_dataset):
    return World(BopDataset(made_dataset))


@pytest.fixture(scope="module")
def files(tmp_path_factory, perfect, noisy):
    folder = tmp_path_factory.mktemp("results")
    paths = {"perfect": folder / "perfect_made-test.csv", "noisy": folder / "noisy_made-test.csv"}
    write_estimates(paths["perfect"], perfect)
    write_estimates(paths["noisy"], noisy)
    return paths


def score(world, path, protocol="bop19", **options):
    (scores,) = score_files(world, protocol, [path], Run(**options))
    return scores


def test_ground_truth_as_estimates_scores_one(world, files):
    assert score(world, files["perfect"])["bop19_average_recall"] == pytest.approx(1.0)
    assert score(world, files["perfect"], "bop24")["bop24_mAP"] == pytest.approx(1.0)
    assert score(world, files["perfect"], "silhouette")["silhouette_iou"] == pytest.approx(1.0)
    # One estimate per object and image takes part, and every instance counts: YCB-V has one of each.
    truths = [world.truth(key).obj_id for key in world.targets]
    reachable = [
        sum(obj_id in ids for ids in truths) / sum((ids == obj_id).sum() for ids in truths)
        for obj_id in np.unique(np.concatenate(truths))
    ]
    assert score(world, files["perfect"], "ycbv-auc")["auc_add_s"] == pytest.approx(np.mean(reachable))
    siso, vivo = (score(world, files["perfect"], f"tless-{name}") for name in ("siso", "vivo"))
    assert siso["auc_add_s"] == pytest.approx(np.mean(reachable))
    for scores in (siso, vivo):
        assert scores["recall_vsd_0.3"] == pytest.approx(1.0)
        assert scores["recall_add_s_0.1d"] == pytest.approx(1.0)
    assert vivo["auc_add_s"] == pytest.approx(1.0)
    assert vivo["map_add_s_0.1d"] == pytest.approx(1.0)
    classic = score(world, files["perfect"], "classic")
    for name, recall in classic["recalls"].items():
        assert recall["recall"] == pytest.approx(1.0), name


def test_symmetric_poses_score_one_where_the_object_is_symmetric(world, perfect, tmp_path):
    turn = rotation_about_axis(np.array([0.0, 0, 1]), np.array([2 * np.pi * 40 / 315]))[0]
    R = perfect.R.copy()
    R[perfect.obj_id == 2] = R[perfect.obj_id == 2] @ turn
    write_estimates(tmp_path / "turned_made-test.csv", dataclasses.replace(perfect, R=R))
    scores = score(world, tmp_path / "turned_made-test.csv")
    assert scores["bop19_average_recall_mssd"] == pytest.approx(1.0)
    assert scores["bop19_average_recall_mspd"] == pytest.approx(1.0)


def test_papers_take_other_objects_for_symmetric(world, perfect, tmp_path):
    """PoseCNN's ADD(-S) on YCB-V takes ADD for objects that BOP calls symmetric; ADD-S asks nobody."""
    turn = rotation_about_axis(np.array([0.0, 0, 1]), np.array([np.pi / 2]))[0]
    R = perfect.R.copy()
    R[perfect.obj_id == 2] = R[perfect.obj_id == 2] @ turn
    write_estimates(tmp_path / "turned_made-test.csv", dataclasses.replace(perfect, R=R))
    other = World(world.dataset)
    other.facts = dataclasses.replace(world.facts, entry=world.facts.entry.model_copy(update={"auc_symmetric": (1,)}))
    as_bop, as_paper = (score(w, tmp_path / "turned_made-test.csv", "ycbv-auc") for w in (world, other))
    assert as_bop["auc_add_s"] == as_paper["auc_add_s"]
    assert as_paper["per_object"][2]["add(-s)"] < as_bop["per_object"][2]["add(-s)"] - 0.05
    for scores in (as_bop, as_paper):  # ADD takes no object for symmetric
        assert scores["per_object"][2]["add"] == as_paper["per_object"][2]["add(-s)"]
    assert catalogue_entry("ycbv").auc_symmetric == (13, 16, 19, 20, 21)  # cosypose.md 14.3


def test_no_estimates_score_zero(world, perfect, tmp_path):
    write_estimates(tmp_path / "none_made-test.csv", perfect.take(np.zeros(0, dtype=np.int64)))
    scores = score(world, tmp_path / "none_made-test.csv")
    assert scores["bop19_average_recall"] == 0
    assert scores["counts"]["targets_without_estimate"] == scores["counts"]["targets"]
    assert score(world, tmp_path / "none_made-test.csv", "bop24")["bop24_mAP"] == 0


@pytest.mark.parametrize(
    "protocol", ["bop19", "bop24", "classic", "ycbv-auc", "tless-siso", "tless-vivo", "silhouette"]
)
def test_scores_do_not_depend_on_workers_or_on_company(world, files, protocol):
    alone = [score(world, path, protocol) for path in files.values()]
    together = score_files(world, protocol, list(files.values()), Run(workers=3))
    assert json.dumps(alone) == json.dumps(together)


def test_scores_do_not_depend_on_the_order_of_lines(world, noisy, files, tmp_path):
    order = np.random.default_rng(0).permutation(len(noisy))
    path = tmp_path / files["noisy"].name
    write_estimates(path, noisy.take(order))
    for protocol in ("bop19", "bop24"):
        got, expected = score(world, path, protocol), score(world, files["noisy"], protocol)
        assert {k: v for k, v in got.items() if isinstance(v, float)} == pytest.approx(
            {k: v for k, v in expected.items() if isinstance(v, float)}
        )


def test_every_estimate_is_used_or_ignored_with_a_reason(world, perfect, tmp_path):
    extra = perfect.take(np.array([0, 0, 0, 1]))
    extra = dataclasses.replace(
        extra, scene_id=np.array([9, 1, 1, 1]), im_id=np.array([0, 77, 0, 0]), obj_id=np.array([1, 1, 5, 2]),
        score=np.full(4, -1.0), time=np.array([0.5, 0.5, 0.5, 0.5]),
    )  # fmt: skip
    names = [field.name for field in dataclasses.fields(perfect)]
    both = type(perfect)(*(np.concatenate([getattr(perfect, n), getattr(extra, n)]) for n in names))
    write_estimates(tmp_path / "extra_made-test.csv", both)
    for protocol in ("bop19", "bop24"):
        counts = score(world, tmp_path / "extra_made-test.csv", protocol)["counts"]
        assert counts["estimates"] == counts["estimates_used"] + sum(counts["estimates_ignored"].values())
        assert counts["estimates_ignored"]["scene is not in the split"] == 1


def test_missing_and_wrong_estimates_lower_the_numbers_of_t_less_papers(world, perfect, tmp_path):
    counts = sum(sum(objects.values()) for objects in world.targets.values())
    kept = perfect.take(np.arange(1, len(perfect)))
    write_estimates(tmp_path / "kept_made-test.csv", kept)
    scores = score(world, tmp_path / "kept_made-test.csv", "tless-vivo")
    assert scores["recall_add_s_0.1d"] == pytest.approx(1 - 1 / counts)
    assert scores["map_add_s_0.1d"] < 1
    far = dataclasses.replace(perfect, t=perfect.t + 200.0, score=perfect.score + 5)
    names = [field.name for field in dataclasses.fields(perfect)]
    both = type(perfect)(*(np.concatenate([getattr(perfect, n), getattr(far, n)]) for n in names))
    write_estimates(tmp_path / "far_made-test.csv", both)
    worse = score(world, tmp_path / "far_made-test.csv", "tless-vivo")
    assert worse["recall_add_s_0.1d"] < 0.6  # the far ones come first and use the targets' places up
    assert 0.3 < worse["map_add_s_0.1d"] <= 0.5  # at every recall at least every second estimate is wrong
    assert score(world, tmp_path / "far_made-test.csv", "tless-siso")["recall_add_s_0.1d"] == 0


def test_strict_detection_counts_false_positives_of_absent_objects(made_dataset, perfect, tmp_path):
    # Image (1, 0) without object 2 in the ground truth: estimates of object 2 there are false positives.
    world = World(BopDataset(made_dataset))
    truth = world.truth((1, 0))
    keep = truth.obj_id != 2
    world._truths[1, 0] = type(truth)(truth.obj_id[keep], truth.R[keep], truth.t[keep], truth.visib_fract[keep])
    write_estimates(tmp_path / "a_made-test.csv", perfect)
    assert score(world, tmp_path / "a_made-test.csv", "bop24")["bop24_mAP"] == pytest.approx(1.0)
    assert score(world, tmp_path / "a_made-test.csv", "bop24", strict=True)["bop24_mAP"] < 0.999


def test_error_means_average_to_the_recall(world, files):
    errors = bop19_errors()
    (table,) = tables(world, [ResultFile.read(files["noisy"])], Run())
    values, names = analysis.error_means(table, errors)
    got = dict(zip(names, values[table.valid].mean(axis=0), strict=True))
    assert got == pytest.approx(averages(table.recall(), errors))


def test_intervals_hold_the_score_and_bins_hold_all_instances(world, files):
    scores = score(world, files["noisy"])
    for name, key in (("ar", "bop19_average_recall"), ("vsd", "bop19_average_recall_vsd")):
        interval = scores["intervals"][name]
        assert interval["low"] <= scores[key] <= interval["high"]
    for bins in (scores["by_visibility"], scores["by_distance_mm"]):
        total = sum(b["instances"] for b in bins)
        assert total == scores["counts"]["target_instances"]
        assert sum(b["ar"] * b["instances"] for b in bins) / total == pytest.approx(scores["bop19_average_recall"])


def test_interval_of_a_mean_is_that_of_theory():
    rng = np.random.default_rng(0)
    found = rng.random(400) < 0.6
    zeros = np.zeros(400, dtype=np.int64)
    from pose_models.evaluation.localisation import ErrorRows, Recalled

    table = Recalled(zeros, np.arange(400), zeros, zeros, np.ones(400, bool), np.ones(400), np.ones(400),
                     np.where(found, 0, -1).astype(np.int32)[:, None, None])  # fmt: skip
    interval = analysis.intervals(table, [ErrorRows("x", np.array([[1.0]]), ("x",))])["x"]
    p = found.mean()
    assert interval["standard_error"] == pytest.approx(np.sqrt(p * (1 - p) / 400), rel=0.1)


def test_perfect_ranking_takes_the_best_of_many_estimates(world, perfect, noisy, tmp_path):
    names = [field.name for field in dataclasses.fields(perfect)]
    worse_first = dataclasses.replace(noisy, score=noisy.score + 10, t=noisy.t + 100)
    both = type(perfect)(*(np.concatenate([getattr(worse_first, n), getattr(perfect, n)]) for n in names))
    write_estimates(tmp_path / "both_made-test.csv", both)
    scores = score(world, tmp_path / "both_made-test.csv")
    assert scores["bop19_average_recall"] < 0.5
    assert scores["perfect_ranking"]["ar"] == pytest.approx(1.0)
    lost = scores["perfect_ranking"]["lost_by_scores"]
    assert lost == pytest.approx(scores["perfect_ranking"]["ar"] - scores["bop19_average_recall"])


def test_perfect_ranking_is_never_worse_than_scores():
    from pose_models.evaluation.kernels import match

    rng = np.random.default_rng(5)
    for _ in range(30):
        errors, valid = rng.random((1, 6, 3)), np.ones(3, dtype=bool)
        thresholds = np.array([[0.1, 0.3, 0.6]])
        best = (perfect_ranking(errors, thresholds, valid) >= 0).sum()
        assert best >= (match(errors[:, :3], thresholds, valid) >= 0).sum()


def test_comparison_of_a_result_with_itself_finds_no_difference(world, files):
    table, other = tables(world, [ResultFile.read(files["noisy"]), ResultFile.read(files["perfect"])], Run())
    same = analysis.compare(table, table, bop19_errors())
    assert same["difference"]["ar"]["value"] == 0
    assert same["difference"]["ar"]["share_of_resamples_better"] == 0.5
    assert same["most_different_images"] == []
    better = analysis.compare(table, other, bop19_errors())
    assert better["difference"]["ar"]["low"] > 0
    assert better["most_different_images"][0]["difference"] >= better["most_different_images"][-1]["difference"]


def test_depth_is_needed_where_it_is_needed(made_dataset, files, tmp_path):
    import shutil

    copy = tmp_path / "made"
    shutil.copytree(made_dataset, copy)
    depth = copy / "test" / "000001" / "depth" / "000003.png"
    depth.write_bytes(depth.read_bytes()[:200])
    with pytest.raises(InputError, match=r"depth/000003.png: truncated"):
        score(World(BopDataset(copy)), files["perfect"])
    assert score(World(BopDataset(copy)), files["perfect"], "bop24")["bop24_mAP"] == pytest.approx(1.0)


def test_photographs_need_neither_depth_nor_visibility(made_dataset, files, tmp_path):
    import shutil

    import cv2

    copy = tmp_path / "photos"
    shutil.copytree(made_dataset, copy)
    for scene in (copy / "test").iterdir():
        shutil.rmtree(scene / "depth")
        (scene / "scene_gt_info.json").unlink()
        (scene / "rgb").mkdir()
        for im_id in (0, 3):
            cv2.imwrite(str(scene / "rgb" / f"{im_id:06d}.png"), np.zeros((120, 160, 3), np.uint8))
    (copy / "test_targets_bop19.json").unlink()
    scores = score(World(BopDataset(copy)), files["perfect"], "silhouette")
    assert scores["silhouette_iou"] == pytest.approx(1.0)
    assert scores["instances_total"] == 12
    with pytest.raises(InputError, match=r"scene_gt_info\.json: not found; make it with"):
        score(World(BopDataset(copy)), files["perfect"])


@pytest.mark.parametrize("layout", ["imagewise", "webdataset"])
def test_scores_are_the_same_whatever_the_layout_of_the_images(
    made_dataset, files, world, tmp_path, monkeypatch, layout
):
    monkeypatch.setenv("BOPFLOW_CACHE", str(tmp_path / "cache"))
    copy = tmp_path / "made"
    shutil.copytree(made_dataset, copy, ignore=shutil.ignore_patterns("test"))
    convert_split(BopDataset(made_dataset), "test", layout, copy / "test")
    other = World(BopDataset(copy))
    for name in ("perfect", "noisy"):
        got, expected = score(other, files[name]), score(world, files[name])
        assert got.pop("inputs").keys() == expected.pop("inputs").keys()
        assert got == expected
