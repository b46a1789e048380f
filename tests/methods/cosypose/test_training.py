"""Training of CosyPose: samples, what the networks are shown, what they learn from."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from pose_models.datasets.bop import BopScene, read_models_info
from pose_models.datasets.estimates import read_estimates
from pose_models.files import InputError
from pose_models.images.turn import turned
from pose_models.meshes.bounds import diameter
from pose_models.meshes.mesh import Mesh, load_mesh, save_ply
from pose_models.meshes.shapes import box
from pose_models.methods.cosypose.config import CosyPoseSettings
from pose_models.methods.cosypose.crops import cut
from pose_models.methods.cosypose.data import PoseSamples
from pose_models.methods.cosypose.infer import infer
from pose_models.methods.cosypose.losses import disentangled_loss, symmetric_distance
from pose_models.methods.cosypose.model import CosyPoseModule, load_model
from pose_models.methods.cosypose.network import Comparer
from pose_models.methods.cosypose.objects import ObjectTable
from pose_models.methods.cosypose.poses import updated
from pose_models.methods.cosypose.train import train
from pose_models.render.renderer import Renderer
from pose_models.settings import resolve
from tests.methods.cosypose.conftest import UNTRAINED


@pytest.fixture(scope="module")
def world(small):
    """Meshes by id and their table."""
    infos = read_models_info(small / "models")
    meshes = {i: load_mesh(small / "models" / f"obj_{i:06d}.ply", texture=True) for i in infos}
    return meshes, ObjectTable.of(meshes, infos, rotations=8)


def settings(*overrides):
    return resolve(CosyPoseSettings, [*UNTRAINED, *overrides])


def samples(small, world, *overrides):
    return PoseSamples([BopScene(small / "train_synt" / "000000")], world[1], settings(*overrides))


def test_a_sample_depends_on_its_number_alone(small, world):
    first, second = samples(small, world), samples(small, world)
    second.sample(3)
    for name, value in first.sample(7).items():
        torch.testing.assert_close(second.sample(7)[name], value, rtol=0, atol=0)
    assert any((first.sample(7)[name] != first.sample(8)[name]).any() for name in ("image", "start_refiner"))
    assert first.valid_count == 0  # a fifth of two images
    assert samples(small, world, "train.valid_items=1").sample(0)["image"].shape == (3, 120, 160)


def test_the_object_is_where_it_is_rendered(small, world):
    """The silhouette of the crop of a mask and that of the render at the true pose are the same."""
    scene, (meshes, table) = BopScene(small / "train_synt" / "000000"), world
    comparer = Comparer(meshes, table, settings("network.height=96", "network.width=128").network, "cpu")
    overlaps = []
    for im_id in scene.image_ids:
        for gt_id, instance in enumerate(scene.ground_truth[im_id]):
            mask = torch.from_numpy(scene.mask(im_id, gt_id, visible=False)).byte().mul(255).expand(1, 3, -1, -1)
            index, K = torch.tensor([table.ids.index(instance.obj_id)]), scene.camera(im_id).K
            T = torch.from_numpy(instance.T_cam_obj).float()[None]
            seen = comparer.compare(mask, torch.tensor([0]), torch.from_numpy(K).float()[None], index, T)
            inside = cut(torch.full_like(mask, 255), torch.tensor([0]), seen.regions, comparer.size)[0, 0] > 0.99
            a, b = (seen.crops[0, 0] > 0.5) & inside, (seen.drawn.mask[0]) & inside
            if b.sum() > 500:  # not cut off by the image's edge
                overlaps.append(float((a & b).sum() / (a | b).sum()))
    assert len(overlaps) >= 4
    assert min(overlaps) > 0.95


def test_resized_images_keep_objects_and_poses_together(small, world):
    plain, resized = samples(small, world), samples(small, world, "data.height=60", "data.width=96", "data.augment=0")
    for number in range(4):
        a, b = plain.sample(number), resized.sample(number)
        assert b["image"].shape == (3, 60, 96)
        torch.testing.assert_close(a["T_cam_obj"], b["T_cam_obj"])
        p = a["T_cam_obj"][:3, 3] / a["T_cam_obj"][2, 3]
        u, v = (a["K"] @ p)[:2].tolist()
        # 160 x 120 is cut to 160 x 100 and scaled by 0.6.
        expected = [(u + 0.5) * 0.6 - 0.5, (v - 10 + 0.5) * 0.6 - 0.5]
        np.testing.assert_allclose((b["K"] @ p)[:2].numpy(), expected, atol=1e-3)


def test_turned_images_keep_objects_and_poses_together(small, world):
    """A silhouette in a turned image is that of the turned pose; samples turn, and only where settings say so."""
    scene, meshes = BopScene(small / "train_synt" / "000000"), world[0]
    renderer = Renderer(meshes, "cpu")
    for gt_id, instance in enumerate(scene.ground_truth[0]):
        whole = scene.mask(0, gt_id, visible=False)
        _, mask, T = turned(scene.rgb(0), whole, scene.camera(0).K, instance.T_cam_obj, 0.7)
        K, pose = (torch.from_numpy(a).float()[None] for a in (scene.camera(0).K, T))
        drawn = renderer.cast([instance.obj_id], pose, K, whole.shape, pixel_center=0.0).mask[0].numpy()
        assert (drawn & mask).sum() > 0.95 * mask.sum() > 0
    plain, turning = (samples(small, world, f"data.turn={angle}", "data.augment=0") for angle in (0, 90))
    tilts = []
    for number in range(8):
        a, b = plain.sample(number), turning.sample(number)
        R = (b["T_cam_obj"] @ torch.linalg.inv(a["T_cam_obj"]))[:3, :3]
        if torch.equal(a["object_index"], b["object_index"]) and R[2, 2] > 0.9999:
            tilts.append(float(torch.atan2(R[1, 0], R[0, 0])))
            assert not torch.equal(a["image"], b["image"])
    assert len(tilts) >= 4
    assert np.ptp(tilts) > 0.3


def test_the_output_that_leads_to_the_truth_costs_nothing_and_gradients_are_right():
    rng = np.random.default_rng(0)
    R = torch.linalg.qr(torch.from_numpy(rng.normal(size=(4, 3, 3))))[0]
    R = R * torch.linalg.det(R)[:, None, None]
    T = torch.eye(4, dtype=torch.float64).repeat(4, 1, 1)
    T[:, :3, :3], T[:, :3, 3] = R, torch.tensor([30.0, -20.0, 700.0]).double()
    K = torch.tensor([[500.0, 0, 160], [0, 510.0, 120], [0, 0, 1]]).double().expand(4, 3, 3)
    start = updated(T, torch.tensor([[1, 0.2, 0, -0.1, 1, 0.1, 8, -5, 1.1]]).double().repeat(4, 1), K)
    back = T[:, :3, :3] @ start[:, :3, :3].transpose(1, 2)
    shift = (T[:, :2, 3] / T[:, 2:3, 3] - start[:, :2, 3] / start[:, 2:3, 3]) * torch.tensor([500.0, 510.0])
    perfect = torch.cat([back[:, :, 0], back[:, :, 1], shift, T[:, 2:3, 3] / start[:, 2:3, 3]], dim=1)
    points = torch.from_numpy(rng.normal(size=(4, 40, 3)) * 40)
    flip = torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0])).double()
    possible = torch.stack([T, T @ flip], dim=1)
    assert disentangled_loss(perfect, possible, start, K, points).max() < 1e-12
    assert disentangled_loss(perfect, possible.flip(1), T, K, points).max() > 0  # the first one is the annotated
    assert symmetric_distance(possible, T @ flip, points)[1].tolist() == [1] * 4
    output = (perfect + torch.from_numpy(rng.normal(size=(4, 9))) * 0.05).requires_grad_()
    assert torch.autograd.gradcheck(lambda o: disentangled_loss(o, possible, start, K, points), [output], eps=1e-7)


@pytest.mark.parametrize("backbone", ["resnet18", "matching"])
def test_gradients_of_the_whole_step_agree_with_finite_differences(small, world, backbone):
    torch.manual_seed(0)
    module = CosyPoseModule(settings(f"network.backbone={backbone}"), world[1].ids).double().eval()
    module.show(*world)
    batch = torch.utils.data.default_collate([samples(small, world).sample(number) for number in range(2)])
    comparer = module.comparer
    compare = comparer.compare
    comparer.compare = lambda *arguments: in_double(
        compare(*(a.float() if a.is_floating_point() else a for a in arguments))
    )
    comparer.symmetries = comparer.symmetries.double()
    batch |= {name: batch[name].double() for name in ("K", "T_cam_obj", "points", "start_refiner")}
    network = module.networks["refiner"]

    def loss():
        return module.loss("refiner", batch).sum()

    if backbone == "matching":  # gradients are of the places in the last windows: these stay where they first are
        search, held = network.search, []

        def search_once(*arguments):
            if not held:
                held.append(search(*arguments))
            return held[0]

        network.search = search_once
    loss().backward()
    parameters = list(network.parameters())
    for parameter in (parameters[-4], parameters[-2], *(p for p in parameters if p.ndim == 0)):
        direction = torch.randn_like(parameter)
        values = []
        for step in (1e-7, -1e-7):  # few kinks (of ReLU, of the distance) on the way; with this seed none
            with torch.no_grad():
                parameter += step * direction
                values.append(float(loss()))
                parameter -= step * direction
        slope = (values[0] - values[1]) / 2e-7
        assert float((parameter.grad * direction).sum()) == pytest.approx(slope, rel=1e-3, abs=1e-7)


def in_double(value):
    """A tensor, or a dataclass of such, with double where there was float."""
    if dataclasses.is_dataclass(value):
        return type(value)(*(in_double(getattr(value, field.name)) for field in dataclasses.fields(value)))
    return value.double() if value.is_floating_point() else value


def test_both_networks_learn(small, world):
    torch.manual_seed(0)
    module = CosyPoseModule(settings(), world[1].ids)
    module.show(*world)
    batch = torch.utils.data.default_collate([samples(small, world).sample(number) for number in range(6)])
    optimizer = torch.optim.Adam(module.parameters(), lr=2e-3)
    before = {name: float(value.detach()) for name, value in module.losses(batch).items()}
    for _ in range(80):
        optimizer.zero_grad()
        module.losses(batch)["loss"].backward()
        optimizer.step()
    after = {name: float(value.detach()) for name, value in module.losses(batch).items()}
    for stage in ("coarse_loss", "refiner_loss"):
        assert after[stage] < 0.5 * before[stage]


def test_matching_crops_of_odd_sizes_and_hidden_points(small, world):
    torch.manual_seed(0)
    module = CosyPoseModule(settings("network.height=45", "network.width=61"), world[1].ids)
    module.show(*world)
    batch = torch.utils.data.default_collate([samples(small, world).sample(number) for number in range(2)])
    losses = module.losses(batch)
    assert torch.isfinite(torch.stack(list(losses.values()))).all()
    hidden = module.losses(batch | {"visible": torch.zeros_like(batch["visible"])})
    assert hidden["loss"] < 0.5 * losses["loss"]  # points that something hides are not looked for


def test_each_network_is_clipped_by_itself():
    module = CosyPoseModule(settings(), [1])
    for scale, network in zip((1.0, 1e-5), module.networks.values(), strict=True):
        for parameter in network.parameters():
            parameter.grad = torch.full_like(parameter, scale)
    module.clip_networks()
    norms = [float(nn.utils.get_total_norm([p.grad for p in n.parameters()])) for n in module.networks.values()]
    count = sum(p.numel() for p in module.networks["refiner"].parameters())
    assert norms == pytest.approx([0.5, 1e-5 * count**0.5], rel=1e-3)


def test_training_is_repeatable(small, tmp_path):
    overrides = ["train.steps=4", "train.batch_size=4", "train.chunk_steps=2", "train.wandb=disabled"]
    for name in ("a", "b"):
        scenes = [small / "train_synt" / "000000"]
        train(settings(*overrides), small / "models", [1, 2, 3], scenes, tmp_path / name / "model.ckpt", "cpu", 0)
    first, second = (load_model(tmp_path / name / "model.ckpt") for name in ("a", "b"))
    assert first.object_ids == [1, 2, 3]
    assert first.settings == settings(*overrides)
    for name, value in first.state_dict().items():
        torch.testing.assert_close(second.state_dict()[name], value, rtol=0, atol=0)


def test_a_training_starts_from_the_weights_of_another(small, untrained, tmp_path):
    """Whatever objects that one was on, for weights belong to none; another network is refused."""

    def start(out, object_ids, *overrides):
        chosen = settings("train.steps=0", *overrides)
        train(chosen, small / "models", object_ids, [], tmp_path / out, "cpu", 0, start=untrained)
        return load_model(tmp_path / out)

    started, source = start("a.ckpt", [1, 2], "train.seed=5"), load_model(untrained)
    assert started.object_ids == [1, 2]
    for name, value in source.state_dict().items():
        torch.testing.assert_close(started.state_dict()[name], value, rtol=0, atol=0)
    with pytest.raises(InputError, match=r"network\.identity_start=True, the run has False; set it alike"):
        start("b.ckpt", [1, 2, 3], "network.identity_start=false")
    assert not (tmp_path / "b.ckpt").exists()


def test_small_objects_and_objects_without_symmetries(world):
    """Twelve vertices serve where 60 points are asked for; no entry in models_info.json means no symmetry."""
    cube = box((40, 30, 20))
    mesh = Mesh(np.concatenate([cube.vertices, cube.vertices[:4] * 0.5]), cube.faces)
    table = ObjectTable.of({5: mesh, **world[0]}, {}, rotations=8)
    assert table.symmetries.shape[1] == 1
    index = table.ids.index(5)
    points = table.random_points(index, 60, np.random.default_rng(0))
    assert points.shape == (60, 3)
    assert {tuple(p) for p in points.tolist()} <= {tuple(p) for p in mesh.vertices.astype(np.float32).tolist()}
    assert table.fixed_points(2000).shape == (len(table.ids), 2000, 3)


def test_a_custom_dataset_of_crude_objects_is_trained_on_and_estimated(small, tmp_path):
    """Twelve vertices, no symmetries in models_info.json, an image without detections: all of it works."""
    root = tmp_path / "mine"
    shutil.copytree(small, root)
    cube = box((40, 30, 20))
    crude = Mesh(np.concatenate([cube.vertices, cube.vertices[:4] * 0.5]), cube.faces)
    save_ply(root / "models" / "obj_000002.ply", crude)
    info = root / "models" / "models_info.json"
    entries = {key: {"diameter": entry["diameter"]} for key, entry in json.loads(info.read_text()).items()}
    entries["2"]["diameter"] = diameter(crude.vertices)
    info.write_text(json.dumps(entries))
    found = [record for record in json.loads((root / "simulated.json").read_text()) if record["image_id"] == 0]
    (root / "found.json").write_text(json.dumps(found))
    chosen = settings("train.steps=2", "train.batch_size=4", "train.chunk_steps=2", "train.wandb=disabled")
    model, out = tmp_path / "run" / "model.ckpt", tmp_path / "run" / "estimates.csv"
    train(chosen, root / "models", [1, 2, 3], [root / "train_synt" / "000000"], model, "cpu", 0)
    infer(chosen, model, root, "test", root / "found.json", root / "surface", out, "cpu")
    estimates = read_estimates(out)
    assert len(estimates) == len(found) > 0
    assert set(estimates.im_id.tolist()) == {0}
    assert 2 in estimates.obj_id
    (root / "none.json").write_text("[]")
    with pytest.raises(InputError, match="list of detections is empty; run the detector again"):
        infer(chosen, model, root, "test", root / "none.json", root / "surface", tmp_path / "none.csv", "cpu")
    assert not (tmp_path / "none.csv").exists()


def test_nothing_visible_to_train_on_is_one_sentence(small, world):
    with pytest.raises(InputError, match=r"lower data\.min_visib_px"):
        samples(small, world, "data.min_visib_px=1000000")
