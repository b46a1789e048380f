"""Unpacking of archives into a dataset's folder: checked before anything is written, in parallel, restartable.

Zip files (in volumes too) and tar files. Every file is written under another name and renamed, so that one that is
there is whole; after a kill, files that are there with the right content are kept.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path, PurePosixPath
from typing import IO, Any

from pose_models.datasets.transfer import naming_full_disk
from pose_models.datasets.zips import open_zip
from pose_models.files import InputError, exclusive, remove

CHUNK_BYTES = 1 << 20
CHUNK_MEMBERS = 200
BLOCK_BYTES = 4096
Member = tuple[str, int, int]
"""Path below the dataset's folder, bytes, index in the archive."""

ARCHIVE = re.compile(r"(.+)\.(zip|z\d\d+|tar|tar\.gz|tgz)")


class Archive:
    """One zip (in one or more volumes) or tar file: its files by the path they are unpacked to.

    Args:
        files: the archive, or all its volumes.
        dataset: name of the dataset; a top folder of this name stands for the dataset's folder.
        places: folders of the archive and where they go, before anything else is tried.
        scenes: of the folders of scenes (named by six digits), only these; None for all.

    Raises:
        InputError: it is damaged, lacks a volume, or holds something that must not be unpacked.
    """

    def __init__(
        self, files: Sequence[Path], dataset: str, places: Mapping[str, str], scenes: Collection[int] | None = None
    ) -> None:
        self.path = files[-1]
        self.members: list[Member] = []
        self._zip = open_zip(files) if self.path.suffix == ".zip" else None
        self._tar = None if self._zip else _open_tar(self.path)
        for index, (name, size) in enumerate(self._listed()):
            place = _placed(_checked(name, self.path), dataset, places)
            if place is not None and _is_wanted(place, scenes):
                self.members.append((place, size, index))
        paths = {path for path, _, _ in self.members}
        for path in paths:
            if blocking := next((str(p) for p in PurePosixPath(path).parents if str(p) in paths), None):
                raise InputError(f"{self.path}: '{blocking}' is both a file and a folder in it; it was not unpacked")

    def _listed(self) -> Iterator[tuple[str, int]]:
        """Name and size of every entry (folders by a name that ends with /), in the order they lie in the file."""
        if self._zip:
            self._infos = sorted(self._zip.infolist(), key=lambda info: info.header_offset)
            for info in self._infos:
                kind = stat.S_IFMT(info.external_attr >> 16) if info.create_system == 3 else 0
                _check_kind(info.orig_filename, kind in (0, stat.S_IFREG, stat.S_IFDIR), self.path)
                yield info.orig_filename, info.file_size
        else:
            assert self._tar is not None
            self._entries = self._tar.getmembers()
            for entry in self._entries:
                _check_kind(entry.name, entry.isreg() or entry.isdir(), self.path)
                yield entry.name + ("/" if entry.isdir() else ""), entry.size

    @property
    def size(self) -> int:
        """Bytes on disk of all its files."""
        return sum(-(-size // BLOCK_BYTES) * BLOCK_BYTES for _, size, _ in self.members)

    @property
    def is_parallel(self) -> bool:
        """Whether several processes can read it at once."""
        return self._zip is not None

    def write(self, member: Member, folder: Path, staging: Path) -> None:
        """Unpack one file below `folder`, by way of the folder `staging`; one that is there and right is kept."""
        place, size, index = member
        target = folder / place
        if self._is_there(target, size, index):
            return
        temporary = staging / f"{os.getpid()}.part"
        try:
            with self._open(index) as source, naming_full_disk(target), temporary.open("wb") as out:
                shutil.copyfileobj(source, out, CHUNK_BYTES)
        except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
            temporary.unlink(missing_ok=True)
            raise InputError(f"{self.path}: {place}: {error}; remove the archive and fetch it again") from None
        if temporary.stat().st_size != size:
            raise InputError(f"{self.path}: {place}: shorter than announced; remove the archive and fetch it again")
        temporary.replace(target)

    def _open(self, index: int) -> IO[bytes]:
        if self._zip:
            return self._zip.open(self._infos[index])
        assert self._tar is not None
        content = self._tar.extractfile(self._entries[index])
        assert content is not None
        return content

    def _is_there(self, target: Path, size: int, index: int) -> bool:
        if self._zip is None or not target.is_file() or target.stat().st_size != size:
            return False
        with target.open("rb") as stream:
            crc = 0
            while chunk := stream.read(CHUNK_BYTES):
                crc = zlib.crc32(chunk, crc)
        return crc == self._infos[index].CRC


def group_archives(files: Sequence[Path]) -> tuple[list[list[Path]], list[Path]]:
    """Archives, each as its volumes (the .zip last), and the files that are none."""
    groups: dict[Path, list[Path]] = {}
    plain = []
    for path in files:
        match = ARCHIVE.fullmatch(path.name)
        if match is None:
            plain.append(path)
        else:
            stem = path.with_name(match[1]) if match[2].startswith("z") else path
            groups.setdefault(stem, []).append(path)
    return [sorted(group, key=lambda path: (path.suffix == ".zip", path.name)) for group in groups.values()], plain


def unpack(archives: Sequence[Archive], folder: Path, label: str, workers: int) -> tuple[int, int]:
    """Unpack archives below `folder` and return the number of files and their bytes; `label` names the work.

    Raises:
        InputError: an archive is damaged, or the files do not fit.
    """
    from tqdm import tqdm

    folder.mkdir(parents=True, exist_ok=True)
    staging = folder / f".unpacking-{label}"
    total = sum(size for archive in archives for _, size, _ in archive.members)
    with exclusive(
        folder / "archives" / f"unpacking-{label}"
    ):  # forked workers hold it too: after a kill it is free when they have ended
        remove(staging)
        staging.mkdir()
        _check_room(archives, folder)
        interval = 0.2 if os.isatty(2) else 5.0
        with tqdm(total=total, desc=f"{folder.name} {label}", unit="B", unit_scale=True, mininterval=interval) as bar:
            for archive in archives:
                for parent in sorted({str(PurePosixPath(path).parent) for path, _, _ in archive.members}):
                    _make_folder(folder / parent, archive.path)
                for done in _unpack_one(archive, folder, staging, workers):
                    bar.update(done)
        remove(staging)
    return sum(len(archive.members) for archive in archives), total


def _unpack_one(archive: Archive, folder: Path, staging: Path, workers: int) -> Iterator[int]:
    """Unpack an archive; gives the bytes of each chunk that is done."""
    chunks = [archive.members[n : n + CHUNK_MEMBERS] for n in range(0, len(archive.members), CHUNK_MEMBERS)]
    workers = min(workers, len(chunks)) if archive.is_parallel else 1
    if workers < 2:
        yield from (_unpack_chunk(archive, folder, staging, chunk) for chunk in chunks)
        return
    # Forked, for the list of an archive with millions of files is too large to be sent around.
    context = multiprocessing.get_context("fork")
    processes: dict[Any, Any] = {}
    for number in range(workers):
        receiver, sender = context.Pipe(duplex=False)
        arguments = (archive, folder, staging, chunks[number::workers], sender, os.getpid())
        processes[receiver] = context.Process(target=_work, args=arguments, daemon=True)
        processes[receiver].start()
        sender.close()
    try:
        while processes:
            for receiver in list[Any](wait(list(processes))):
                try:
                    message = receiver.recv()
                except EOFError:
                    process = processes.pop(receiver)
                    process.join()
                    if process.exitcode:
                        raise InputError(
                            f"{archive.path}: a process that unpacked it was killed; run it again"
                        ) from None
                    continue
                if isinstance(message, BaseException):
                    raise message
                yield message
    finally:
        for process in processes.values():
            process.terminate()
            process.join()


def _work(
    archive: Archive, folder: Path, staging: Path, chunks: list[list[Member]], sender: Connection, parent: int
) -> None:
    try:
        for chunk in chunks:
            if os.getppid() != parent:  # killed; the next run goes on
                return
            sender.send(_unpack_chunk(archive, folder, staging, chunk))
    except BaseException as error:
        sender.send(error)


def _unpack_chunk(archive: Archive, folder: Path, staging: Path, chunk: list[Member]) -> int:
    for member in chunk:
        archive.write(member, folder, staging)
    return sum(size for _, size, _ in chunk)


def _open_tar(path: Path) -> tarfile.TarFile:
    try:
        archive = tarfile.open(path)  # noqa: SIM115, it stays open as long as it is read
        archive.getmembers()  # reads all headers
        return archive
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise InputError(f"{path}: not a readable tar file ({error}); remove it and fetch it again") from None


def _check_kind(name: str, is_plain: bool, archive: Path) -> None:
    if not is_plain:
        raise InputError(f"{archive}: '{name}' is a link or no ordinary file; nothing of it was unpacked")


def _checked(name: str, archive: Path) -> str:
    """A name that stays below the folder it is unpacked to."""
    parts = name.split("/")
    outside = name.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:", name) or "\\" in name or "\0" in name
    if outside or not name.strip("/."):
        if name in ("./", "."):
            return name
        raise InputError(f"{archive}: '{name}' would be written outside the dataset's folder; nothing was unpacked")
    return name


def _placed(name: str, dataset: str, places: Mapping[str, str]) -> str | None:
    """Path below the dataset's folder; None for folders."""
    if name.endswith("/") or name == ".":
        return None
    path = PurePosixPath(name)
    top = path.parts[0]
    if top in places:
        path = PurePosixPath(places[top], *path.parts[1:])
    elif top == dataset:
        path = PurePosixPath(*path.parts[1:])
    return str(path)


def _is_wanted(place: str, scenes: Collection[int] | None) -> bool:
    numbers = [part for part in PurePosixPath(place).parts[:-1] if re.fullmatch(r"\d{6}", part)]
    return scenes is None or not numbers or int(numbers[0]) in scenes


def _check_room(archives: Sequence[Archive], folder: Path) -> None:
    """Refuse before anything is written; files that an earlier attempt left count as done."""
    needed = sum(archive.size for archive in archives)
    free = shutil.disk_usage(folder).free
    if needed <= free:
        return
    for archive in archives:
        for place, size, _ in archive.members:
            target = folder / place
            if target.is_file() and target.stat().st_size == size:
                needed -= -(-size // BLOCK_BYTES) * BLOCK_BYTES
    if needed > free:
        raise InputError(
            f"{folder}: {needed / 1e9:.3g} GB to unpack do not fit into the {free / 1e9:.3g} GB that are free; "
            "make room, or unpack fewer scenes"
        )


def _make_folder(path: Path, archive: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{path}: is in the way of a folder of {archive.name}; remove it") from None
