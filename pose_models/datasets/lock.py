"""The lock file of a dataset, `archives/lock.json`: which bytes its archives are, for the next person.

It names the commit of the hub repository, and size and digest of every file that was asked for. It is written when a
file is asked for the first time and never changed afterwards; copy it along to fetch the same bytes elsewhere.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from pose_models.datasets.archives import ArchiveFile, Part
from pose_models.datasets.catalogue import DatasetEntry
from pose_models.datasets.hub import hub_listing, hub_url, web_file
from pose_models.datasets.transfer import Patience, RemoteFile
from pose_models.files import InputError, exclusive, read_json, write_json
from pose_models.settings import Settings, validate

LOCK = "lock.json"


class LockedFile(Settings):
    """What is known of one file; `url` only where it does not lie in the dataset's repository."""

    size: int | None = Field(None, description="bytes")
    sha256: str | None = Field(None, description="digest")
    git_sha1: str | None = Field(None, description="digest of a small file as git has it")
    url: str | None = Field(None, description="address")
    etag: str | None = Field(None, description="version that the server named")


class Lock(Settings):
    """The lock file's content."""

    repository: str | None = Field(None, description="hub repository")
    revision: str | None = Field(None, description="its commit")
    licence: str | None = Field(None, description="licence as the repository's card names it")
    files: dict[str, LockedFile] = Field(default_factory=dict, description="files by name")

    def remote(self, name: str) -> RemoteFile:
        """A file with its address at this machine's endpoint ("" where nobody was asked, for it lay at hand)."""
        file = self.files[name]
        url = file.url or (hub_url(str(self.repository), name, self.revision) if self.revision else "")
        return RemoteFile(name, url, file.size, file.sha256, file.git_sha1, file.etag)


def read_lock(path: Path) -> Lock:
    """The lock file's content, an empty one where there is none.

    Raises:
        InputError: the file is not what `write_json` wrote.
    """
    return validate(Lock, read_json(path), str(path)) if path.exists() else Lock()


def locked_parts(
    entry: DatasetEntry, parts: Mapping[str, Part], path: Path, mirror: Mapping[str, Path], patience: Patience
) -> dict[str, list[RemoteFile]]:
    """The files of each part as the lock file has them; what it lacks is asked of the publisher and written into it.

    Args:
        entry: the dataset.
        parts: the parts wanted, by name.
        path: the lock file; several processes may ask at once.
        mirror: files at hand, by name; what lies there is taken as it is, without asking anybody.
        patience: with servers that do not answer.

    Raises:
        InputError: a file does not exist, or its digest is not the catalogue's.
    """
    with exclusive(path):
        lock = read_lock(path)
        missing = {name: part for name, part in parts.items() if not _names(part, lock.files)}
        at_hand = {name: part for name, part in missing.items() if _names(part, mirror)}
        asked = {name: part for name, part in missing.items() if name not in at_hand and not part.manual}
        lock = _with_mirrored(lock, at_hand, mirror)
        lock = _with_asked(lock, entry, asked, patience)
        for name, part in parts.items():
            _check_catalogue(name, part, lock, path)
        if lock != read_lock(path):
            write_json(path, lock.model_dump(mode="json", exclude_none=True))
    for name, part in missing.items():
        if part.manual and not _names(part, lock.files):
            raise InputError(
                f"{name}: no program can download it; fetch {', '.join(part.files)} from {part.manual} with a browser "
                "and name the folder where it lies with data_mirror in config.yaml (or --mirror)"
            )
    return {name: [lock.remote(file) for file in _names(part, lock.files)] for name, part in parts.items()}


def record_digest(path: Path, name: str, sha256: str) -> None:
    """Write the digest of a file into the lock file, where the publisher gave none."""
    with exclusive(path):
        lock = read_lock(path)
        file = lock.files[name].model_copy(update={"sha256": sha256})
        files = {**lock.files, name: file}
        write_json(path, lock.model_copy(update={"files": files}).model_dump(mode="json", exclude_none=True))


def _names(part: Part, known: Mapping[str, object]) -> list[str]:
    """The known files that a part consists of, in order of volumes; empty when one is missing."""
    found: list[str] = []
    for name in part.files:
        if "*" in name:
            matches = sorted(fnmatch.filter(known, name))
        elif name.endswith(".zip"):  # a zip file may come in more volumes than the catalogue knows of
            volume = re.compile(re.escape(name.removesuffix(".zip")) + r"\.z\d\d+")
            matches = [name] if name in known else []
            matches = sorted(other for other in known if volume.fullmatch(other)) + matches if matches else []
        elif re.search(r"\.z\d\d+$", name):
            continue  # comes with its .zip
        else:
            matches = [name] if name in known else []
        if not matches:
            return []
        found += matches
    return found


def _with_mirrored(lock: Lock, parts: Mapping[str, Part], mirror: Mapping[str, Path]) -> Lock:
    """Files at hand; their digest is the catalogue's, or what the first reading comes to."""
    files = dict(lock.files)
    for part in parts.values():
        for name in _names(part, mirror):
            known = part.files.get(name, ArchiveFile())
            files[name] = LockedFile(size=mirror[name].stat().st_size, sha256=known.sha256, url=known.url)
    return lock.model_copy(update={"files": files})


def _with_asked(lock: Lock, entry: DatasetEntry, parts: Mapping[str, Part], patience: Patience) -> Lock:
    files = dict(lock.files)
    update: dict[str, object] = {"files": files}
    from_hub = {name: part for name, part in parts.items() if not any(file.url for file in part.files.values())}
    if from_hub and entry.repository:
        revision, licence, listing = hub_listing(entry.repository, lock.revision, patience)
        update |= {"repository": entry.repository, "revision": revision, "licence": licence}
        for name, part in from_hub.items():
            if not _names(part, listing):
                raise InputError(
                    f"{name}: {entry.repository} has no {' or '.join(part.files)}"
                    f"{' (a name that follows from a rule)' if part.inferred else ''}; it has {', '.join(listing)}"
                )
        for name, file in listing.items():
            published = next((part.files[name].sha256 for part in entry.parts.values() if name in part.files), None)
            digest = file.sha256 or published
            files.setdefault(name, LockedFile(size=file.size, sha256=digest, git_sha1=file.git_sha1))
    for part in parts.values():
        for file_name, known in part.files.items():
            if known.url:
                file = web_file(file_name, known.url, known.sha256, patience)
                files[file_name] = LockedFile(size=file.size, sha256=file.sha256, url=file.url, etag=file.etag)
    return lock.model_copy(update=update)


def _check_catalogue(name: str, part: Part, lock: Lock, path: Path) -> None:
    for file_name, known in part.files.items():
        locked = lock.files.get(file_name)
        if known.sha256 and locked and locked.sha256 and locked.sha256 != known.sha256:
            raise InputError(
                f"{file_name}: SHA-256 {locked.sha256} is offered where the catalogue has {known.sha256}; the archive "
                f"was replaced or damaged; compare with the dataset's page ({path} notes what is offered)"
            )
