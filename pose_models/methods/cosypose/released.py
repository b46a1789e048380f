"""Weights of the authors' release in this package's layout (cosypose.md section 4.4)."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pose_models.files import InputError
from pose_models.methods.cosypose.config import CosyPoseSettings, NetworkSettings, Stage
from pose_models.methods.cosypose.model import CosyPoseModule
from pose_models.training.released_config import read_run_config

# `backbone_str` and `init_method` of the release, as settings of ours; no `init_method` means the paper's.
BACKBONES = {
    "efficientnet-b3": "efficientnet_b3",
    "resnet18": "wide_resnet18",
    "resnet34": "wide_resnet34",
    "flownet": "flownet",
}
STARTS = {"v0": "fixed", "z-up+auto-depth": "upright"}
RENDER_CENTER = 0.5

BLOCKS_PER_STAGE = (2, 3, 3, 5, 5, 6, 2)
_LAYERS = (
    ("_expand_conv", "_bn0"),
    ("_depthwise_conv", "_bn1"),
    ("_se_reduce", "_se_expand"),
    ("_project_conv", "_bn2"),
)


def released_modules() -> dict[str, str]:
    """The release's name of each layer of `backbones.efficientnet_b3`, by our name of it."""
    names = {"0.0": "_conv_stem", "0.1": "_bn0", "8.0": "_conv_head", "8.1": "_bn1"}
    number = 0
    for stage, count in enumerate(BLOCKS_PER_STAGE, start=1):
        layers = _LAYERS if stage > 1 else _LAYERS[1:]  # the first stage does not expand
        for index in range(count):
            for place, pair in enumerate(layers):
                parts = ("fc1", "fc2") if pair[0] == "_se_reduce" else ("0", "1")
                ours = [f"{stage}.{index}.block.{place}.{part}" for part in parts]
                names |= {name: f"_blocks.{number}.{theirs}" for name, theirs in zip(ours, pair, strict=True)}
            number += 1
    return names


def released_name(name: str, modules: dict[str, str]) -> str | None:
    """The release's name of a tensor; None for the counters of seen batches, which it may lack."""
    layer, _, kind = name.rpartition(".")
    return None if kind == "num_batches_tracked" else f"{modules[layer]}.{kind}"


def read_released(checkpoints: Mapping[Stage, Path], object_ids: Sequence[int]) -> CosyPoseModule:
    """A model of released checkpoints, each with its config.yaml beside it.

    Args:
        checkpoints: checkpoint.pth.tar of the stages that there are.
        object_ids: objects that they were trained on.

    Raises:
        InputError: missing or unreadable files, weights that are not exactly those of the configured network, or two
            stages whose networks differ.
    """
    networks = {stage: read_network_settings(path, stage) for stage, path in checkpoints.items()}
    settings = next(iter(networks.values()))
    # The first pose is the coarse network's; a refiner alone has that of its own configuration.
    settings = settings.model_copy(
        update={"stages": tuple(checkpoints), "start": networks.get("coarse", settings).start}
    )
    for stage, network in networks.items():
        if (network.backbone, network.rotation) != (settings.backbone, settings.rotation):
            raise InputError(f"{checkpoints[stage]}: its network is {network.backbone}, not {settings.backbone}")
    model = CosyPoseModule(CosyPoseSettings(network=settings), object_ids)
    for stage, path in checkpoints.items():
        network_module = model.networks[stage]
        state = convert_state_dict(path, _tensors(path), network_module, settings.backbone)
        network_module.load_state_dict(state)
    return model.eval()


def read_network_settings(checkpoint: Path, stage: Stage) -> NetworkSettings:
    """The network that the config.yaml beside a checkpoint describes.

    Raises:
        InputError: the file is missing or unreadable, describes another stage, or an unknown network.
    """
    path = checkpoint.with_name("config.yaml")
    fields = read_run_config(path)
    if fields.get(f"train_{stage}") is False:
        raise InputError(f"{path}: train_{stage} is false; give the {stage} checkpoint")
    backbone, start = str(fields.get("backbone_str")), str(fields.get("init_method", "v0"))
    known = next((ours for theirs, ours in BACKBONES.items() if backbone.startswith(theirs)), None)
    rotation = {9: "6d", 7: "quaternion"}.get(fields.get("n_pose_dims", 9))
    first = next((ours for theirs, ours in STARTS.items() if start.startswith(theirs)), None)
    if known is None or rotation is None or first is None:
        raise InputError(
            f"{path}: backbone_str '{backbone}', n_pose_dims {fields.get('n_pose_dims')} or init_method '{start}' is "
            "not known"
        )
    values: dict[str, Any] = {"backbone": known, "rotation": rotation, "start": first, "render_center": RENDER_CENTER}
    return NetworkSettings(**values)


def convert_state_dict(path: Path, state: Mapping[str, Tensor], network: nn.Module, backbone: str) -> dict[str, Tensor]:
    """A released network's tensors under the names of ours, each exactly once.

    Raises:
        InputError: a tensor is missing, of another shape, or left over; names the first one.
    """
    modules, rest, converted = released_modules(), dict(state), {}
    for name, tensor in network.state_dict().items():
        part, _, inner = name.partition(".")
        theirs: str | None = name
        if part == "backbone" and backbone == "efficientnet_b3":
            renamed = released_name(inner, modules)
            theirs = None if renamed is None else f"backbone.{renamed}"
        elif name.endswith("num_batches_tracked"):
            theirs = None
        if theirs is None:
            converted[name] = tensor  # a counter that changes nothing at inference
            continue
        if theirs not in rest or rest[theirs].shape != tensor.shape:
            raise InputError(f"{path}: tensor '{theirs}' is missing or not of shape {tuple(tensor.shape)}")
        converted[name] = rest.pop(theirs)
    left = [name for name in rest if not name.endswith("num_batches_tracked")]
    if left:
        raise InputError(f"{path}: tensor '{left[0]}' is not one of this network's")
    return converted


def _tensors(path: Path) -> dict[str, Tensor]:
    if not path.exists():
        raise InputError(f"{path}: file not found")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
        reason = (str(error).splitlines() or ["empty file"])[0]
        raise InputError(f"{path}: unreadable checkpoint ({reason})") from None
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path}: no released CosyPose checkpoint: it has no state_dict of tensors")
    return state
