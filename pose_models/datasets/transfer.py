"""Download of one file over HTTP: resumed where it stopped, retried with patience, verified before it gets its name.

Bytes go to `.<name>.part` beside the target, and only a file of the right length and digest is renamed to the target;
a partial file is kept for the next attempt, a wrong one is not. `huggingface_hub` and `pooch` are not used for the
transfer itself: neither compares digests of large files and resumes both kinds of addresses after a kill.
"""

from __future__ import annotations

import dataclasses
import email.utils
import hashlib
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import requests

from pose_models.files import InputError, exclusive

log = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20
RECEIVED_BYTES = 1 << 14  # at most so much is lost when a connection breaks
SLOW_BYTES = 10**9  # reading so much takes seconds
BUSY = (408, 425, 429, 500, 502, 503, 504)
TIMEOUT_S = (20, 60)
Progress = Callable[[int], Any]


@dataclasses.dataclass(frozen=True)
class RemoteFile:
    """A file to fetch: its address and what is known of its content.

    size: bytes. sha256 or git_sha1: digest; git's is that of a blob, which hubs give for small files. etag: the
    version that a plain server named, so that a resumed download never mixes two versions.
    """

    name: str
    url: str
    size: int | None = None
    sha256: str | None = None
    git_sha1: str | None = None
    etag: str | None = None

    def hash(self) -> Any:
        """An empty hash of the kind that verifies this file (SHA-256 where nothing is known)."""
        if self.sha256 is None and self.git_sha1 is not None and self.size is not None:
            return hashlib.sha1(b"blob %d\0" % self.size)
        return hashlib.sha256()

    @property
    def digest(self) -> str | None:
        """The digest that `hash` must come to."""
        return self.sha256 or (self.git_sha1 if self.size is not None else None)


@dataclasses.dataclass(frozen=True)
class Patience:
    """How often an attempt that brought nothing is repeated, and how long the first pause is (doubled each time)."""

    retries: int = 8
    wait_s: float = 1.0
    longest_s: float = 120.0

    def pause(self, attempt: int, asked_s: float | None) -> float:
        """Seconds to wait after the n-th failure (from 0); a server's Retry-After is honoured up to `longest_s`."""
        return min(self.longest_s, max(self.wait_s * 2.0**attempt, asked_s or 0.0))


class Interrupted(Exception):
    """An attempt ended early, for a reason that may pass."""

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class Spoilt(Exception):
    """What came cannot become the file; it has to be fetched from its beginning."""


def is_whole(path: Path, remote: RemoteFile, progress: Progress = int) -> bool:
    """Whether a file has the length and the digest of `remote` (as far as they are known); shows the bytes read."""
    if remote.size is not None and path.stat().st_size != remote.size:
        return False
    return remote.digest is None or _hash_of(path, remote, progress).hexdigest() == remote.digest


def download(
    remote: RemoteFile, target: Path, headers: Mapping[str, str], patience: Patience, progress: Progress
) -> None:
    """Fetch a file to `target`; what an earlier attempt left is continued.

    Args:
        remote: address, and the size and digest that the file must have.
        target: where it goes; it appears whole or not at all.
        headers: sent along (user agent, token).
        patience: when to give up.
        progress: called with the number of bytes that came (negative when a partial file was dropped).

    Raises:
        InputError: the server refuses, is out of reach for too long, or sends other bytes than it should.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    failures = spoilt = 0
    with exclusive(target):
        while not target.exists():
            before = part.stat().st_size if part.exists() else 0
            try:
                _attempt(remote, part, headers, progress)
                _accept(remote, part, target)
                return
            except Interrupted as error:
                arrived = part.stat().st_size if part.exists() else 0
                failures = 0 if arrived > before else failures + 1
                if failures > patience.retries:
                    raise InputError(f"{remote.url}: {error}; gave up after {failures} attempts, try later") from None
                pause = patience.pause(failures, error.retry_after_s)
                log.warning("%s: %s; next attempt in %.0f s", remote.name, error, pause)
                time.sleep(pause)
            except Spoilt as error:
                _drop(part, progress)
                spoilt += 1
                if spoilt > 2:
                    raise InputError(f"{remote.url}: {error}; nothing was kept") from None
                log.warning("%s: %s; fetching it anew", remote.name, error)


def _attempt(remote: RemoteFile, part: Path, headers: Mapping[str, str], progress: Progress) -> None:
    """Append what is missing to the partial file."""
    start = part.stat().st_size if part.exists() else 0
    if remote.size is not None and start == remote.size:
        return
    if remote.size is not None and start > remote.size:
        raise Spoilt(f"{start} bytes came where {remote.size} were announced")
    request = {**headers, "Accept-Encoding": "identity"}
    if start:
        request["Range"] = f"bytes={start}-"
        if remote.etag and not remote.etag.startswith("W/"):
            request["If-Range"] = remote.etag
    try:
        with requests.get(remote.url, headers=request, stream=True, timeout=TIMEOUT_S) as response:
            _check_answer(remote, response, start)
            if start and response.status_code == 200:  # no ranges, or another version: from the beginning
                _drop(part, progress)
                start = 0
            _append(remote, response, part, start, progress)
    except requests.RequestException as error:
        raise Interrupted(_reason(error)) from None


def _check_answer(remote: RemoteFile, response: requests.Response, start: int) -> None:
    status = response.status_code
    if status in BUSY:
        raise Interrupted(f"the server answers {status}", retry_after(response.headers))
    if status in (401, 403):
        raise InputError(
            f"{remote.url}: access refused ({status}); a token in HF_TOKEN may help, see the dataset's page"
        )
    if status == 416:
        raise Spoilt(f"the server has no byte {start} of it")
    if status not in (200, 206):
        raise InputError(f"{remote.url}: the server answers {status}; look at the dataset's page for another address")
    announced = response.headers.get("Content-Length", "")
    if status == 206:
        first, total = _content_range(response)
        if first != start:
            raise Spoilt(f"asked for bytes from {start}, the server sends those from {first}")
    else:
        total = int(announced) if announced.isdigit() else None
    if remote.size is not None and total is not None and total != remote.size:
        raise Spoilt(f"the server announces {total} bytes instead of {remote.size}")


def _append(remote: RemoteFile, response: requests.Response, part: Path, start: int, progress: Progress) -> None:
    position = start
    with naming_full_disk(part), part.open("ab") as stream:
        for chunk in response.iter_content(RECEIVED_BYTES):
            stream.write(chunk)
            position += len(chunk)
            progress(len(chunk))
            if remote.size is not None and position > remote.size:
                raise Spoilt(f"more than the announced {remote.size} bytes came")
        stream.flush()
        os.fsync(stream.fileno())
    if remote.size is not None and position < remote.size:
        raise Interrupted(f"the connection ended after {position} of {remote.size} bytes")


def _accept(remote: RemoteFile, part: Path, target: Path) -> None:
    """Rename the partial file if it is what it should be."""
    if remote.digest and part.stat().st_size > SLOW_BYTES:
        log.info("%s: verifying", remote.name)
    found = _hash_of(part, remote, int).hexdigest() if remote.digest else None
    if found != remote.digest:
        raise Spoilt(f"its digest is {found} instead of {remote.digest}")
    part.replace(target)


def _hash_of(path: Path, remote: RemoteFile, progress: Progress) -> Any:
    digest = remote.hash()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
            progress(len(chunk))
    return digest


def _drop(part: Path, progress: Progress) -> None:
    if part.exists():
        progress(-part.stat().st_size)
        part.unlink()


def _content_range(response: requests.Response) -> tuple[int, int | None]:
    """First byte and total length of a partial answer."""
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    span, _, total = rest.partition("/")
    first = span.partition("-")[0]
    if unit != "bytes" or not first.isdigit():
        raise Spoilt("the server's partial answer does not say which bytes it holds")
    return int(first), int(total) if total.isdigit() else None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait before the next attempt: a number or a date in its Retry-After."""
    value = headers.get("Retry-After", "").strip()
    if value.isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time()) if value else None
    except ValueError:
        return None


def _reason(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return "the server does not answer"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke"
    return f"the server cannot be reached ({type(error).__name__})"


class naming_full_disk:
    """Adds the file's name to errors of writing, which do not carry it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and not isinstance(error, requests.RequestException) and error.filename is None:
            error.filename = str(self.path)
