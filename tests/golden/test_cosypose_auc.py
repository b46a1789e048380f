"""Reference vectors of CosyPose that hold for the AUC of YCB-V papers: ADD and ADD-S, area under the curve."""

import json

import numpy as np
import pytest

from pose_models.evaluation.errors import add, adi
from pose_models.evaluation.meters import area_under_curve


def files(golden_dir, pattern):
    found = sorted((golden_dir / "cosypose").glob(pattern))
    if not found:
        pytest.skip(f"needs {pattern} in {golden_dir / 'cosypose'} (set BOPFLOW_GOLDEN)")
    return [np.load(path) for path in found]


def test_area_under_the_curve(golden_dir):
    for vector in files(golden_dir, "auc*.npz"):
        starts = vector["offsets"]
        for i, expected in enumerate(vector["auc"]):
            got = area_under_curve(vector["errors_flat"][starts[i] : starts[i + 1]] * 1000)
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


def test_add_and_add_s(golden_dir):
    (models,) = files(golden_dir, "models.npz")
    assert json.loads(str(models["models_info_json"]))
    for vector in files(golden_dir, "add_errors*.npz"):
        for i, label in enumerate(vector["labels"]):
            points = models[f"vertices_mm_{int(str(label).removeprefix('obj_'))}"] / 1000
            pred, gt = vector["TXO_pred"][i], vector["TXO_gt"][i]
            poses = pred[:3, :3], pred[:3, 3], gt[:3, :3], gt[:3, 3]
            np.testing.assert_allclose(add(points, *poses), vector["add_m"][i], rtol=0, atol=1e-8)
            np.testing.assert_allclose(adi(points, *poses), vector["adds_m"][i], rtol=0, atol=1e-8)
