"""Reference vectors of BOP evaluation: complete runs (synbop.zip, perf_set.zip) against every stored number."""

import json

import numpy as np
import pytest

from pose_models.datasets.bop import BopDataset
from pose_models.datasets.estimates import read_estimates
from pose_models.evaluation import bop24, kernels
from pose_models.evaluation.localisation import RowsByTarget, bop19_errors, recalled, target_jobs
from pose_models.evaluation.pairs import ErrorOptions, compute_errors
from pose_models.evaluation.protocols import Run, score_files
from pose_models.evaluation.world import World

KINDS = ("vsd", "mssd", "mspd", "ad", "add", "adi", "cus", "proj")
ANGULAR = {"vsd": 0.01, "cus": 0.01}


def method(path):
    return path.name.split("_")[0]


@pytest.fixture(scope="module")
def synbop(golden_zips):
    """World and pose result files of the small set."""
    dataset, results = golden_zips("bop", "synbop*.zip")[0]
    return World(BopDataset(dataset)), [path for path in results if path.suffix == ".csv"]


@pytest.fixture(scope="module")
def expected(golden_dir):
    return json.loads((golden_dir / "bop" / "scores.json").read_text())


@pytest.fixture(scope="module")
def pairs(golden_dir):
    return dict(np.load(golden_dir / "bop" / "pose_errors.npz"))


def file_order(estimates, rows):
    """Estimate index of the reference: position among the rows of the same target in file order."""
    return np.argsort(np.argsort(rows, kind="stable"), kind="stable")


def table(world, blocks, index_of):
    """(scene, image, object, estimate index, gt index) -> {kind: value} of all pairs of blocks."""
    result = {}
    for block in blocks:
        index = index_of(block)
        for e, g in np.ndindex(len(block.group.rows), len(block.gt_ids)):
            key = (*block.key, block.group.obj_id, int(index[e]), int(block.gt_ids[g]))
            result[key] = {kind: values[..., e, g] for kind, values in block.errors.items()}
    return result


@pytest.fixture(scope="module")
def blocks19(synbop):
    world, paths = synbop
    files = [read_estimates(path) for path in paths]
    options = ErrorOptions(frozenset(KINDS))
    return [b for image in compute_errors(world, files, target_jobs(world, files), options) for b in image]


def test_errors_of_the_localisation_pairs(synbop, pairs, blocks19):
    world, paths = synbop
    for file, path in enumerate(paths):
        estimates = read_estimates(path)
        by_target = RowsByTarget(estimates)

        def index_of(block, by_target=by_target):
            return np.searchsorted(np.sort(by_target.get(block.key, block.group.obj_id)), block.group.rows)

        got = table(world, [b for b in blocks19 if b.group.file == file], index_of)
        index = pairs[f"{method(path)}_bop19_index"]
        assert set(got) == {tuple(row) for row in index.tolist()}
        for kind in KINDS:
            values = np.array([got[tuple(row)][kind] for row in index.tolist()])
            expected_values = pairs[f"{method(path)}_bop19_{kind}"]
            if kind in ANGULAR:
                assert np.abs(values - expected_values).max() < 0.01
                assert np.abs(values - expected_values).mean() < 5e-4
            else:
                np.testing.assert_allclose(values, expected_values, rtol=1e-12, atol=1e-6)


def test_errors_of_the_detection_pairs(synbop, pairs):
    world, paths = synbop
    for path in paths:
        estimates = read_estimates(path)
        jobs = bop24.detection_jobs(world, [estimates])
        options = ErrorOptions(frozenset({"mssd", "mspd"}))
        blocks = [b for image in compute_errors(world, [estimates], jobs, options) for b in image]
        got = table(world, blocks, lambda block: np.arange(len(block.group.rows)))
        index = pairs[f"{method(path)}_bop24_index"]
        assert set(got) == {tuple(row) for row in index.tolist()}
        for kind in ("mssd", "mspd"):
            values = np.array([got[tuple(row)][kind] for row in index.tolist()])
            np.testing.assert_allclose(values, pairs[f"{method(path)}_bop24_{kind}"], rtol=1e-12, atol=1e-6)


MATCHES = {"mssd_th0.20": (10, 3), "mspd_th10": (11, 1), "vsd_tau0.20_th0.30": (3, 5)}


def test_matches_of_the_localisation_task(synbop, pairs, blocks19):
    world, paths = synbop
    for file, path in enumerate(paths):
        by_target = RowsByTarget(read_estimates(path))
        found = recalled(world, [b for b in blocks19 if b.group.file == file], bop19_errors())
        for what, (k, t) in MATCHES.items():
            stored = {tuple(row[:4]): row[4:] for row in pairs[f"{method(path)}_match_{what}"].tolist()}
            assert len(stored) == len(found.gt_id)
            different = 0
            for n in range(len(found.gt_id)):
                key = tuple(int(a[n]) for a in (found.scene_id, found.im_id, found.obj_id, found.gt_id))
                row = int(found.matched[n, k, t])
                rows = np.sort(by_target.get(key[:2], key[2]))
                index = int(np.searchsorted(rows, row)) if row >= 0 else -1
                assert found.valid[n] == bool(stored[key][1])
                different += index != stored[key][0]
            if what.startswith("vsd"):
                values = pairs[f"{method(path)}_bop19_vsd"][:, 3]
                assert different <= 2 * (np.abs(values - 0.3) < 0.01).sum()
            else:
                assert different == 0


def test_matches_of_the_detection_task(synbop, pairs):
    world, paths = synbop
    for path in paths:
        estimates = read_estimates(path)
        jobs = bop24.detection_jobs(world, [estimates])
        options = ErrorOptions(frozenset({"mssd", "mspd"}))
        got = {}
        for image in compute_errors(world, [estimates], jobs, options):
            for block in image:
                valid = np.ones(len(block.gt_ids), dtype=bool)
                matched = kernels.match(bop24.stacked_errors(world, block), bop24.THRESHOLDS, valid)[0, 3]
                got |= {
                    (*block.key, block.group.obj_id, int(g)): int(e) for g, e in zip(block.gt_ids, matched, strict=True)
                }
        stored = pairs[f"{method(path)}_match_bop24_mssd_th0.20"]
        assert {tuple(row[:4]): row[4] for row in stored.tolist()} == got


def check_bop19(scores, stored):
    for key, value in stored.items():
        tolerance = 0.004 if key.endswith("vsd") else 0.0014 if key == "bop19_average_recall" else 1e-9
        assert scores[key] == pytest.approx(value, abs=tolerance), key


def check_bop24(scores, stored):
    for key, value in stored.items():
        assert scores[key] == pytest.approx(value, abs=1e-9), key


def test_localisation_scores(synbop, expected):
    world, paths = synbop
    for path, scores in zip(paths, score_files(world, "bop19", paths, Run()), strict=True):
        stored = expected[method(path)]
        check_bop19(scores, stored["bop19"])
        curves = scores["curves"]
        np.testing.assert_allclose(curves["mssd"]["recall"][0], stored["recall_mssd"], rtol=0, atol=1e-9)
        np.testing.assert_allclose(curves["mspd"]["recall"][0], stored["recall_mspd"], rtol=0, atol=1e-9)
        targets = stored["detail_mssd_th0.20"]["targets_count"]
        vsd_difference = np.abs(np.array(curves["vsd"]["recall"]) - stored["recall_vsd_tau_x_th"])
        assert vsd_difference.max() <= 1.0001 / targets
        assert vsd_difference.mean() <= 0.004


def test_details_per_object_and_scene(synbop, expected):
    world, paths = synbop
    names = {"mssd_th0.20": "mssd", "vsd_tau0.20_th0.30": "vsd"}
    for path, scores in zip(paths, score_files(world, "classic", paths, Run()), strict=True):
        stored = expected[method(path)]
        details = {f"classic_{key}": key for key in ("ad", "add", "adi", "cus", "proj")}
        for key, name in details.items():
            full = next(k for k in stored if k.startswith(f"{key}_th"))
            check_recall(scores["recalls"][name], stored[full], exact=name != "cus")
        for full, name in names.items():
            check_recall(scores["recalls"][name], stored[f"detail_{full}"], exact=name == "mssd")


def check_recall(got, stored, exact):
    allowed = 1e-9 if exact else 1.001 / stored["targets_count"]
    assert got["recall"] == pytest.approx(stored["recall"], abs=allowed)
    assert got["targets_count"] == stored["targets_count"]
    assert got["gt_count"] == stored["gt_count"]
    assert abs(got["tp_count"] - stored["tp_count"]) <= (0 if exact else 1)
    for part in ("obj_recalls", "scene_recalls"):
        assert set(map(str, got[part])) == set(stored[part])
        if exact:
            assert {str(k): v for k, v in got[part].items()} == pytest.approx(stored[part], abs=1e-9)
    if exact:
        assert got["mean_obj_recall"] == pytest.approx(stored["mean_obj_recall"], abs=1e-9)
        assert got["mean_scene_recall"] == pytest.approx(stored["mean_scene_recall"], abs=1e-9)


def test_detection_scores(synbop, expected):
    world, paths = synbop
    for path, scores in zip(paths, score_files(world, "bop24", paths, Run()), strict=True):
        stored = expected[method(path)]
        check_bop24(scores, stored["bop24"])
        for kind in ("mssd", "mspd", "mssd_mm"):
            for t, entry in enumerate(stored[f"ap_{kind}"]):
                for obj_id, value in entry["scores"].items():
                    assert scores["curves"][kind]["ap"][int(obj_id)][t] == pytest.approx(value, abs=1e-9)
                    assert scores["per_object"][int(obj_id)]["targets"] == entry["num_targets_per_object"][obj_id]


def test_scores_of_the_performance_set(golden_zips, golden_dir):
    dataset, results = golden_zips("bop", "perf_set*.zip")[0]
    stored = json.loads((golden_dir / "bop" / "perf_expected.json").read_text())
    world = World(BopDataset(dataset))
    (scores,) = score_files(world, "bop19", results, Run())
    check_bop19(scores, stored["bop19"])
    (scores,) = score_files(world, "bop24", results, Run())
    check_bop24(scores, stored["bop24"])


def test_coco_scores(golden_zips, expected):
    dataset, results = golden_zips("bop", "synbop*.zip")[0]
    paths = [path for path in results if path.suffix in (".json", ".gz")]
    for path, scores in zip(paths, score_files(World(BopDataset(dataset)), "coco", paths, Run()), strict=True):
        for kind, numbers in expected[method(path)].items():
            assert scores[kind] == pytest.approx(numbers, abs=1e-9), kind
