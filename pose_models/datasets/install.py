"""Parts of a published dataset on disk: what was fetched, what was unpacked, and the records that say so.

    data/<dataset>/archives/lock.json              which bytes the archives are (lock.py)
    data/<dataset>/archives/<part>.fetched.json    the part's archives lie on disk and are verified
    data/<dataset>/archives/<part>.unpacked.json   the part's files lie in the dataset's folder

Records are written last. Archives of a mirror folder are read where they lie and never removed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from pose_models.datasets.catalogue import published
from pose_models.datasets.fetch import Wanted, select_parts
from pose_models.datasets.unpack import Archive, group_archives, unpack
from pose_models.files import InputError, read_json, write_json


def fetched_record(root: Path, name: str, part: str) -> Path:
    """File that says that a part's archives are there."""
    return root / name / "archives" / f"{part}.fetched.json"


def unpacked_record(root: Path, name: str, part: str) -> Path:
    """File that says that a part is unpacked."""
    return root / name / "archives" / f"{part}.unpacked.json"


def write_fetched(root: Path, name: str, part: str, wanted: Sequence[Wanted]) -> None:
    """Note where the verified files of a part lie."""
    files = [
        {"name": file.remote.name, "path": str(file.path), "bytes": file.path.stat().st_size}
        for file in wanted
        if file.part == part
    ]
    write_json(fetched_record(root, name, part), {"dataset": name, "part": part, "files": files})


def is_unpacked(root: Path, name: str, part: str, scenes: Collection[int] | None) -> bool:
    """Whether a part is unpacked, with at least these scenes."""
    record = unpacked_record(root, name, part)
    if not record.exists():
        return False
    there = read_json(record)["scenes"]
    return there is None or (scenes is not None and set(scenes) <= set(there))


def unpack_part(
    root: Path, name: str, part: str, scenes: Collection[int] | None, workers: int, keep_archives: bool
) -> dict[str, Any]:
    """Unpack a fetched part into the dataset's folder and record it.

    Args:
        root: data folder.
        name: dataset of the catalogue.
        part: name of the part; its record of fetching must be there.
        scenes: unpack only these scenes; None for all.
        workers: processes.
        keep_archives: False removes the archives of `data/<dataset>/archives` afterwards.

    Returns:
        The record: number of files and bytes, scenes, archives.

    Raises:
        InputError: an archive is missing or damaged, holds something that must not be unpacked, or does not fit.
    """
    chosen = select_parts(name, published(name), [part])[part]
    files = [(entry["name"], Path(entry["path"])) for entry in read_json(fetched_record(root, name, part))["files"]]
    for _, path in files:
        if not path.is_file():
            raise InputError(f"{path}: not found; fetch the part '{part}' of {name} again")
    groups, plain = group_archives([path for _, path in files] if chosen.unpack else [])
    folder = root / name
    archives = [Archive(group, name, chosen.places, scenes) for group in groups]
    count, size = unpack(archives, folder, part, workers)
    for file_name, path in [(n, p) for n, p in files if p in plain or not chosen.unpack]:
        _place(path, folder / file_name)
        count, size = count + 1, size + path.stat().st_size
    record = {
        "dataset": name,
        "part": part,
        "scenes": None if scenes is None else sorted(scenes),
        "archives": [file_name for file_name, _ in files],
        "files": count,
        "bytes": size,
    }
    write_json(unpacked_record(root, name, part), record)
    if not keep_archives:
        own = (folder / "archives").resolve()
        for _, path in files:
            if own in path.resolve().parents:
                path.unlink()
        fetched_record(root, name, part).unlink(missing_ok=True)
    return record


def _place(path: Path, target: Path) -> None:
    """Put a file that is data itself into the dataset's folder, without copying where the disk allows."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.part")
    temporary.unlink(missing_ok=True)
    try:
        os.link(path, temporary)
    except OSError:
        shutil.copyfile(path, temporary)
    temporary.replace(target)
