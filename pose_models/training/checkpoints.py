"""Checkpoint files of trained models: plain tensors and settings, loaded with `weights_only=True`."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from pose_models.files import InputError, atomic_path, json_digest, write_text

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
