"""Meters against the reference's, fed with its own estimates image by image (cosypose.md 9.3)."""

import functools
import json
import math

import numpy as np
import pytest
from scipy.spatial import cKDTree

from pose_models.evaluation import errors as formulas
from pose_models.evaluation.meters import Meter, Table, measure

MM = 1000.0


@pytest.fixture(scope="module")
def vectors(golden_dir):
    return np.load(golden_dir / "cosypose" / "meters.npz"), np.load(golden_dir / "cosypose" / "models.npz")


def keys_of(scene, view, label):
    return [(int(s), int(v), int(name[-6:])) for s, v, name in zip(scene, view, label, strict=True)]


class Data:
    """Ground truths, predictions, models and targets of the file."""

    def __init__(self, arrays, models):
        self.arrays = arrays
        self.truths = keys_of(arrays["gt_scene"], arrays["gt_view"], arrays["gt_label"])
        self.predictions = keys_of(arrays["pred_scene"], arrays["pred_view"], arrays["pred_label"])
        info = json.loads(str(models["models_info_json"]))
        self.diameter = {int(key): value["diameter"] for key, value in info.items()}
        self.symmetric = {int(k) for k, v in info.items() if any(v.get(f"symmetries_{s}") for s in KINDS)}
        self.points = {obj_id: models[f"vertices_mm_{obj_id}"].astype(np.float64) for obj_id in self.diameter}
        targets = json.loads(str(arrays["targets_json"]))
        self.inst_count = {(t["scene_id"], t["view_id"], t["obj_id"]): t["inst_count"] for t in targets}

    @functools.cached_property
    def groups(self):
        """Image and object, its predictions (best first) and its ground truths, of the evaluated images."""
        images = {key[:2] for key in self.truths}
        keys = sorted({key for key in self.truths + self.predictions if key[:2] in images})
        order = np.argsort(-self.arrays["pred_score"], kind="stable")
        return [
            (
                key,
                [i for i in order if self.predictions[i] == key],
                [j for j, other in enumerate(self.truths) if other == key],
            )
            for key in keys
        ]

    def matches(self, table):
        """Image and object, prediction and ground truth of every match."""
        for (key, p, g), group in zip(self.groups, table.groups, strict=True):
            yield from ((key, p[e], g[j]) for j, e in enumerate(group.matched) if e >= 0)

    def table(self, meter, error, distance, diameter=None):
        """The meter applied to every image and object of the evaluated images."""
        groups = []
        for key, p, g in self.groups:
            shape = (len(p), len(g))
            errors = np.array([error(key[2], i, j) for i in p for j in g]).reshape(shape)
            far = np.array([distance(i, j) for i in p for j in g]).reshape(shape)
            size = self.diameter[key[2]] if diameter is None else diameter
            scores, visible = self.arrays["pred_score"][p], self.arrays["gt_visib"][g]
            groups.append(measure(meter, key[2], size, errors, far, scores, visible, self.inst_count.get(key, 0)))
        return Table(tuple(groups))


KINDS = ("discrete", "continuous")


def meter_of(config):
    top = {"1": "one", "-1": "all" if config.get("consider_all_predictions") == "True" else "targets"}[config["n_top"]]
    counted = "all" if config["targets"] is None else "visible" if float(config["visib_gt_min"]) > 0 else "targets"
    limit, near = float(config["match_threshold"]), config["spheres_overlap_check"] == "True"
    return Meter(config["error_type"], limit, near, top, counted)


def test_pose_meters_give_the_references_summaries(vectors):
    data = Data(*vectors)
    T_pred, T_gt = (vectors[0][name].astype(np.float64).copy() for name in ("pred_TCO", "gt_TCO"))
    T_pred[:, :3, 3] *= MM
    T_gt[:, :3, 3] *= MM
    configs = json.loads(str(vectors[0]["pose_meter_configs_json"]))
    expected = json.loads(str(vectors[0]["pose_meter_summaries_json"]))

    def distance(i, j):
        return float(np.linalg.norm(T_pred[i, :3, 3] - T_gt[j, :3, 3]))

    assert len(configs) >= 8
    for name, config in configs.items():

        def error(obj_id, i, j, kind=config["error_type"]):
            nearest = kind == "ADD-S" or obj_id in data.symmetric
            function = formulas.adi if nearest else formulas.add
            pose = (T_pred[i, :3, :3], T_pred[i, :3, 3], T_gt[j, :3, :3], T_gt[j, :3, 3])
            return function(data.points[obj_id], *pose)

        table, want = data.table(meter_of(config), error, distance), expected[name]
        assert (table.instances, table.matches) == (want["n_gt_valid"], want["n_matched"]), name
        assert sum(len(group.valid) for group in table.groups) == want["n_gt"]
        assert table.recall() == pytest.approx(want["0.1d"], abs=1e-6)
        finite = table.errors[np.isfinite(table.errors)]
        assert finite.sum() / MM == pytest.approx(want["gt_norm_sorted_finite_sum"], abs=1e-6)
        areas = table.per_object(Table.area_under_curve)
        for label, area in want["AUC_objects"].items():
            assert areas[int(label[-6:])] == pytest.approx(area, abs=1e-6)
        if "AUC" in want:
            assert table.area_under_curve() == pytest.approx(want["AUC"], abs=1e-6)
            assert np.mean(list(areas.values())) == pytest.approx(want["AUC/objects/mean"], abs=1e-6)
        if "norm" in want:
            assert finite.mean() / MM == pytest.approx(want["norm"], abs=1e-6)
            pairs = [
                (data.points[key[2]], T_pred[i, :3, :3], T_pred[i, :3, 3], T_gt[j, :3, :3], T_gt[j, :3, 3])
                for key, i, j in data.matches(table)
            ]
            axes = [formulas.axis_errors(*pair, cKDTree(pair[0])) for pair in pairs]
            np.testing.assert_allclose(np.mean(axes, axis=0) / MM, want["xyz"], rtol=0, atol=1e-6)
            moved = np.array([t_pred - t_gt for _, _, t_pred, _, t_gt in pairs]) / MM
            np.testing.assert_allclose(np.abs(moved).mean(axis=0), want["TCO_xyz"], rtol=0, atol=1e-6)
            assert np.linalg.norm(moved, axis=1).mean() == pytest.approx(want["TCO_norm"], abs=1e-6)
        if "AP" in want:
            assert table.average_precision() == pytest.approx(want["AP"], abs=1e-6)
            precisions = list(table.per_object(Table.average_precision).values())
            assert np.mean([p for p in precisions if p > 0]) == pytest.approx(want["mAP"], abs=1e-6)


def test_detection_meters_give_the_references_summaries(vectors):
    data = Data(*vectors)
    expected = json.loads(str(vectors[0]["detection_meter_summaries_json"]))
    left, right = vectors[0]["pred_bbox"], vectors[0]["gt_bbox"]

    def error(_, i, j):
        a, b = (np.r_[box[:2], box[2:] - box[:2]] for box in (left[i], right[j]))
        return 1 - formulas.box_iou(a, b)

    for name, top in (("det_ntop_bop", "targets"), ("det_ntop_all", "all")):
        meter = Meter("box", 0.5, near=False, top=top, counted="targets")
        table, want = data.table(meter, error, lambda i, j: 0.0, diameter=1.0), expected[name]
        assert (table.instances, table.matches) == (want["n_gt_valid"], want["n_matched"])
        assert table.recall(math.inf) == pytest.approx(want["iou_valid_recall"], abs=1e-6)
        assert table.average_precision() == pytest.approx(want["AP"], abs=1e-6)
        precisions = list(table.per_object(Table.average_precision).values())
        assert np.mean([p for p in precisions if p > 0]) == pytest.approx(want["mAP"], abs=1e-6)
