"""CosyPose's rotations, first poses, crops, pose updates and noise against the reference (which counts in metres)."""

import numpy as np
import torch

from pose_models.methods.cosypose import crops, poses

FOLDER = "cosypose"


def load(golden_dir, pattern):
    found = sorted((golden_dir / FOLDER).glob(pattern))
    assert found, f"no {pattern}"
    return [np.load(path) for path in found]


def tensor(values):
    return torch.from_numpy(np.array(values))


def millimetres(T):
    T = tensor(T)
    T[..., :3, 3] *= 1000
    return T


def metres(T):
    T = np.asarray(T).copy()
    T[..., :3, 3] /= 1000
    return T


def same(actual, expected, tolerance):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


def nearly(actual, expected, tolerance=1e-5):
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


def test_rotations(golden_dir):
    for v in load(golden_dir, "rotations*.npz"):
        same(poses.rotation_from_6d(tensor(v["ortho6d"])), v["R_from_ortho6d"], 1e-9)
        same(poses.rotation_from_quaternion(tensor(v["quat_xyzw"])), v["R_from_quat"], 1e-5)


def test_first_poses(golden_dir):
    for v in load(golden_dir, "init_pose*.npz"):
        boxes, K, points = tensor(v["boxes_xyxy"]), tensor(v["K"]), 1000 * tensor(v["points_m"])
        same(metres(poses.fixed_start(boxes, K)), v["TCO_fixed"], 2e-6)
        same(metres(poses.upright_start(boxes, K, points)), v["TCO_autodepth"], 2e-6)


def test_crops(golden_dir):
    for v in load(golden_dir, "crop.npz"):
        K, T, points = tensor(v["K"]), millimetres(v["TCO"]), 1000 * tensor(v["points_m"])
        uv = crops.projected(points, T, K)
        nearly(uv, v["uv"])
        boxes, center = crops.surrounding_boxes(uv), crops.projected(torch.zeros_like(points[:, :1]), T, K)
        nearly(boxes, v["boxes_rend"])
        nearly(center, v["center_uv"])
        images = tensor(v["images_u8"])
        height, width = images.shape[2:]
        regions = crops.crop_boxes(center[:, 0], [boxes], width / height)
        nearly(regions, v["boxes_crop"])
        observed = tensor(v["boxes_obs"])
        nearly(crops.crop_boxes(center[:, 0], [boxes, observed], width / height), v["boxes_crop_obs"])
        nearly(crops.crop_boxes(center[:, 0], [boxes, observed], 160 / 100), v["boxes_crop_obs_im100x160"])
        size = v["crops"].shape[2:]
        nearly(crops.crop_intrinsics(K, regions, size), v["K_crop"])
        same(crops.cut(images, torch.arange(len(K)), regions, size), v["crops"], 1e-4)


def test_pose_updates(golden_dir):
    for v in load(golden_dir, "pose_update*.npz"):
        T, K = millimetres(v["TCO"]), tensor(v["K_crop"])
        same(metres(poses.updated(T, tensor(v["out9"]), K)), v["TCO_updated9"], 1e-9)
        same(metres(poses.updated(T, tensor(v["out7"]), K)), v["TCO_updated7"], 1e-5)


def test_pose_noise(golden_dir):
    for v in load(golden_dir, "pose_noise*.npz"):
        T = millimetres(v["TCO"].astype(np.float64)).numpy()
        for name, expected, rotate in (("a", "TCO_noisy_a", True), ("b", "TCO_noisy_b_trans_only", False)):
            rng = np.random.RandomState(int(v[f"legacy_numpy_seed_{name}"]))
            same(metres(poses.disturbed(T, poses.draw_noise(rng, len(T), rotate))), v[expected], 1e-6)
