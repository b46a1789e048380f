"""Checkpoint files of trained models: plain tensors and settings, loaded with `weights_only=True`."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from pose_models.files import InputError, atomic_path

FORMAT = "bopflow-1"


def save_checkpoint(path: str | Path, family: str, content: dict[str, Any]) -> None:
    """Write a model of a method family, whole or not at all."""
    with atomic_path(path) as temporary:
        torch.save({"format": FORMAT, "family": family, **content}, temporary)


def load_checkpoint(path: str | Path, family: str) -> dict[str, Any]:
    """Read a checkpoint of the given family.

    Raises:
        InputError: missing or unreadable file, or a checkpoint of another method.
    """
    if not Path(path).exists():
        raise InputError(f"{path}: checkpoint not found; train the method first")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError, ValueError) as error:
        first_line = (str(error).splitlines() or ["empty file"])[0]
        raise InputError(f"{path}: unreadable checkpoint ({first_line}); train again or copy it anew") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path}: not a bopflow checkpoint; import released weights first")
    if content["family"] != family:
        raise InputError(f"{path}: checkpoint of method '{content['family']}', expected '{family}'")
    return content
