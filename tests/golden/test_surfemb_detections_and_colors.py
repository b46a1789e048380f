"""Reference vectors of SurfEmb: filtering of detections by targets (22), colours of embeddings (07)."""

import json

import numpy as np
import pytest

from pose_models.datasets.bop import Target
from pose_models.detections.coco import Detections
from pose_models.detections.filter import by_targets
from pose_models.images.colors import visualise_embedding


def _files(golden_dir, pattern):
    files = sorted((golden_dir / "surfemb").glob(pattern))
    if not files:
        pytest.skip(f"needs {pattern} in {golden_dir / 'surfemb'} (set BOPFLOW_GOLDEN)")
    return [np.load(file) for file in files]


def test_detections_of_targets_are_those_of_the_reference(golden_dir):
    for vector in _files(golden_dir, "22_*.npz"):
        targets = [Target(**entry) for entry in json.loads(str(vector["targets_json"]))]
        ltrb = vector["in_bbox_ltrb"].astype(np.float64)
        xywh = np.concatenate([ltrb[:, :2], ltrb[:, 2:] - ltrb[:, :2]], axis=1)
        names = ("in_scene_id", "in_view_id", "in_obj_id", "in_score")
        kept = by_targets(Detections(*(vector[name] for name in names), xywh, vector["in_time"]), targets)
        np.testing.assert_array_equal(kept.scene_id, vector["out_scene_ids"])
        np.testing.assert_array_equal(kept.im_id, vector["out_view_ids"])
        np.testing.assert_array_equal(kept.obj_id, vector["out_obj_ids"])
        np.testing.assert_array_equal(kept.score, vector["out_scores"])
        np.testing.assert_array_equal(kept.time, vector["out_times"])
        np.testing.assert_array_equal(kept.bbox_ltrb.astype(np.float32), vector["out_bboxes"])


def test_colors_of_an_embedding_are_those_of_the_reference(golden_dir):
    for vector in _files(golden_dir, "07_*.npz"):
        plain = visualise_embedding(vector["emb"])
        np.testing.assert_allclose(plain, vector["vis_plain"], atol=1e-5)
        masked = visualise_embedding(vector["emb"], vector["mask"], demean=True)
        np.testing.assert_allclose(masked, vector["vis_mask_demean"], atol=1e-5)
