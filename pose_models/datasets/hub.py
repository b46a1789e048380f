"""What publishers say about their files: names, sizes and digests, asked of a hub repository or a plain web server.

`HF_ENDPOINT` and `HF_TOKEN` are honoured (by `huggingface_hub`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import requests

from pose_models.datasets.transfer import BUSY, TIMEOUT_S, Interrupted, Patience, RemoteFile, retry_after
from pose_models.files import InputError

if TYPE_CHECKING:  # its import takes half a second
    from huggingface_hub import HfApi

log = logging.getLogger(__name__)
for client in ("httpx", "httpx2"):  # one line per request would drown the plan
    logging.getLogger(client).setLevel(logging.WARNING)

Answer = TypeVar("Answer")
QUESTIONS = 5


def hub_listing(
    repository: str, revision: str | None, patience: Patience
) -> tuple[str, str | None, dict[str, RemoteFile]]:
    """Commit, licence (of the repository's card) and files by path of a dataset repository.

    Of a given commit, else as of now. The files' addresses name the commit, so that they give the same bytes later.

    Raises:
        InputError: there is no such repository, or the hub cannot be reached.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    address = f"{api.endpoint}/datasets/{repository}"
    return _ask(address, lambda: _listing(api, repository, revision, address), patience)


def hub_url(repository: str, name: str, revision: str) -> str:
    """Address of a file of a dataset repository at the endpoint of this machine."""
    from huggingface_hub import hf_hub_url

    return str(hf_hub_url(repository, name, repo_type="dataset", revision=revision))


def hub_headers(url: str) -> dict[str, str]:
    """Headers for a file of the hub (its token, where there is one); none for other servers."""
    from huggingface_hub import constants
    from huggingface_hub.utils._headers import build_hf_headers

    return dict(build_hf_headers()) if url.startswith(constants.ENDPOINT) else {}


def web_file(name: str, url: str, sha256: str | None, patience: Patience) -> RemoteFile:
    """What a plain web server says about a file: its size and version.

    Raises:
        InputError: there is no such file, or the server cannot be reached.
    """
    return _ask(url, lambda: _head(name, url, sha256), patience)


def _ask(address: str, question: Callable[[], Answer], patience: Patience) -> Answer:
    for attempt in range(1, QUESTIONS + 1):
        try:
            return question()
        except Interrupted as error:
            reason = error
        if attempt < QUESTIONS:
            pause = patience.pause(attempt - 1, reason.retry_after_s)
            log.warning("%s: %s; next attempt in %.0f s", address, reason, pause)
            time.sleep(pause)
    raise InputError(
        f"{address}: {reason}; try later, or where there is no internet name a folder that holds the archives "
        "(data_mirror in config.yaml, --mirror)"
    )


def _listing(
    api: HfApi, repository: str, revision: str | None, address: str
) -> tuple[str, str | None, dict[str, RemoteFile]]:
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError
    from huggingface_hub.hf_api import RepoFile

    try:
        info = api.dataset_info(repository, revision=revision)
        tree = api.list_repo_tree(repository, recursive=True, revision=info.sha, repo_type="dataset")
        items = [item for item in tree if isinstance(item, RepoFile)]
    except OfflineModeIsEnabled:
        raise InputError(
            f"{address}: the hub is switched off here (HF_HUB_OFFLINE); name a folder with --mirror"
        ) from None
    except RepositoryNotFoundError:
        raise InputError(f"{address}: not found; where it is not public, a token in HF_TOKEN may help") from None
    except HfHubHTTPError as error:
        if error.response.status_code not in BUSY:
            raise InputError(f"{address}: the hub answers {error.response.status_code}") from None
        raise Interrupted(
            f"the hub answers {error.response.status_code}", retry_after(error.response.headers)
        ) from None
    except Exception as error:  # the hub's client passes errors of connection on as they come from below
        if not type(error).__module__.startswith("httpx"):
            raise
        raise Interrupted(f"cannot be reached ({type(error).__name__})") from None
    licence = getattr(info.card_data, "license", None)
    files = {
        item.path: RemoteFile(
            name=item.path,
            url=hub_url(repository, item.path, str(info.sha)),
            size=item.size,
            sha256=item.lfs.sha256 if item.lfs else None,
            git_sha1=None if item.lfs else item.blob_id,
        )
        for item in items
    }
    return str(info.sha), licence if isinstance(licence, str) else None, files


def _head(name: str, url: str, sha256: str | None) -> RemoteFile:
    try:
        answer = requests.head(url, allow_redirects=True, timeout=TIMEOUT_S, headers={"Accept-Encoding": "identity"})
    except requests.RequestException as error:
        raise Interrupted(f"cannot be reached ({type(error).__name__})") from None
    if answer.status_code in BUSY:
        raise Interrupted(f"the server answers {answer.status_code}", retry_after(answer.headers))
    if answer.status_code != 200:
        raise InputError(f"{url}: the server answers {answer.status_code}; see the dataset's page")
    length = answer.headers.get("Content-Length", "")
    size = int(length) if length.isdigit() else None
    return RemoteFile(name, url, size, sha256, etag=answer.headers.get("ETag"))
