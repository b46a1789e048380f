"""Released checkpoints: a file in the release's layout becomes one of ours with the same answers."""

import pytest
import torch

from pose_models.files import InputError
from pose_models.methods.surfemb.config import NetworkSettings, SurfEmbSettings
from pose_models.methods.surfemb.keys import Sphere
from pose_models.methods.surfemb.model import SurfEmbModule, load_model
from pose_models.methods.surfemb.released import read_released, rename
from tests.methods.surfemb.conftest import run

SPHERES = {i: Sphere((0.0, 0.0, 0.0), 1.0) for i in (1, 2, 3)}
NETWORK = NetworkSettings(pretrained=False, key_width=16, separate_decoders=False)


def _released_name(name):
    """The release's name of one of our tensors, the inverse of `rename`."""
    encoder = {"conv1": "layer0.0", "bn1": "layer0.1", "layer1": "layer1.1"}
    parts = name.split(".")
    if parts[0] == "key_networks":
        return ".".join(["mlps", *parts[1:]])
    if parts[1] == "encoder":
        return ".".join(["cnn", encoder.get(parts[2], parts[2]), *parts[3:]])
    decoder, kind, rest = f"cnn.decoder{parts[2]}", parts[3], parts[4:]
    if kind == "lateral":
        return f"{decoder}_layer{rest[0]}_1x1.0.{rest[1]}"
    if kind == "merge":
        return f"{decoder}_conv_up{3 - int(rest[0])}.0.{rest[1]}"
    return f"{decoder}_conv_original_size.0.{rest[0]}" if kind == "head" else f"{decoder}_conv_last.{rest[0]}"


@pytest.fixture
def released(tmp_path):
    model = SurfEmbModule(SurfEmbSettings(network=NETWORK), SPHERES)
    state = {_released_name(name): value for name, value in model.state_dict().items()}
    state["cnn.base_model.fc.weight"] = torch.zeros(1000, 512)
    hyper = {"n_objs": 3, "emb_dim": 12, "separate_decoders": False}
    torch.save({"state_dict": state, "hyper_parameters": hyper}, tmp_path / "x.compact.ckpt")
    return model.eval(), tmp_path / "x.compact.ckpt"


def test_names_are_inverse(released):
    model, _ = released
    assert all(rename(_released_name(name)) == name for name in model.state_dict())


def test_a_released_checkpoint_answers_as_before(released, small, tmp_path):
    model, path = released
    run("import_released.py", "--checkpoint", path, "--models", small / "models", "--out", tmp_path / "model.ckpt")
    imported = load_model(tmp_path / "model.ckpt")
    images, index = torch.randn(2, 3, 32, 32), torch.tensor([0, 2])
    with torch.no_grad():
        torch.testing.assert_close(imported.query_network(images, index), model.query_network(images, index))
        points = torch.rand(2, 5, 3)
        torch.testing.assert_close(imported.keys(points, index), model.keys(points, index))
    assert imported.object_ids == [1, 2, 3]


def test_other_files_are_refused(released, tmp_path):
    _, path = released
    with pytest.raises(InputError, match="made for 3 objects, the models folder has 1"):
        read_released(path, {1: SPHERES[1]})
    torch.save({"weights": 1}, tmp_path / "other.ckpt")
    with pytest.raises(InputError, match="no released SurfEmb checkpoint"):
        read_released(tmp_path / "other.ckpt", SPHERES)
