"""CosyPose's losses with gradients, its samples' images and tables against the reference (which counts in metres)."""

import json

import numpy as np
import torch

from pose_models.images.resize import box_of_label, to_size
from pose_models.meshes.mesh import Mesh
from pose_models.methods.cosypose import losses
from pose_models.methods.cosypose.objects import ObjectTable
from tests.golden.test_cosypose_geometry import load, metres, millimetres, same, tensor


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


def test_images_at_the_size_of_training(golden_dir):
    for v in load(golden_dir, "crop_resize_*.npz"):
        image, mask, K = to_size(v["image"], v["mask"], v["K"], tuple(v["resize_hw"].tolist()), faithful=True)
        assert np.abs(image.astype(int) - v["image_out"]).max() <= 1
        np.testing.assert_array_equal(mask, v["mask_out"])
        same(K, v["K_out"], 1e-4)
        boxes = [box_of_label(mask, label + 1) for label in range(len(v["bbox_out"]))]
        np.testing.assert_array_equal(boxes, v["bbox_out"])


def test_tables_of_objects(golden_dir):
    for v, models in zip(load(golden_dir, "mesh_db*.npz"), load(golden_dir, "models*.npz"), strict=True):
        infos = {int(key): info for key, info in json.loads(str(models["models_info_json"])).items()}
        faces = np.array([[0, 1, 2]])
        meshes = {obj_id: Mesh(models[f"vertices_mm_{obj_id}"], faces) for obj_id in infos}
        table = ObjectTable.of(meshes, infos, rotations=64)
        assert [f"obj_{obj_id:06d}" for obj_id in table.ids] == v["labels"].tolist()
        assert table.point_counts == v["n_points"].tolist()
        same(table.points / 1000, v["points"], 1e-7)
        same(metres(table.symmetries), v["symmetries"], 1e-7)
        same(table.fixed_points(150) / 1000, v["sample150"], 1e-7)
