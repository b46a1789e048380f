"""A scenario folder made here: boxes on a table seen by four cameras, with noise and wrong candidates."""

import json

import numpy as np
import pytest

from benchmarks.multiview import SIZES, SYMMETRIES, made_scene
from pose_models.datasets.estimates import Estimates, write_estimates
from pose_models.meshes.mesh import save_ply
from pose_models.meshes.shapes import box


def write_scenario(folder, candidates, T_cam_world, K, with_poses=False):
    """Write models, candidates.csv and scene_camera.json."""
    infos = {}
    for obj_id, size in SIZES.items():
        save_ply(folder / "models" / f"obj_{obj_id:06d}.ply", box(size))
        infos[obj_id] = {
            "diameter": float(np.linalg.norm(size)),
            **{f"min_{axis}": -s / 2 for axis, s in zip("xyz", size, strict=True)},
            **{f"size_{axis}": s for axis, s in zip("xyz", size, strict=True)},
            **SYMMETRIES.get(obj_id, {}),
        }
    (folder / "models" / "models_info.json").write_text(json.dumps(infos))
    n = len(candidates)
    estimates = Estimates(
        np.full(n, 3), candidates.view_id, candidates.obj_id, candidates.score,
        candidates.T_cam_obj[:, :3, :3], candidates.T_cam_obj[:, :3, 3], np.full(n, -1.0),
    )  # fmt: skip
    write_estimates(folder / "candidates.csv", estimates)
    cameras = {}
    for view, T in enumerate(T_cam_world):
        cameras[str(view)] = {"cam_K": K[view].ravel().tolist(), "depth_scale": 1.0}
        if with_poses:
            cameras[str(view)] |= {"cam_R_w2c": T[:3, :3].ravel().tolist(), "cam_t_w2c": T[:3, 3].tolist()}
    (folder / "scene_camera.json").write_text(json.dumps(cameras))


@pytest.fixture
def made():
    """Candidates, their objects, the true scene, K by view."""
    return made_scene(np.random.default_rng(3), views=4, objects=8)


@pytest.fixture
def scenario(tmp_path, made):
    """The folder of that scene, with camera poses."""
    candidates, _, truth, K = made
    write_scenario(tmp_path / "table", candidates, truth.T_cam_world, K, with_poses=True)
    return tmp_path / "table"
