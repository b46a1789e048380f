"""Zip files in several volumes (`.z01`, `.z02`, ..., `.zip`), read with Python's `zipfile`.

`zipfile` knows one file only. Here the volumes are presented as one: their bytes one after the other, followed by a
central directory whose entries count from the first byte of the first volume instead of the volume they start in
(APPNOTE.TXT of the format, sections 4.3.12 to 4.3.16 and 4.5.3). Nothing is copied to disk.
"""

from __future__ import annotations

import bisect
import io
import os
import re
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path

from pose_models.files import InputError

ENTRY = struct.Struct("<4s6H3L5H2L")  # central directory header without name, extra and comment
END = struct.Struct("<4s4H2LH")
LOCATOR64 = struct.Struct("<4sLQL")
END64 = struct.Struct("<4sQ2H2L4Q")
MANY = 0xFFFFFFFF


class Joined(io.RawIOBase):
    """Files one after the other and some bytes behind them, as one readable file.

    Reading is by `pread`: processes that were forked may read from one object at the same time.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        super().__init__()
        self._files = [os.open(path, os.O_RDONLY) for path in paths]
        self.starts = [0]
        for file in self._files:
            self.starts.append(self.starts[-1] + os.fstat(file).st_size)
        self._tail = b""
        self._position = 0

    def end_with(self, position: int, tail: bytes) -> None:
        """Let the file end at `position`, followed by `tail`."""
        self._cut, self._tail = position, tail

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self._cut + len(self._tail) if self._tail else self.starts[-1]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        content = self._at(self._position, len(buffer))
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)

    def _at(self, position: int, count: int) -> bytes:
        """At most `count` bytes; fewer at the end of a volume."""
        if self._tail and position >= self._cut:
            return self._tail[position - self._cut : position - self._cut + count]
        volume = bisect.bisect_right(self.starts, position) - 1
        if volume >= len(self._files):
            return b""
        end = min(self.starts[volume + 1], self._cut if self._tail else self.starts[-1])
        return os.pread(self._files[volume], min(count, end - position), position - self.starts[volume])

    def close(self) -> None:
        if not self.closed:
            for file in self._files:
                os.close(file)
        super().close()


def open_zip(volumes: Sequence[Path]) -> zipfile.ZipFile:
    """Open a zip file, given as all of its volumes in any order.

    Raises:
        InputError: a volume is missing, or it is no zip file.
    """
    paths = sorted(volumes, key=_number)
    joined = Joined(paths)
    try:
        if len(paths) > 1 or _is_last_of_several(joined):
            _renumber(joined, paths)
        return zipfile.ZipFile(io.BufferedReader(joined, 1 << 16))
    except (zipfile.BadZipFile, struct.error, EOFError) as error:
        raise InputError(f"{paths[-1]}: not a readable zip file ({error}); remove it and fetch it again") from None


def _number(path: Path) -> int:
    """Position of a volume: .z01 is the first, .zip the last."""
    match = re.fullmatch(r"\.z(\d+)", path.suffix)
    return int(match[1]) if match else 1 << 30


def _read(joined: Joined, position: int, count: int) -> bytes:
    """Exactly `count` bytes, across volumes."""
    pieces = []
    while count:
        piece = joined._at(position, count)
        if not piece:
            raise EOFError("it ends too early")
        pieces.append(piece)
        position, count = position + len(piece), count - len(piece)
    return b"".join(pieces)


def _end(joined: Joined) -> tuple[int, bytes]:
    """Position and content of the end record."""
    length = min(joined.size, END.size + (1 << 16))
    content = _read(joined, joined.size - length, length)
    at = content.rfind(b"PK\5\6")
    if at < 0 or at + END.size > len(content):
        raise zipfile.BadZipFile("no end record")
    return joined.size - length + at, content[at : at + END.size]


def _is_last_of_several(joined: Joined) -> bool:
    return END.unpack(_end(joined)[1])[1] not in (0, 0xFFFF)


def _renumber(joined: Joined, paths: Sequence[Path]) -> None:
    """Replace the central directory by one that counts from the first volume's first byte."""
    at, content = _end(joined)
    _, last, first, _, count, size, offset, _ = END.unpack(content)
    locator = _read(joined, max(0, at - LOCATOR64.size), LOCATOR64.size)
    if locator.startswith(b"PK\6\7"):
        _, volume, position, _ = LOCATOR64.unpack(locator)
        _check_complete(paths, LOCATOR64.unpack(locator)[3] - 1)
        record = END64.unpack(_read(joined, joined.starts[volume] + position, END64.size))
        last, first, count, size, offset = record[4], record[5], record[7], record[8], record[9]
    _check_complete(paths, last)
    start = joined.starts[first] + offset
    directory = _directory(_read(joined, start, size), count, joined.starts)
    length = len(directory)
    end64 = END64.pack(b"PK\6\6", END64.size - 12, 45, 45, 0, 0, count, count, length, start)
    tail = directory + end64 + LOCATOR64.pack(b"PK\6\7", 0, start + length, 1)
    joined.end_with(start, tail + END.pack(b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, MANY, MANY, 0))


def _check_complete(paths: Sequence[Path], last: int) -> None:
    stem = paths[-1].with_suffix("")
    expected = [stem.with_suffix(f".z{number:02d}").name for number in range(1, last + 1)] + [f"{stem.name}.zip"]
    missing = [name for name in expected if name not in {path.name for path in paths}]
    if missing:
        raise InputError(f"{paths[-1]}: its volume {missing[0]} is missing; fetch it, or put it beside the others")


def _directory(content: bytes, count: int, starts: Sequence[int]) -> bytes:
    """The central directory with offsets from the first volume's first byte, all of them in 64 bits."""
    result, position = [], 0
    for _ in range(count):
        fields = list(ENTRY.unpack_from(content, position))
        if fields[0] != b"PK\1\2":
            raise zipfile.BadZipFile("damaged directory")
        name_length, extra_length, comment_length = fields[10:13]
        position += ENTRY.size
        name, extra, comment = (
            content[position : position + name_length],
            content[position + name_length : position + name_length + extra_length],
            content[position + name_length + extra_length : position + name_length + extra_length + comment_length],
        )
        position += name_length + extra_length + comment_length
        packed, unpacked, offset, volume, others = _wide(fields, extra)
        wide = struct.pack("<2H3Q", 1, 24, unpacked, packed, starts[volume] + offset)
        fields[8:10], fields[13], fields[16] = [MANY, MANY], 0, MANY
        fields[11] = len(wide) + len(others)
        result.append(ENTRY.pack(*fields) + name + wide + others + comment)
    return b"".join(result)


def _wide(fields: Sequence[int], extra: bytes) -> tuple[int, int, int, int, bytes]:
    """Packed size, size, offset and volume of an entry, from its 64-bit field where it has one; the other fields."""
    packed, unpacked, volume, offset = fields[8], fields[9], fields[13], fields[16]
    others = b""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        value, extra, field = extra[4 : 4 + length], extra[4 + length :], extra[: 4 + length]
        if kind != 1:
            others += field
            continue
        if unpacked == MANY:
            (unpacked,), value = struct.unpack_from("<Q", value), value[8:]
        if packed == MANY:
            (packed,), value = struct.unpack_from("<Q", value), value[8:]
        if offset == MANY:
            (offset,), value = struct.unpack_from("<Q", value), value[8:]
        if volume == 0xFFFF:
            (volume,) = struct.unpack_from("<L", value)
    return packed, unpacked, offset, volume, others
