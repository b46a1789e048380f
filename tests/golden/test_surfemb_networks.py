"""Reference vectors of SurfEmb: key MLP (05), losses (06), rotations (07), query network and its names (08)."""

import json

import numpy as np
import torch

from pose_models.methods.surfemb.config import NetworkSettings, SurfEmbSettings
from pose_models.methods.surfemb.data import to_network
from pose_models.methods.surfemb.keys import KeyNetwork, Sphere
from pose_models.methods.surfemb.losses import correspondence_loss, mask_loss, sample_queries
from pose_models.methods.surfemb.model import SurfEmbModule
from pose_models.methods.surfemb.network import QueryNetwork, rotate_four, rotate_four_back, select_object
from pose_models.methods.surfemb.released import convert_state_dict
from tests.golden.surfemb_vectors import formula_weight, vectors

KEY_STD = {"0": 1 / (3 * np.sqrt(3)), "1": np.sqrt(2 / 256) / 30, "2": np.sqrt(2 / 256) / 30}


def _key_network(v, prefix, width):
    network = KeyNetwork(NetworkSettings(key_width=width))
    names = network.state_dict()
    network.load_state_dict({name: torch.from_numpy(v[f"{prefix}{name}"]) for name in names})
    return network


def _key_formula(name, shape):
    if name.endswith("bias"):
        return formula_weight(name, shape, 0.01)
    layer = name.split(".")[1]
    return formula_weight(name, shape, KEY_STD.get(layer, 60 * np.sqrt(2 / 256) / 30))


def test_keys_are_those_of_the_reference(golden_dir):
    for v in vectors(golden_dir, "05_*.npz"):
        x = torch.from_numpy(v["x"]).requires_grad_()
        keys = _key_network(v, "w48.", 48)(x)
        np.testing.assert_allclose(keys.detach().numpy(), v["y48"], atol=1e-5)
        keys.square().sum().backward()
        expected = v["grad_x_of_sum_y2"]
        np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
        wide = KeyNetwork(NetworkSettings())
        state = {name: torch.from_numpy(_key_formula(name, t.shape)) for name, t in wide.state_dict().items()}
        wide.load_state_dict(state)
        np.testing.assert_allclose(wide(x).detach().numpy(), v["y256_formula"], atol=2e-4)
        torch.manual_seed(0)
        drawn = [list(KeyNetwork(NetworkSettings()).state_dict().values()) for _ in range(20)]
        for tensors, (low, high, std) in zip(
            zip(*drawn, strict=True), v["init256_min_max_std_per_tensor"], strict=True
        ):
            every = torch.stack(tensors)
            np.testing.assert_allclose(every.std(), std, rtol=0.1)
            assert every.abs().max() <= 1.1 * max(-low, high)


def test_losses_and_gradients_are_those_of_the_reference(golden_dir):
    for v in vectors(golden_dir, "06_*.npz"):
        for layout, objects in (("sep", None), ("single", 3)):
            _check_losses({name[len(layout) + 1 :]: v[name] for name in v.files if name.startswith(layout)}, objects)


def _check_losses(v, objects):
    output = torch.from_numpy(v["cnn_out"]).requires_grad_()
    index = torch.from_numpy(v["obj_idx"])
    chosen = output if objects is None else select_object(output, index, objects)
    pixels = torch.from_numpy(v["mask_samples_yx"])
    coordinates = torch.from_numpy(v["obj_coord"])
    positive = torch.stack([c[p[:, 0], p[:, 1], :3] for c, p in zip(coordinates, pixels, strict=True)])
    positive = positive + float(v["key_noise"]) * torch.from_numpy(v["noise_pos"])
    negative = torch.from_numpy(v["surface_samples"]) + float(v["key_noise"]) * torch.from_numpy(v["noise_neg"])
    networks = {i: _key_network(v, f"mlp{i}.", 32) for i in set(index.tolist())}
    keys = [torch.stack([networks[i](p) for i, p in zip(index.tolist(), points, strict=True)])
            for points in (positive, negative)]  # fmt: skip
    nce = correspondence_loss(sample_queries(chosen[:, 1:], pixels), *keys)
    mask = mask_loss(chosen[:, 0], coordinates[..., 3])
    for value, name in ((nce, "nce_loss"), (mask, "mask_loss"), (nce + mask, "loss")):
        np.testing.assert_allclose(value.detach(), v[name], atol=1e-5)
    (nce + mask).backward()
    expected = v["grad_cnn_out"]
    np.testing.assert_allclose(output.grad.numpy(), expected, atol=1e-4 * np.abs(expected).max())
    for i, network in networks.items():
        expected = v[f"mlp{i}.grad_net.0.linear.weight"]
        found = network.net[0].linear.weight.grad.numpy()
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_rotations_are_those_of_the_reference(golden_dir):
    for v in vectors(golden_dir, "07_*.npz"):
        np.testing.assert_array_equal(rotate_four(torch.from_numpy(v["batch"])), v["rotated"])
        np.testing.assert_array_equal(rotate_four_back(torch.from_numpy(v["batch4"])), v["rotated_back"])


def _query_formula(name, shape):
    """Formula weight of an image-network tensor, named as in the manifest without the leading `cnn.`."""
    if "num_batches" in name:
        return np.zeros(shape, np.int64)
    if len(shape) == 4:
        return formula_weight(name, shape, np.sqrt(2 / np.prod(shape[1:])))
    noise = formula_weight(name, shape, 0.1)
    if name.endswith("running_var"):
        return np.exp(noise)
    return 1 + noise if name.endswith("weight") else noise


def test_query_network_is_that_of_the_reference(golden_dir):
    manifest = json.loads((golden_dir / "surfemb" / "08_state_dict_manifest.json").read_text())["separate_decoders"]
    released = {
        name: torch.from_numpy(np.asarray(_query_formula(name.removeprefix("cnn."), shape)))
        for name, shape in manifest.items()
        if name.startswith("cnn.") and "base_model" not in name
    }
    state = {name.removeprefix("query_network."): value for name, value in convert_state_dict(released).items()}
    network = QueryNetwork(NetworkSettings(pretrained=False), objects=2).eval()
    network.load_state_dict(state)
    for v in vectors(golden_dir, "08_*.npz"):
        with torch.no_grad():
            answer = network(torch.from_numpy(v["x"]), torch.from_numpy(v["decoder_idx"])).numpy()
            inputs = to_network(v["img_uint8"])
            index = torch.full((4,), int(v["obj_idx"]))
            turned = rotate_four_back(network(rotate_four(inputs), index)).mean(dim=0).numpy()
            plain = network(inputs[None], index[:1])[0].numpy()
        limit = 1e-3 * np.abs(v["y"]).max()
        np.testing.assert_allclose(answer, v["y"], atol=limit)
        for found, prefix in ((turned, "ens"), (plain, "noens")):
            np.testing.assert_allclose(found[0], v[f"{prefix}_mask_lgts"], atol=limit)
            np.testing.assert_allclose(found[1:].transpose(1, 2, 0), v[f"{prefix}_query"], atol=limit)


def test_every_released_tensor_has_a_place_here(golden_dir):
    manifests = json.loads((golden_dir / "surfemb" / "08_state_dict_manifest.json").read_text())
    spheres = {1: Sphere((0, 0, 0), 1), 2: Sphere((0, 0, 0), 1)}
    for kind, manifest in manifests.items():
        network = NetworkSettings(pretrained=False, separate_decoders=kind == "separate_decoders")
        model = SurfEmbModule(SurfEmbSettings(network=network), spheres)
        released = convert_state_dict({name: torch.zeros(shape) for name, shape in manifest.items()})
        expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
        assert {name: tuple(value.shape) for name, value in released.items()} == expected
