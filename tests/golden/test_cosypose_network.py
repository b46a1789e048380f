"""Backbones of CosyPose's pose networks against the reference, in float64, with weights filled by a formula."""

import functools
import json

import numpy as np
import pytest
import torch

from pose_models.methods.cosypose.backbones import build_backbone, pooled
from pose_models.methods.cosypose.released import released_modules, released_name


def filled(k, name, shape):
    """Tensor k of the list of names, as the vectors' README says."""
    count = int(np.prod(shape))
    v = np.sin(0.5 + 1.7 * np.arange(count) + 0.3 * k).reshape(shape)
    if name.endswith("running_var"):
        return 1 + 0.1 * v
    if len(shape) >= 2:
        return v * np.sqrt(3 * shape[0] / count)
    if name.endswith("weight"):
        return 1 + 0.1 * v
    return 0.1 * v


def load_filled(backbone, names_shapes, to_reference):
    """Strictly: every tensor of ours has one of theirs, of the same shape, and the other way round."""
    reference = {name: filled(k, name, shape) for k, (name, shape) in enumerate(names_shapes)}
    state = {}
    for name, tensor in backbone.state_dict().items():
        theirs = to_reference(name)
        state[name] = tensor if theirs is None else torch.from_numpy(np.asarray(reference.pop(theirs)))
        assert state[name].shape == tensor.shape, name
    assert not reference, f"not ours: {sorted(reference)[:3]}"
    backbone.double().load_state_dict(state)
    return backbone.eval()


def image():
    count = 6 * 240 * 320
    return torch.from_numpy(0.5 + 0.5 * np.sin(0.01 * np.arange(count) + 0.1)).reshape(1, 6, 240, 320)


def near(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def recorded(modules):
    """List that fills with the outputs of modules, without the batch."""
    outputs = []
    for module in modules:
        module.register_forward_hook(lambda *hooked: outputs.append(hooked[2][0]))
    return outputs


def plain(name):
    return None if name.endswith("num_batches_tracked") else name


@pytest.mark.parametrize("pattern", ["backbone_efficientnet_b3*.npz", "backbone_wide_resnet*.npz"])
def test_backbones(golden_dir, pattern):
    found = sorted((golden_dir / "cosypose").glob(pattern))
    assert found, f"no {pattern}"
    for path in found:
        arrays, name = np.load(path), path.stem.removeprefix("backbone_")
        backbone, features = build_backbone(name)
        names_shapes = json.loads(str(arrays["state_dict_names_shapes_json"]))
        modules = released_modules()
        renamed = functools.partial(released_name, modules=modules) if name == "efficientnet_b3" else plain
        load_filled(backbone, names_shapes, renamed)
        assert sum(p.numel() for p in backbone.parameters()) == int(arrays["n_params"])
        blocks = [block for stage in list(backbone)[1:8] for block in stage] if name == "efficientnet_b3" else []
        outputs = recorded(blocks)
        with torch.no_grad():
            output = backbone(image())
        assert output.shape == tuple(arrays["features_shape"])
        assert output.shape[1] == features
        near(pooled(output).numpy(), arrays["pooled"])
        if outputs:
            near(output[:, :8].numpy(), arrays["features_corner"])
            assert [tuple(block.shape) for block in outputs] == [tuple(s) for s in arrays["block_output_shapes"]]
            for key in (key for key in arrays.files if key.startswith("block") and key.endswith("mean")):
                near(outputs[int(key[5:7])].mean(dim=(1, 2)).numpy(), arrays[key])
