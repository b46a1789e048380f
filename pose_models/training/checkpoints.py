"""Checkpoint files of trained models: plain tensors and settings, loaded with `weights_only=True`."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from pydantic import BaseModel
from torch import nn

from pose_models.files import InputError, atomic_path, json_digest, write_text

log = logging.getLogger(__name__)

FORMAT = "bopflow-1"

Module = TypeVar("Module", bound=nn.Module)


class Trained(Protocol):
    """A method's module: its settings have a section `network`, which the weights fit."""

    settings: Any
    object_ids: list[int]

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


def save_checkpoint(path: str | Path, family: str, content: dict[str, Any]) -> None:
    """Write a model of a method family, whole or not at all."""
    with atomic_path(path) as temporary:
        torch.save({"format": FORMAT, "family": family, **content}, temporary)


def save_model(path: str | Path, family: str, settings: BaseModel, model: nn.Module, **content: Any) -> None:
    """Write what inference needs: settings, weights, and what else the method names; whole or not at all."""
    weights = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
    save_checkpoint(path, family, {"settings": settings.model_dump(mode="json"), **content, "state_dict": weights})


def with_weights(model: Module, content: dict[str, Any], path: str | Path) -> Module:
    """A model with the weights of a checkpoint's content, ready for inference.

    Raises:
        InputError: they do not fit.
    """
    try:
        model.load_state_dict(content["state_dict"])
    except RuntimeError as error:
        reason = " ".join(str(error).split(":", 1)[-1].split())[:160]
        raise InputError(f"{path}: weights do not fit the settings beside them ({reason}); train again") from None
    return model.eval()


def take_weights(model: Trained, start: Trained, path: str | Path, same_objects: bool) -> None:
    """Let a training start from the weights of a finished one, whatever that was trained on.

    Args:
        model, start: modules of one method. path: checkpoint of `start`.
        same_objects: whether the method's weights belong to certain objects.

    Raises:
        InputError: another network, or other objects.
    """
    own, other = (module.settings.network.model_dump(mode="json") for module in (model, start))
    if differing := [key for key in own if own[key] != other[key]]:
        key = differing[0]
        raise InputError(f"{path}: was trained with network.{key}={other[key]}, the run has {own[key]}; set it alike")
    if same_objects and model.object_ids != start.object_ids:
        raise InputError(
            f"{path}: was trained on objects {start.object_ids}, the run is on {model.object_ids}; start from another"
        )
    model.load_state_dict(start.state_dict())
    log.info("starting from %s", path)


def load_checkpoint(path: str | Path, family: str) -> dict[str, Any]:
    """Read a checkpoint of the given family.

    Raises:
        InputError: missing or unreadable file, or a checkpoint of another method.
    """
    content = _load(path)
    if content["family"] != family:
        raise InputError(f"{path}: checkpoint of method '{content['family']}', expected '{family}'")
    return content


def family_of(path: str | Path) -> str:
    """The method family that a checkpoint belongs to.

    Raises:
        InputError: missing or unreadable file, or no checkpoint of ours.
    """
    return str(_load(path, mmap=True)["family"])


def _load(path: str | Path, mmap: bool = False) -> dict[str, Any]:
    if not Path(path).exists():
        raise InputError(f"{path}: checkpoint not found; train the method first")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError, ValueError) as error:
        first_line = (str(error).splitlines() or ["empty file"])[0]
        raise InputError(f"{path}: unreadable checkpoint ({first_line}); train again or copy it anew") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path}: not a bopflow checkpoint; import released weights first")
    return content


def forget_other_training(folder: Path, key: Any) -> None:
    """Delete the state of an unfinished training in `folder` unless it has the same key (settings and inputs).

    Nothing but the very same training may be continued: with another learning rate, or on other images, the old
    state would pass for a result of the new one. Where no state is left, the curves of an earlier training go too.
    """
    mark, digest = folder / "key", json_digest(key)
    if (folder / "last.ckpt").exists() and mark.exists() and mark.read_text() == digest:
        return
    for path in (folder / "last.ckpt", folder / "metrics.csv", *folder.glob("valid_*.png")):
        path.unlink(missing_ok=True)
    write_text(mark, digest)


def input_stamps(paths: Iterable[Path]) -> list[list[Any]]:
    """Name, size and time of files that a training reads, for the key of `forget_other_training`."""
    return [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in paths]
