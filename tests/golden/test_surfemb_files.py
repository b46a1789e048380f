"""Reference vectors of SurfEmb: training instances (20) and result files (21)."""

import numpy as np

from pose_models.datasets.bop import BopScene
from pose_models.datasets.instances import visible_instances
from pose_models.detections.coco import Detections
from pose_models.geometry.transforms import from_rotation_translation
from pose_models.methods.results import to_estimates
from pose_models.methods.surfemb.config import CropSettings
from tests.golden.surfemb_vectors import vectors


def test_training_instances_are_those_of_the_reference(golden_dir, tmp_path):
    for v in vectors(golden_dir, "20_*.npz"):
        for name in (n for n in v.files if n.endswith("_json")):
            scene, _, kind = name.removesuffix("_json").partition("_")
            file = tmp_path / "train_pbr" / scene / f"{kind}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(str(v[name]))
        scenes = [BopScene(path) for path in sorted((tmp_path / "train_pbr").iterdir())]
        object_ids = np.unique(v["obj_id"]).tolist()
        crop = CropSettings()
        found = visible_instances(scenes, object_ids, crop.min_visib_fract, crop.min_visib_px)
        ids = [(scenes[i.scene].scene_id, i.im_id, i.gt_id, i.obj_id) for i in found]
        wanted = [v[name].tolist() for name in ("scene_id", "img_id", "pose_idx", "obj_id")]
        assert ids == list(zip(*wanted, strict=True))
        T = from_rotation_translation(v["cam_R_obj"], v["cam_t_obj"][..., 0])
        np.testing.assert_allclose([i.K for i in found], v["K"], atol=1e-9)
        np.testing.assert_allclose([i.T_cam_obj for i in found], T, atol=1e-9)


def _rows(text):
    return np.array([[float(x) for x in line.replace(" ", ",").split(",")] for line in text.strip().splitlines()])


def test_result_files_are_those_of_the_reference(golden_dir):
    for v in vectors(golden_dir, "21_*.npz"):
        boxes = np.asarray(v["det_bboxes"], dtype=np.float64)
        detections = Detections(
            scene_id=v["det_scene_ids"], im_id=v["det_view_ids"], obj_id=v["det_obj_ids"], score=v["det_scores"],
            bbox_xywh=boxes, time=v["det_times"],
        )  # fmt: skip
        cases = {
            "csv_default": (v["poses"][1], v["pose_scores"], v["pose_timings"][1]),
            "csv_no_refine": (v["poses"][0], v["pose_scores"], v["pose_timings"][0]),
            "csv_det_score": (v["poses"][1], v["det_scores"], v["pose_timings"][1]),
            "csv_depth": (v["poses_depth"][1], v["pose_scores"], v["pose_timings_depth"][1]),
        }
        for name, (poses, scores, seconds) in cases.items():
            estimates = to_estimates(
                detections, from_rotation_translation(poses[:, :, :3], poses[:, :, 3]), scores, seconds
            )
            columns = (estimates.scene_id, estimates.im_id, estimates.obj_id, estimates.score)
            rows = np.column_stack([*columns, estimates.R.reshape(-1, 9), estimates.t, estimates.time])
            expected = _rows(str(v[name]))
            # A failed pose has score -inf in the reference; a file that the BOP server accepts leaves it out.
            np.testing.assert_allclose(rows, expected[np.isfinite(expected[:, 3])], rtol=1e-12, atol=1e-12)
