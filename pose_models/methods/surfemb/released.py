"""Weights of the authors' release in this package's layout (surfemb.md section 7.3)."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pose_models.files import InputError
from pose_models.methods.surfemb.config import NetworkSettings, SurfEmbSettings
from pose_models.methods.surfemb.keys import Sphere
from pose_models.methods.surfemb.model import SurfEmbModule

_RENAMES = (
    (r"cnn\.layer0\.0\.", "query_network.encoder.conv1."),
    (r"cnn\.layer0\.1\.", "query_network.encoder.bn1."),
    (r"cnn\.layer1\.1\.", "query_network.encoder.layer1."),
    (r"cnn\.layer([234])\.", r"query_network.encoder.layer\1."),
    (r"cnn\.decoder(\d+)_layer(\d)_1x1\.0\.", r"query_network.decoders.\1.lateral.\2."),
    (r"cnn\.decoder(\d+)_conv_original_size\.0\.", r"query_network.decoders.\1.head."),
    (r"cnn\.decoder(\d+)_conv_last\.", r"query_network.decoders.\1.last."),
    (r"mlps\.", "key_networks."),
)


def rename(name: str) -> str | None:
    """Our name of a released tensor; None for the encoder's duplicates and the unused ImageNet classifier."""
    if name.startswith("cnn.base_model."):
        return None
    merge = re.match(r"cnn\.decoder(\d+)_conv_up(\d)\.0\.(.*)", name)
    if merge:  # counted from the coarsest here, from the finest there
        return f"query_network.decoders.{merge[1]}.merge.{3 - int(merge[2])}.{merge[3]}"
    for pattern, replacement in _RENAMES:
        renamed, count = re.subn(f"^{pattern}", replacement, name)
        if count:
            return renamed
    raise InputError(f"tensor '{name}' is not one of SurfEmb's release")


def convert_state_dict(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A released state dict under our names."""
    renamed = {rename(name): value for name, value in state.items()}
    return {name: value for name, value in renamed.items() if name is not None}


def read_released(path: Path, spheres: Mapping[int, Sphere]) -> SurfEmbModule:
    """Read a released compact checkpoint for the objects whose bounding spheres are given.

    Raises:
        InputError: unreadable file, another program's, made for another number of objects, or incomplete.
    """
    content = _load(path)
    network, objects, state = _network(path, content["hyper_parameters"], content["state_dict"])
    if objects != len(spheres):
        raise InputError(f"{path}: made for {objects} objects, the models folder has {len(spheres)}")
    model = SurfEmbModule(SurfEmbSettings(network=network), spheres, pretrained=False)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split(":", 1)[-1].split())
        raise InputError(f"{path}: weights do not fit SurfEmb's networks ({reason[:160]})") from None
    return model.eval()


def _network(
    path: Path, hyper: Mapping[str, Any], released: Mapping[str, Tensor]
) -> tuple[NetworkSettings, int, dict[str, Tensor]]:
    """Settings of the networks, number of objects, and weights under our names."""
    try:
        state = convert_state_dict(released)
        layers = sum(name.startswith("key_networks.0.net.") and name.endswith("linear.weight") for name in state)
        network = NetworkSettings(
            separate_decoders=bool(hyper["separate_decoders"]),
            embedding_dim=int(hyper["emb_dim"]),
            key_width=state["key_networks.0.net.0.linear.weight"].shape[0],
            key_hidden_layers=layers - 1,
        )
        return network, int(hyper["n_objs"]), state
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: no checkpoint of SurfEmb's release ({error} is missing or unusable)") from None


def _load(path: Path) -> dict[str, Any]:
    from lightning.fabric.utilities.data import AttributeDict

    if not path.exists():
        raise InputError(f"{path}: file not found")
    try:
        with torch.serialization.safe_globals([AttributeDict]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(f"{path}: unreadable checkpoint ({str(error).splitlines()[0]})") from None
    if not isinstance(content, dict) or {"state_dict", "hyper_parameters"} - set(content):
        raise InputError(f"{path}: no released SurfEmb checkpoint: state_dict or hyper_parameters are missing")
    return content
