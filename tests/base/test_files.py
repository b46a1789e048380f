"""Outputs appear whole or not at all, and killed programs leave nothing for good."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pose_models.files import atomic_path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_failure_leaves_the_old_content_and_no_part(tmp_path: Path) -> None:
    target = tmp_path / "scores.json"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert names(tmp_path) == ["scores.json"]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with atomic_path(tmp_path / "scene") as temporary:
            temporary.mkdir()
            (temporary / name).touch()
    assert names(tmp_path / "scene") == ["b"]


def test_parts_of_killed_programs_are_removed_and_those_of_living_ones_kept(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    ended.wait()
    dead, alive = (tmp_path / f".x.{socket.gethostname()}.{pid}.part" for pid in (ended.pid, os.getppid()))
    dead.mkdir()
    alive.touch()
    with atomic_path(tmp_path / "x") as temporary:
        temporary.touch()
    assert not dead.exists()
    assert alive.exists()
