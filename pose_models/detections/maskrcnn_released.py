"""Detectors of CosyPose's release as detectors of ours (cosypose.md sections 4.4 and 16).

Both are torchvision's Mask R-CNN, so the names of the weights are the same but for what torchvision renamed since,
which it converts itself; their boxes lack the last column and row, half a pixel that is within their error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pose_models.detections.maskrcnn import MaskRcnnModule, read_tensors
from pose_models.detections.maskrcnn_config import MaskRcnnSettings, NetworkSettings
from pose_models.files import InputError
from pose_models.training.released_config import read_run_config

BACKBONES = {"resnet50-fpn": "resnet50", None: "resnet50"}


def read_released_detector(checkpoint: Path, config: Path | None = None) -> MaskRcnnModule:
    """A released detector.

    Args:
        checkpoint: checkpoint.pth.tar of a run `detector-bop-...`.
        config: its config.yaml; None: the one beside it.

    Raises:
        InputError: missing or unreadable files, or weights that are not exactly those of the configured network.
    """
    path = config or checkpoint.with_name("config.yaml")
    fields = read_run_config(path)
    object_ids = _object_ids(path, fields.get("label_to_category_id"))
    settings = MaskRcnnSettings(network=_network(path, fields, checkpoint))
    try:
        height, width = (int(side) for side in fields["input_resize"])
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path}: no usable 'input_resize' (height, width)") from None
    module = MaskRcnnModule(settings, object_ids, (width, height))
    state = read_tensors(checkpoint)
    _check_classes(checkpoint, state, len(object_ids) + 1)
    try:
        module.network.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split(":", 1)[-1].split())
        raise InputError(f"{checkpoint}: weights do not fit a Mask R-CNN of {path} ({reason[:160]})") from None
    return module.eval()


def _object_ids(path: Path, labels: Any) -> list[int]:
    """Object ids in the order of their numbers 1, 2, ...; their names are `obj_000012`."""
    if not isinstance(labels, Mapping):
        raise InputError(f"{path}: no 'label_to_category_id'; is it the configuration of a detector?")
    numbered = {}
    for label, number in labels.items():
        found = re.fullmatch(r"(?:obj_)?0*(\d+)", str(label))
        if found and isinstance(number, int):
            numbered[number] = int(found[1])
        elif label != "background":
            raise InputError(f"{path}: label_to_category_id: '{label}: {number}' is no object such as obj_000012: 3")
    object_ids = [numbered[number] for number in sorted(numbered)]
    if sorted(numbered) != list(range(1, len(numbered) + 1)) or object_ids != sorted(object_ids) or not object_ids:
        raise InputError(f"{path}: label_to_category_id: objects must be numbered from 1 in the order of their ids")
    return object_ids


def _network(path: Path, fields: Mapping[str, Any], checkpoint: Path) -> NetworkSettings:
    backbone = fields.get("backbone_str")
    if backbone not in BACKBONES:
        raise InputError(f"{path}: backbone_str: '{backbone}' is not known; known: resnet50-fpn")
    try:
        sizes = [int(size[0] if isinstance(size, list | tuple) else size) for size in _levels(fields["anchor_sizes"])]
        anchors = (sizes[0], sizes[1], sizes[2], sizes[3], sizes[4])
    except (KeyError, TypeError, ValueError, IndexError):
        raise InputError(f"{path}: no usable 'anchor_sizes' (five levels)") from None
    return NetworkSettings(weights=str(checkpoint), anchor_sizes=anchors, norm="frozen")


def _levels(sizes: Any) -> Any:
    """Anchor sizes by level, also where the release wraps all five into one more list."""
    return sizes[0] if len(sizes) == 1 else sizes


def _check_classes(checkpoint: Path, state: Mapping[str, Tensor], classes: int) -> None:
    weight = state.get("roi_heads.box_predictor.cls_score.weight")
    if weight is not None and len(weight) != classes:
        raise InputError(
            f"{checkpoint}: made for {len(weight) - 1} objects, its configuration names {classes - 1}; the two files "
            "belong to different runs"
        )
