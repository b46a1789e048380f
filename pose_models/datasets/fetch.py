"""Fetching parts of a published dataset into `<root>/<name>/archives`: planned, resumed, verified, locked.

Archives that lie there or in a mirror folder already are verified and used. Nothing here unpacks (unpack.py does).
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from pose_models.datasets.archives import Part
from pose_models.datasets.catalogue import DatasetEntry, published
from pose_models.datasets.hub import hub_headers, hub_listing
from pose_models.datasets.lock import LOCK, locked_parts, read_lock, record_digest
from pose_models.datasets.transfer import Patience, RemoteFile, download, is_whole
from pose_models.files import InputError, file_digest, write_json
from pose_models.settings import did_you_mean

log = logging.getLogger(__name__)

UNPACKED_PER_ARCHIVE = 1.4
"""Estimated bytes on disk per byte of archive: images are compressed already, but each of many masks takes a block."""


@dataclasses.dataclass(frozen=True)
class Wanted:
    """One file of a part: what it must be, where it will lie, and whether it lies in a mirror."""

    part: str
    remote: RemoteFile
    path: Path
    mirrored: bool

    @property
    def missing_bytes(self) -> int:
        """What is still to be downloaded; 0 where the size is not known."""
        partial = self.path.with_name(f".{self.path.name}.part")
        there = partial.stat().st_size if partial.exists() else 0
        return 0 if self.path.exists() else max(0, (self.remote.size or 0) - there)


def select_parts(name: str, entry: DatasetEntry, names: Sequence[str]) -> dict[str, Part]:
    """Parts by name, all of them without names.

    Raises:
        InputError: the dataset has no part of this name.
    """
    for part in names:
        if part not in entry.parts:
            raise InputError(f"{name}: part '{part}' is not known{did_you_mean(part, entry.parts)}")
    return {part: entry.parts[part] for part in names or entry.parts}


def wanted_files(
    name: str, parts: Sequence[str], root: Path, mirror: Path | None, patience: Patience
) -> tuple[list[Wanted], str]:
    """What fetching some parts takes, in their order, and the licence; asks the publisher where no lock file says.

    Args:
        name: dataset of the catalogue.
        parts: their names; all of them when empty.
        root: data folder, which holds a folder per dataset.
        mirror: folder that holds archives (in itself, in `<name>/` or in `<name>/archives/`).
        patience: with servers.
    """
    entry = published(name)
    chosen = select_parts(name, entry, parts)
    folder = root / name / "archives"
    at_hand = _mirrored(name, entry, mirror)
    lock = folder / LOCK
    if not lock.exists() and LOCK in at_hand:
        lock.parent.mkdir(parents=True, exist_ok=True)
        write_json(lock, read_lock(at_hand[LOCK]).model_dump(mode="json", exclude_none=True))
    files = locked_parts(entry, chosen, lock, at_hand, patience)
    wanted = [
        Wanted(part, remote, at_hand.get(remote.name, folder / remote.name), remote.name in at_hand)
        for part, remotes in files.items()
        for remote in remotes
    ]
    return wanted, entry.licence or read_lock(lock).licence or f"see {_page(entry)}"


def _mirrored(name: str, entry: DatasetEntry, mirror: Path | None) -> dict[str, Path]:
    """Files of a mirror folder by their name in the repository."""
    if mirror is None:
        return {}
    if not mirror.is_dir():
        raise InputError(f"{mirror}: folder not found; data_mirror (--mirror) names a folder that holds the archives")
    patterns = [name for part in entry.parts.values() for name in part.files]
    patterns += [f"{name.removesuffix('.zip')}.z[0-9]*" for name in patterns if name.endswith(".zip")]
    found: dict[str, Path] = {}
    for folder in (mirror / name / "archives", mirror / name, mirror):
        own = [] if folder == mirror else [LOCK]  # a lock file among those of other datasets is not ours
        for path in (path for pattern in (*patterns, *own) for path in sorted(folder.glob(pattern))):
            found.setdefault(path.relative_to(folder).as_posix(), path)
    return found


def _page(entry: DatasetEntry) -> str:
    return entry.page or f"https://huggingface.co/datasets/{entry.repository}"


def check_room(wanted: Sequence[Wanted], root: Path, shares: Mapping[str, float]) -> tuple[int, int, int]:
    """Bytes to download, bytes to unpack (estimated), bytes free below `root`.

    Args:
        wanted: files to fetch and unpack.
        root: data folder.
        shares: by part, which share of it is unpacked; all of it where nothing is said.

    Raises:
        InputError: they do not fit.
    """
    to_fetch = sum(file.missing_bytes for file in wanted)
    to_unpack = sum(UNPACKED_PER_ARCHIVE * (file.remote.size or 0) * shares.get(file.part, 1.0) for file in wanted)
    existing = next(folder for folder in (root, *root.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if to_fetch + to_unpack > free:
        raise InputError(
            f"{root}: {gigabytes(to_fetch)} to download and about {gigabytes(round(to_unpack))} to unpack do not fit "
            f"into the {gigabytes(free)} that are free; make room, or choose fewer parts or scenes"
        )
    return to_fetch, round(to_unpack), free


def gigabytes(amount: int) -> str:
    """Bytes as a person reads them."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if amount >= scale:
            return f"{amount / scale:.3g} {unit}"
    return f"{amount} B"


def fetch(name: str, wanted: Sequence[Wanted], root: Path, patience: Patience) -> None:
    """Fetch and verify files; with a progress bar over all of them.

    Raises:
        InputError: a file cannot be fetched, or a file of the mirror is not what it should be.
    """
    lock = root / name / "archives" / LOCK
    with _bar(sum(file.remote.size or 0 for file in wanted), name) as advance:
        for file in wanted:
            _fetch_one(file, lock, patience, advance)


def _fetch_one(file: Wanted, lock: Path, patience: Patience, advance: Callable[[int], object]) -> None:
    remote, path = file.remote, file.path
    if path.exists() and not is_whole(path, remote, advance):
        if file.mirrored:
            raise InputError(f"{path}: not the bytes that {lock} asks for; replace the file in the mirror")
        log.warning("%s: not the bytes that %s asks for; fetching it again", path, lock)
        path.unlink()
    if not path.exists():
        if not remote.url:
            raise InputError(f"{path.name}: lies no longer in the mirror; put it back, or remove {lock}")
        partial = path.with_name(f".{path.name}.part")
        advance(partial.stat().st_size if partial.exists() else 0)
        download(remote, path, hub_headers(remote.url), patience, advance)
    if remote.digest is None:
        record_digest(lock, remote.name, file_digest(path))


def fetch_hub_file(
    repository: str, name: str, out: Path, mirror: Path | None = None, patience: Patience | None = None
) -> str:
    """Fetch one file of a hub repository to `out`, verified; returns the commit it comes from ("mirror" from there).

    Args:
        repository: dataset repository such as `bop-benchmark/bop_extra`.
        name: path of the file in it.
        out: file to write; one that is there and right is kept.
        mirror: folder that may hold it, under its path, its name, or below the repository's name.
        patience: with servers.

    Raises:
        InputError: there is no such file, or it cannot be fetched.
    """
    for folder in (mirror, mirror / repository.rpartition("/")[2]) if mirror else ():
        for path in (folder / name, folder / Path(name).name):
            if path.is_file():
                out.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, partial := out.with_name(f".{out.name}.part"))
                partial.replace(out)
                return "mirror"
    patience = patience or Patience()
    revision, _, listing = hub_listing(repository, None, patience)
    if name not in listing:
        raise InputError(f"{repository}: no file {name}{did_you_mean(name, listing)}")
    remote = listing[name]
    if out.exists() and not is_whole(out, remote):
        raise InputError(f"{out}: is there and is not {repository}/{name}; remove it or choose another name")
    if not out.exists():
        with _bar(remote.size or 0, out.name) as advance:
            download(remote, out, hub_headers(remote.url), patience, advance)
    return revision


@contextlib.contextmanager
def _bar(total: int, label: str) -> Iterator[Callable[[int], object]]:
    import sys

    from tqdm import tqdm

    interval = 0.2 if sys.stderr.isatty() else 5.0
    with tqdm(total=total, desc=label, unit="B", unit_scale=True, mininterval=interval, dynamic_ncols=True) as bar:
        yield bar.update
