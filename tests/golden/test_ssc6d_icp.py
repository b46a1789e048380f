"""SSC-6D's point-to-point ICP against the reference."""

import numpy as np

from pose_models.geometry.icp import point_to_point
from pose_models.geometry.transforms import rotation_angle

PATTERN = "ssc6d/icp*.npz"


def cases(golden_dir):
    files = [np.load(path) for path in sorted(golden_dir.glob(PATTERN))]
    assert files
    for v in files:
        count = sum(name.endswith("_source_sdf") for name in v.files)
        assert count
        yield from ({name.split("_", 1)[1]: v[name] for name in v.files if name.startswith(f"c{k}_")}
                    for k in range(count))  # fmt: skip


def rotation(sRT):
    return sRT[:3, :3] / np.cbrt(np.linalg.det(sRT[:3, :3]))


def test_point_to_point(golden_dir):
    for case in cases(golden_dir):
        start = case["sRT_init"].copy()
        start[:3, :3] /= 2
        source, target = case["source_sdf"].astype(np.float64), case["target_m"].astype(np.float64)
        found = point_to_point(source, target, start, float(case["max_corr_dist"]))
        result = found.T_target_source.copy()
        result[:3, :3] *= 2
        np.testing.assert_allclose(result[:3, 3], case["sRT_refined"][:3, 3], rtol=0, atol=1e-6)
        turned = rotation_angle(rotation(result) @ rotation(case["sRT_refined"]).T)
        assert np.degrees(turned) < 1e-3
        assert abs(found.fitness - case["fitness"]) < 1e-6
        np.testing.assert_allclose(found.rmse, case["inlier_rmse"], rtol=1e-6)
