"""CosyPose's points and normals of depth images against the reference."""

import numpy as np

from pose_models.geometry.depth_images import normals_from_depth, points_from_depth

PATTERN = "cosypose/icp_normals*.npz"


def load(golden_dir):
    found = [np.load(path) for path in sorted(golden_dir.glob(PATTERN))]
    assert found
    return found


def intrinsics(v, shift=(0.0, 0.0)):
    fx, fy, cx, cy = v["fx_fy_cx_cy"]
    return np.array([[fx, 0, cx + shift[0]], [0, fy, cy + shift[1]], [0, 0, 1]])


def test_points(golden_dir):
    for v in load(golden_dir):
        depth, K = v["depth_m"], intrinsics(v)
        np.testing.assert_allclose(points_from_depth(depth, K), v["xyz"], rtol=0, atol=1e-5)


def test_published_points_cut_off_what_is_behind_the_decimal_point(golden_dir):
    for v in load(golden_dir):
        depth, K, expected = v["depth_m"], intrinsics(v, (0.6, 0.4)), v["xyz_fractional_pp_as_original"]
        np.testing.assert_allclose(points_from_depth(depth, K, whole=True), expected, rtol=0, atol=1e-5)
        assert np.abs(points_from_depth(depth, K) - expected).max() > 1e-3


def test_normals(golden_dir):
    for v in load(golden_dir):
        K = intrinsics(v)
        for depth, smooth, name, tolerance in (
            ("depth_m", True, "normals", 1e-5),
            ("depth_m", False, "normals_norefine", 1e-5),
            ("depth_holes_m", True, "normals_holes", 1e-3),
        ):
            normals = normals_from_depth(v[depth], K, smooth)
            np.testing.assert_allclose(normals, v[name], rtol=0, atol=tolerance)
