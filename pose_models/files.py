"""Reading and writing files so that nothing is lost, half-written or misunderstood.

Outputs are written beside their final name, under a name of their own (host and process id), and renamed at the end,
so that a killed program or a lost disk never leaves a half file under a valid name. Inputs that are wrong raise
`InputError`, whose message is one sentence naming the file, the record and the remedy.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import json
import logging
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


class InputError(ValueError):
    """Something the user gave is wrong; the message is one clear sentence."""


def _own_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.part")


def _remove_leftovers(target: Path) -> None:
    """Remove what programs of this host that were killed have left beside `target`."""
    prefix = f".{target.name}.{socket.gethostname()}."
    for path in target.parent.glob(f"{glob.escape(prefix)}*.part"):
        process = path.name.removeprefix(prefix).removesuffix(".part")
        if process.isdigit() and not Path("/proc", process).exists() and Path("/proc/self").exists():
            remove(path)


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` if the block succeeds, remove it if not.

    Works for files and for folders (create the folder inside the block). An existing target is replaced; a folder is
    moved aside first, so that a reader never sees a mixture of old and new content.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _own_name(target)
    remove(temporary)
    _remove_leftovers(target)
    try:
        yield temporary
        if target.is_dir():
            remove(target)
        temporary.replace(target)
    finally:
        remove(temporary)


@contextlib.contextmanager
def exclusive(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold a lock beside `path`; wait for whoever holds it, such as an orphan of a killed run.

    The kernel releases the lock when its holder ends, however it ends. The empty lock file stays.
    """
    lock = Path(path).with_name(f".{Path(path).name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.warning("waiting for another run that is writing %s", path)
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def remove(path: Path) -> None:
    """Remove a file or folder; nothing happens if it does not exist."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` (UTF-8) whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write `content` whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: str | os.PathLike[str], content: Any, indent: int | None = 1) -> None:
    """Write `content` as JSON, whole or not at all; numbers keep full precision."""
    write_text(path, json.dumps(content, indent=indent) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file.

    Raises:
        InputError: the file is missing or is no JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: file not found") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid JSON ({error}); download or make the file again") from None


def file_digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def json_digest(content: Any) -> str:
    """Short digest (16 hexadecimal digits) of a JSON-serialisable value, independent of the order of keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
