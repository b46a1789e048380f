"""CosyPose's losses and their gradients against the reference (which counts in metres)."""

import numpy as np
import torch

from pose_models.methods.cosypose import losses
from tests.golden.test_cosypose_geometry import load, millimetres, same, tensor


def gradient(loss, output):
    (result,) = torch.autograd.grad(loss.sum(), output)
    return result


def nearly(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-7, atol=1e-7 * np.abs(expected).max())


def test_losses_and_gradients(golden_dir):
    for v in load(golden_dir, "loss*.npz"):
        possible, T, K = millimetres(v["TCO_possible_gt"]), millimetres(v["TCO_input"]), tensor(v["K_crop"])
        points = 1000 * tensor(v["points_m"])
        same(millimetres(v["TCO_gt"])[:, None] @ millimetres(v["symmetries"]), possible, 1e-6)
        for suffix in ("9", "7"):
            output = tensor(v[f"out{suffix}"]).requires_grad_()
            loss = losses.disentangled_loss(output, possible, T, K, points)
            same(loss.detach(), v[f"loss{suffix}"], 1e-9)
            nearly(gradient(loss, output), v[f"grad{suffix}"])
        output = tensor(v["out9"]).requires_grad_()
        loss = losses.plain_loss(output, possible, T, K, points)
        same(loss.detach(), v["loss_add_l1"], 1e-9)
        nearly(gradient(loss, output), v["grad_add_l1"])
        for norm, per_metre in (("l1", 1e3), ("l2", 1e6)):
            distance, nearest = losses.symmetric_distance(possible, T, points, norm)
            same(distance / per_metre, v[f"loss_sym_{norm}"], 1e-9)
            same(possible[torch.arange(len(T)), nearest], millimetres(v[f"assigned_{norm}"]), 1e-6)
