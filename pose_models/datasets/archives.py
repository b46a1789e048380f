"""What the catalogue says about a dataset's archives: which parts there are, what each is needed for, where it goes.

A part is what is fetched and unpacked together: one archive, or the volumes of one (`.z01` ... `.zip`). Sizes are the
published, often rounded ones; they serve the plan before the publisher is asked, never the check of a file.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from pose_models.files import InputError
from pose_models.settings import Settings

SCALES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}


def parse_ids(value: Any) -> Any:
    """Turn "1-3 7" into [1, 2, 3, 7]; what is no text stays as it is."""
    if not isinstance(value, str):
        return value
    ids: list[int] = []
    for part in value.replace(",", " ").split():
        if not re.fullmatch(r"\d+(-\d+)?", part):
            raise InputError(f"'{part}' is neither a number nor a range such as 0-4")
        first, _, last = part.partition("-")
        ids += range(int(first), int(last or first) + 1)
    return ids


def _bytes(value: Any) -> Any:
    """Turn "33.5 MB" into 33500000."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"([\d.]+) ?([kMG]?B)", value)
    if not match:
        raise ValueError(f"'{value}' is no size such as 33.5 MB")
    return round(float(match[1]) * SCALES[match[2].upper()])


def _files(value: Any) -> Any:
    """A list of names stands for files of which nothing is known, a bare size for a file of that size."""
    if isinstance(value, list):
        return {name: {} for name in value}
    if isinstance(value, dict):
        return {name: {"size": v} if isinstance(v, str | int) else v or {} for name, v in value.items()}
    return value


Ids = Annotated[tuple[int, ...], BeforeValidator(parse_ids)]


class ArchiveFile(Settings):
    """One file of a part as the catalogue knows it."""

    size: Annotated[int, BeforeValidator(_bytes)] | None = Field(None, description="published size in bytes")
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", description="digest, where one was published")
    url: str | None = Field(None, description="address of a file that does not lie in the dataset's repository")


class Part(Settings):
    """What is fetched and unpacked together."""

    files: Annotated[dict[str, ArchiveFile], BeforeValidator(_files)] = Field(
        description="files by their name in the repository; `folder/*` stands for all files of a folder"
    )
    needed_for: Literal["inference", "training", "validation", "onboarding", "more"] = Field(
        description="`inference` and evaluation of the test split, `training`, ...; `more` is fetched only by name"
    )
    split: str | None = Field(None, description="folder of scenes that it brings")
    scenes: Ids | None = Field(None, description="scenes of that folder")
    inferred: bool = Field(False, description="the names follow from a rule and were not seen published")
    manual: str | None = Field(None, description="page where a person has to download it; no program can")
    unpack: bool = Field(True, description="false: the files themselves are the data")
    places: dict[str, str] = Field(
        default_factory=dict, description="folders of the archive and where they go below the dataset's folder"
    )
