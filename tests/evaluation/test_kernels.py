"""The compiled loops against slow, obvious implementations."""

import numpy as np
import pytest

from pose_models.evaluation import kernels
from pose_models.evaluation.vsd import cus, vsd
from pose_models.geometry.cameras import project
from pose_models.geometry.symmetries import symmetry_transforms
from pose_models.geometry.transforms import random_rotation

K = np.array([[500.0, 0, 320.0], [0, 510.0, 240.0], [0, 0, 1]])


def poses(rng):
    return (
        random_rotation(rng), rng.normal(size=3) * 30 + [0, 0, 700], random_rotation(rng),
        rng.normal(size=3) * 30 + [0, 0, 700],
    )  # fmt: skip


@pytest.mark.parametrize("info", [{}, {"symmetries_continuous": [{"axis": [0, 1, 1], "offset": [3, 0, 1]}]}])
def test_mssd_and_mspd_equal_the_double_loop(info):
    rng = np.random.default_rng(0)
    symmetries = symmetry_transforms(info, 0.1)
    for count in (1, 2, 50):
        points = rng.normal(size=(count, 3)) * 40
        Re, te, Rg, tg = poses(rng)
        estimated = points @ Re.T + te
        true = [(points @ S[:3, :3].T + S[:3, 3]) @ Rg.T + tg for S in symmetries]
        distance = min(np.linalg.norm(estimated - t, axis=1).max() for t in true)
        pixels = min(np.linalg.norm(project(estimated, K) - project(t, K), axis=1).max() for t in true)
        assert kernels.mssd(points, Re, te, Rg, tg, symmetries) == pytest.approx(distance, abs=1e-9)
        assert kernels.mspd(points, K, Re, te, Rg, tg, symmetries) == pytest.approx(pixels, abs=1e-9)


def test_errors_are_zero_for_identical_and_for_symmetric_poses():
    rng = np.random.default_rng(1)
    symmetries = symmetry_transforms({"symmetries_continuous": [{"axis": [0, 0, 1], "offset": [5, 2, 0]}]}, 0.05)
    points = rng.normal(size=(30, 3)) * 40
    Rg, tg = random_rotation(rng), np.array([10.0, 20.0, 800.0])
    S = symmetries[7]
    Re, te = Rg @ S[:3, :3], Rg @ S[:3, 3] + tg
    assert kernels.mssd(points, Re, te, Rg, tg, symmetries) < 1e-9
    assert kernels.mspd(points, K, Re, te, Rg, tg, symmetries) < 1e-9
    assert kernels.mssd(points, Re, te, Rg, tg, symmetries[:1]) > 1


def test_arrays_need_not_be_contiguous():
    rng = np.random.default_rng(2)
    points = rng.normal(size=(30, 3)) * 40
    Re, te, Rg, tg = poses(rng)
    plain = kernels.mssd(points, Re, te, Rg, tg, np.eye(4)[None])
    turned = kernels.mssd(np.asfortranarray(points), np.asfortranarray(Re), te, Rg.T.copy().T, tg, np.eye(4)[None])
    assert turned == plain


def test_a_point_in_the_camera_plane_gives_no_finite_mspd():
    Re = np.eye(3)
    assert np.isinf(kernels.mspd(np.zeros((1, 3)), K, Re, np.zeros(3), Re, np.zeros(3), np.eye(4)[None]))


def test_surface_counts_equal_vsd_of_whole_images():
    rng = np.random.default_rng(3)
    taus = np.array([0.05, 0.2, 0.5])
    for _ in range(20):
        depths = []
        for _ in range(2):
            depth = np.zeros((40, 50), np.float32)
            x, y = rng.integers(0, 30, 2)
            depth[y : y + 10, x : x + 20] = rng.uniform(480, 520, (10, 20))
            depths.append(depth)
        test = rng.uniform(450, 560, (40, 50)).astype(np.float32) * (rng.random((40, 50)) > 0.2)
        test = test.astype(np.float32)
        patches = []
        for depth in depths:
            rows, columns = np.nonzero(depth)
            y, x = rows.min(), columns.min()
            patches.append((np.ascontiguousarray(depth[y : rows.max() + 1, x : columns.max() + 1]), int(x), int(y)))
        *far, common, joint, common_all, joint_all = kernels.surface_counts(*patches, test, K, 15.0, 80.0, taus)
        expected = vsd(depths[0], depths[1], test, K, 15.0, taus, 80.0)
        got = (np.array(far) + joint - common) / joint if joint else np.ones(3)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)
        assert 1 - common_all / joint_all == pytest.approx(cus(*depths), abs=1e-12)


def greedy(errors, threshold, valid):
    """Section 7.4 of the specification, word by word."""
    matched = np.full(len(valid), -1)
    for e in range(len(errors)):
        free = [g for g in range(len(valid)) if valid[g] and matched[g] < 0]
        if free:
            g = min(free, key=lambda g: (errors[e, g], g))
            if errors[e, g] < threshold:
                matched[g] = e
    return matched


def test_matching_equals_the_specification():
    rng = np.random.default_rng(4)
    for _ in range(50):
        errors = np.round(rng.random((2, 5, 4)), 1)  # many ties
        errors[rng.random(errors.shape) < 0.1] = np.inf
        thresholds = np.array([[0.2, 0.5], [0.3, np.inf]])
        valid = rng.random(4) < 0.7
        got = kernels.match(errors, thresholds, valid)
        for k, t in np.ndindex(2, 2):
            np.testing.assert_array_equal(got[k, t], greedy(errors[k], thresholds[k, t], valid))


def test_matching_is_strictly_below_the_threshold():
    assert kernels.match(np.full((1, 1, 1), 0.3), np.array([[0.3]]), np.array([True]))[0, 0, 0] == -1


def test_matching_nothing():
    assert kernels.match(np.zeros((1, 0, 2)), np.array([[0.3]]), np.array([True, True])).tolist() == [[[-1, -1]]]
    assert kernels.match(np.zeros((1, 2, 0)), np.array([[0.3]]), np.zeros(0, dtype=bool)).shape == (1, 1, 0)
