"""Arrays kept in a cache folder and mapped into memory, so that all processes share one copy of them.

A file is one JSON line (what it was made of, names, types, shapes, places) and the arrays behind it. It is written
beside and renamed; a reader takes it only if it is whole and was made of exactly what is there now. The cache can be
deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models.files import atomic_path

log = logging.getLogger(__name__)
Arrays = dict[str, NDArray[Any]]
VERSION = 1
_ALIGN = 64
_writing = threading.Lock()  # atomic_path's temporary name is one per process


def cache_folder() -> Path:
    """$BOPFLOW_CACHE, else bopflow/ in $XDG_CACHE_HOME, else ~/.cache/bopflow."""
    if "BOPFLOW_CACHE" in os.environ:
        return Path(os.environ["BOPFLOW_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bopflow"


def file_state(path: Path) -> list[Any]:
    """Name, size, time of the last change and inode number: what tells whether a file is still the same."""
    stat = path.stat()
    return [path.name, stat.st_size, stat.st_mtime_ns, stat.st_ino]


def cache_path(kind: str, source: Path) -> Path:
    """Where the arrays made of a file or folder are kept."""
    place = str(source.resolve())
    return cache_folder() / kind / f"{hashlib.sha256(place.encode()).hexdigest()[:24]}.arrays"


def cached_arrays(path: Path, state: Any, make: Callable[[], Arrays]) -> Arrays:
    """The arrays kept in `path`, mapped; made and kept if they are absent or `state` has changed.

    Where the cache cannot be written (read-only home, full disk) the arrays stay in memory.

    Args:
        path: from `cache_path`.
        state: JSON value that describes the sources, such as their `file_state`.
        make: reads the sources.
    """
    found = map_cached(path, state)
    if found is not None:
        return found
    arrays = make()
    try:
        with _writing:
            write_arrays(path, state, arrays)
    except OSError as error:
        log.warning("%s cannot be written (%s), so the annotations stay in memory; BOPFLOW_CACHE names another folder",
                    path, error.strerror)  # fmt: skip
        return arrays
    return map_cached(path, state) or arrays


def write_arrays(path: Path, state: Any, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays, whole or not at all."""
    places, end = {}, 0
    for name, array in arrays.items():
        places[name] = (array.dtype.str, array.shape, end)
        end += -(-array.nbytes // _ALIGN) * _ALIGN
    header = json.dumps({"version": VERSION, "state": state, "arrays": places, "bytes": end}).encode()
    start = -(-(len(header) + 1) // _ALIGN) * _ALIGN
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.write(header.ljust(start - 1) + b"\n")
        for array in arrays.values():
            stream.write(np.ascontiguousarray(array).tobytes())
            stream.write(bytes(-array.nbytes % _ALIGN))


def map_cached(path: Path, state: Any) -> Arrays | None:
    """Read-only views of the arrays of a file; None if it is absent, not whole, or was made of something else."""
    try:
        with path.open("rb") as stream:
            line = stream.readline(1 << 26)
        header = json.loads(line)
        if header["version"] != VERSION or header["state"] != json.loads(json.dumps(state)):
            return None
        if path.stat().st_size != len(line) + header["bytes"]:
            return None
        if header["bytes"] == 0:
            data: NDArray[np.uint8] = np.zeros(0, np.uint8)
        else:
            data = np.asarray(np.memmap(path, np.uint8, "r", offset=len(line)))
        return {name: _view(data, *place) for name, place in header["arrays"].items()}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _view(data: NDArray[np.uint8], dtype: str, shape: list[int], start: int) -> NDArray[Any]:
    kind = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    return data[start : start + size].view(kind).reshape(shape)
