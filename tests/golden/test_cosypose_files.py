"""Reference vectors of CosyPose about files: PoseCNN's poses in BOP's frames, poses as a BOP csv."""

import numpy as np
import pytest

from pose_models.datasets.estimates import Estimates, read_estimates, write_estimates
from pose_models.detections.published import posecnn_to_bop


def vectors(golden_dir, pattern):
    found = sorted((golden_dir / "cosypose").glob(pattern))
    if not found:
        pytest.skip(f"needs {pattern} in {golden_dir / 'cosypose'} (set BOPFLOW_GOLDEN)")
    return [np.load(path) for path in found]


def test_posecnn_poses_in_the_frames_of_bop(golden_dir):
    for vector in vectors(golden_dir, "posecnn_import*.npz"):
        T = posecnn_to_bop(vector["quat_wxyz"], vector["t_m"], vector["offset_m"])
        np.testing.assert_allclose(T, vector["TCO_bop"], rtol=0, atol=1e-9)


def test_poses_as_bop_csv(golden_dir, tmp_path):
    for vector in vectors(golden_dir, "bop_csv*.npz"):
        (tmp_path / "reference.csv").write_text(str(vector["csv_text"]))
        T = vector["poses_m"].astype(np.float64)
        ids = (vector[name] for name in ("scene_id", "im_id", "obj_id"))
        ours = Estimates(*ids, vector["score"], T[:, :3, :3], 1000 * T[:, :3, 3], np.full(len(T), -1.0))
        write_estimates(tmp_path / "ours.csv", ours)
        expected, got = read_estimates(tmp_path / "reference.csv"), read_estimates(tmp_path / "ours.csv")
        for name in ("scene_id", "im_id", "obj_id", "score", "time"):
            np.testing.assert_array_equal(getattr(got, name), getattr(expected, name))
        np.testing.assert_allclose(got.R, expected.R, rtol=0, atol=1e-6)
        np.testing.assert_allclose(got.t, expected.t, rtol=0, atol=1e-4)
