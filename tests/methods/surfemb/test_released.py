"""Released checkpoints: a file in the release's layout becomes one of ours with the same answers."""

import numpy as np
import pytest
import torch

from pose_models.files import InputError
from pose_models.methods.surfemb.config import NetworkSettings, SurfEmbSettings
from pose_models.methods.surfemb.infer import read_surface
from pose_models.methods.surfemb.keys import Sphere
from pose_models.methods.surfemb.model import SurfEmbModule, load_model
from pose_models.methods.surfemb.released import read_released, rename
from pose_models.methods.surfemb.released_surface import read_surface_samples
from tests.methods.conftest import run

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


def _changed(path, tmp_path, change):
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, tmp_path / "changed.ckpt")
    return tmp_path / "changed.ckpt"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda c: c["hyper_parameters"].pop("emb_dim"), "'emb_dim' is missing or unusable"),
        (lambda c: c["state_dict"].pop("mlps.0.net.0.linear.weight"), "no checkpoint of SurfEmb's release"),
        (lambda c: c["state_dict"].pop("mlps.1.net.0.linear.bias"), r"weights do not fit .*key_networks\.1\.net\.0"),
        (lambda c: c["state_dict"].update(surprise=torch.zeros(1)), "tensor 'surprise' is not one of SurfEmb's"),
        (lambda c: c["hyper_parameters"].update(separate_decoders=True), "weights do not fit SurfEmb's networks"),
    ],
)
def test_wrong_checkpoints_give_one_sentence(released, tmp_path, change, sentence):
    with pytest.raises(InputError, match=sentence) as error:
        read_released(_changed(released[1], tmp_path, change), SPHERES)
    assert str(error.value).startswith(str(tmp_path / "changed.ckpt"))
    assert "\n" not in str(error.value)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    class Harm:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'harm')!r}, 'w')",))

    torch.save({"state_dict": Harm(), "hyper_parameters": {}}, tmp_path / "harm.ckpt")
    with pytest.raises(InputError, match="unreadable checkpoint"):
        read_released(tmp_path / "harm.ckpt", SPHERES)
    assert not (tmp_path / "harm").exists()


def _points_ply(path, points, kind="double"):
    path.parent.mkdir(parents=True, exist_ok=True)
    axes = "".join(f"property {kind} {axis}\n" for axis in "xyz")
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\n{axes}end_header\n"
    path.write_bytes(header.encode() + points.astype("<f8" if kind == "double" else "<f4").tobytes())


def test_surface_samples_of_the_release_become_ours(tmp_path):
    rng = np.random.default_rng(0)
    points = {i: rng.uniform(-50, 50, (20 + i, 3)) for i in (1, 5)}
    normals = {i: p / np.linalg.norm(p, axis=1, keepdims=True) for i, p in points.items()}
    for i, kind in ((1, "double"), (5, "float")):
        _points_ply(tmp_path / "samples" / f"obj_{i:06d}.ply", points[i], kind)
        _points_ply(tmp_path / "normals" / f"obj_{i:06d}.ply", normals[i], kind)
    run("import_surface.py", "--samples", tmp_path / "samples", "--normals", tmp_path / "normals", "--out",
        tmp_path / "out")  # fmt: skip
    for i in points:
        read, directions = read_surface(tmp_path / "out" / f"obj_{i:06d}.npz")
        np.testing.assert_allclose(read, points[i], atol=1e-5)
        np.testing.assert_allclose(directions, normals[i], atol=1e-6)


def test_points_and_normals_have_to_belong_together(tmp_path):
    points = np.eye(3)
    _points_ply(tmp_path / "p.ply", points)
    _points_ply(tmp_path / "n.ply", points[:2])
    with pytest.raises(InputError, match="2 normals for 3 points"):
        read_surface_samples(tmp_path / "p.ply", tmp_path / "n.ply")
    _points_ply(tmp_path / "n.ply", 7 * points)
    with pytest.raises(InputError, match=r"no unit normals \(lengths 7 to 7\)"):
        read_surface_samples(tmp_path / "p.ply", tmp_path / "n.ply")
