"""A small BOP dataset on disk: two scenes, two images each, rectangles as instances."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from pose_models.datasets.bop import BopDataset

WIDTH, HEIGHT = 160, 120


@pytest.fixture
def dataset(tmp_path) -> BopDataset:
    root = tmp_path / "tiny"
    models = {str(i): {"diameter": 100.0} for i in (1, 2)}
    _write(root / "models" / "models_info.json", models)
    targets = []
    for scene_id in (1, 2):
        folder = root / "test" / f"{scene_id:06d}"
        cameras, truth, infos = {}, {}, {}
        for im_id in (3, 8):
            cameras[str(im_id)] = {"cam_K": [100, 0, 80, 0, 100, 60, 0, 0, 1], "depth_scale": 1.0}
            truth[str(im_id)] = [_instance(1), _instance(2), _instance(1), _instance(2)]
            infos[str(im_id)] = [
                _info([20, 30, 39, 19], 1.0),
                _info([60, 10, 29, 59], 0.5),
                _info([-10, 40, 49, 29], 0.02),
                _info([90, 40, 49, 29], 0.0),
            ]
            targets += [{"scene_id": scene_id, "im_id": im_id, "obj_id": i, "inst_count": 1} for i in (1, 2)]
            (folder / "rgb").mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / "rgb" / f"{im_id:06d}.png"), np.full((HEIGHT, WIDTH, 3), 127, np.uint8))
        _write(folder / "scene_camera.json", cameras)
        _write(folder / "scene_gt.json", truth)
        _write(folder / "scene_gt_info.json", infos)
    _write(root / "test_targets_bop19.json", targets)
    return BopDataset(root)


def _instance(obj_id: int) -> dict[str, object]:
    return {"obj_id": obj_id, "cam_R_m2c": np.eye(3).ravel().tolist(), "cam_t_m2c": [0.0, 0.0, 500.0]}


def _info(box: list[int], visib_fract: float) -> dict[str, object]:
    count = (box[2] + 1) * (box[3] + 1)
    visible = round(count * visib_fract)
    seen = [*box[:3], max(int((box[3] + 1) * visib_fract) - 1, 0)] if visible else [-1] * 4
    return {
        "px_count_all": count,
        "px_count_valid": count,
        "px_count_visib": visible,
        "visib_fract": visib_fract,
        "bbox_obj": box,
        "bbox_visib": seen,
    }


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
