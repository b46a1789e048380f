"""Image-wise BOP datasets: a folder of files `000001_000002.rgb.png` ..., or tar shards of them (bop.md section 2.4).

All annotations of a split are parsed into one table per kind, kept in the cache folder; images and masks are read
from their file, or from their place in the shard, when they are asked for. Nothing is unpacked.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pose_models.datasets.arrays import Arrays, cache_path, cached_arrays, file_state
from pose_models.datasets.index import (
    CAMERA,
    INFOS,
    INSTANCES,
    KINDS,
    Kind,
    Table,
    concatenated,
    in_processes,
    join,
    parse_image,
    to_table,
)
from pose_models.datasets.masks import decode
from pose_models.datasets.scene import BopScene, Content
from pose_models.files import InputError

ROLES = ("rgb", "gray", "depth", "mask", "mask_visib", "camera", "gt", "gt_info")
SUFFIXES = ("json", "png", "jpg", "jpeg", "tif", "tiff")
MEMBER = re.compile(rf"(\d{{6,}})_(\d{{6,}})\.([a-z_]+)\.({'|'.join(SUFFIXES)})")
FOLDER = -1  # shard number of a file of its own
_KINDS = {"camera": CAMERA, "gt": INSTANCES, "gt_info": INFOS}
Part = tuple[dict[tuple[int, int], NDArray[np.int64]], dict[str, tuple[NDArray[np.int64], Table]]]


class Member:
    """A file of an image: its (scene, image), role and suffix, and where its bytes lie."""

    def __init__(self, match: re.Match[str], shard: int, offset: int, size: int) -> None:
        self.name, self.key = match[0], (int(match[1]), int(match[2]))
        self.role, self.suffix = match[3], match[4]
        self.shard, self.offset, self.size = shard, offset, size


class ImagewiseSplit:
    """A split folder with image-wise files or shards: which images there are, their annotations, where files lie."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.shards = sorted(self.folder.glob("shard-*.tar"))

    @staticmethod
    def is_one(folder: Path) -> bool:
        """Whether a folder holds shards or image-wise files."""
        return any(folder.glob("shard-*.tar")) or any(MEMBER.fullmatch(entry.name) for entry in os.scandir(folder))

    @functools.cached_property
    def scene_ids(self) -> list[int]:
        """Scenes that have an image, ascending."""
        return [int(scene_id) for scene_id in np.unique(self._arrays["camera/scene_ids"])]

    def table(self, kind: Kind, scene_id: int) -> Table | None:
        """Annotations of a scene, None where no image of it has such a file."""
        arrays = {name.partition("/")[2]: a for name, a in self._arrays.items() if name.startswith(f"{kind.name}/")}
        start, stop = np.searchsorted(arrays["scene_ids"], [scene_id, scene_id + 1])
        if start == stop:
            return None
        columns = {name: array for name, array in arrays.items() if name not in ("im_ids", "first", "scene_ids")}
        return Table(arrays["im_ids"], arrays["first"], columns).part(int(start), int(stop))

    def has(self, scene_id: int, im_id: int, role: str) -> bool:
        """Whether an image has a file of a role (`ROLES`)."""
        found = self._positions.get((scene_id, im_id))
        return found is not None and int(self._arrays["places"][found, ROLES.index(role), 2]) >= 0

    def read(self, scene_id: int, im_id: int, role: str) -> Content | None:
        """Name and bytes of an image's file of a role, None if there is none."""
        if not self.has(scene_id, im_id, role):
            return None
        place = self._arrays["places"][self._positions[scene_id, im_id], ROLES.index(role)]
        shard, offset, size, suffix = place.tolist()
        name = f"{scene_id:06d}_{im_id:06d}.{role}.{SUFFIXES[suffix]}"
        path = self.folder / name if shard == FOLDER else self.shards[shard]
        with path.open("rb") as stream:
            stream.seek(offset)
            content = stream.read(size)
        if len(content) != size:
            raise InputError(f"{path}: truncated; fetch or make the file again")
        return (str(path) if shard == FOLDER else f"{path}/{name}"), content

    @functools.cached_property
    def _positions(self) -> dict[tuple[int, int], int]:
        return {(scene_id, im_id): n for n, (scene_id, im_id) in enumerate(self._arrays["keys"].tolist())}

    @functools.cached_property
    def _arrays(self) -> Arrays:
        if self.shards:
            state: Any = [file_state(path) for path in self.shards]
        else:
            states = sorted(file_state(Path(e.path)) for e in os.scandir(self.folder) if MEMBER.fullmatch(e.name))
            state = hashlib.sha256(json.dumps(states).encode()).hexdigest()
        return cached_arrays(cache_path("imagewise", self.folder), state, self._parse)

    def _parse(self) -> Arrays:
        if self.shards:
            return _merge(self.folder, list(in_processes(_parse_shard, list(enumerate(self.shards)), "shards")))
        return _merge(self.folder, [_parse_folder(self.folder)])


class ImagewiseScene(BopScene):
    """A scene of an image-wise split."""

    def __init__(self, split: ImagewiseSplit, scene_id: int) -> None:
        """Scene `scene_id` of a split; raises InputError where no image belongs to it."""
        if scene_id not in split.scene_ids:
            raise InputError(f"{split.folder}: there is no image of scene {scene_id}")
        self.split, self.scene_id, self.sensor = split, scene_id, None
        self.path = split.folder / f"{scene_id:06d}"  # a name for messages and for what depends on the split's name
        self._tables = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_scene, (self.split.folder, self.scene_id)

    def annotation_file(self, kind: Kind) -> Path:
        """What the annotations are called in messages."""
        return self.split.folder / f"{self.scene_id:06d}_*.{kind.name}.json"

    def has(self, kind: Kind) -> bool:
        """Whether there are annotations of a kind."""
        return self.split.table(kind, self.scene_id) is not None

    def digests(self) -> list[str]:
        """A digest of each kind of annotations that there is, to tell whether they have changed."""
        texts = ([self.annotation(kind, im_id) for im_id in self.image_ids] for kind in KINDS if self.has(kind))
        return [hashlib.sha256(b"\n".join(text or b"" for text in kind)).hexdigest() for kind in texts]

    def rgb_path(self, im_id: int) -> Path:
        """Path of the colour image; InputError in shards, whose images have none (`rgb_file` reads them)."""
        name, _ = self.rgb_file(im_id)
        if self.split.shards:
            raise InputError(f"{name}: lies in an archive; workflow_scripts/convert_dataset.py unpacks it")
        return Path(name)

    def rgb_file(self, im_id: int) -> Content:
        """Name and bytes of the colour (or grey) image's file."""
        found = self._read(im_id, "rgb") or self._read(im_id, "gray")
        if found is None:
            raise InputError(f"{self.split.folder}: image {self.scene_id:06d}_{im_id:06d} has neither rgb nor gray")
        return found

    def depth_file(self, im_id: int) -> Content | None:
        """Name and bytes of the depth image's file, None if there is none."""
        return self._read(im_id, "depth")

    def has_rgb(self, im_id: int) -> bool:
        """Whether a colour (or grey) image exists."""
        return self.split.has(self.scene_id, im_id, "rgb") or self.split.has(self.scene_id, im_id, "gray")

    def has_depth(self, im_id: int) -> bool:
        """Whether a depth image exists."""
        return self.split.has(self.scene_id, im_id, "depth")

    def mask(self, im_id: int, gt_id: int, visible: bool = True) -> NDArray[np.bool_]:
        """Mask (H, W) of an instance: its visible part, or its whole silhouette inside the image."""
        return self.masks(im_id, visible)[gt_id]

    def has_masks(self, im_id: int, visible: bool = True) -> bool:
        """Whether an image has masks."""
        return self.split.has(self.scene_id, im_id, "mask_visib" if visible else "mask")

    def masks(self, im_id: int, visible: bool = True) -> dict[int, NDArray[np.bool_]]:
        """All masks of an image by gt id."""
        role = "mask_visib" if visible else "mask"
        found = self._read(im_id, role)
        if found is None:
            raise InputError(f"{self.split.folder}: image {self.scene_id:06d}_{im_id:06d} has no {role}.json")
        try:
            return {int(gt_id): decode(rle) for gt_id, rle in msgspec.json.decode(found[1]).items()}
        except (ValueError, KeyError, TypeError, AttributeError, msgspec.DecodeError) as error:
            raise InputError(f"{found[0]}: unreadable masks ({error}); fetch or make the file again") from None

    def annotation(self, kind: Kind, im_id: int) -> bytes | None:
        """JSON text of an image's entry as it stands in the file, None if there is none."""
        found = self._read(im_id, kind.name)
        return None if found is None else found[1]

    def _read(self, im_id: int, role: str) -> Content | None:
        return self.split.read(self.scene_id, im_id, role)

    def _read_table(self, kind: Kind) -> Table:
        table = self.split.table(kind, self.scene_id)
        if table is None:
            raise InputError(f"{self.annotation_file(kind)}: file not found")
        return table


def _open_scene(folder: Path, scene_id: int) -> ImagewiseScene:
    return ImagewiseScene(ImagewiseSplit(folder), scene_id)


def _folder_members(folder: Path) -> Iterator[Member]:
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        match = MEMBER.fullmatch(entry.name)
        if match:
            yield Member(match, FOLDER, 0, entry.stat().st_size)


def _parse_folder(folder: Path) -> Part:
    return _parse(str(folder), _folder_members(folder), lambda member: (folder / member.name).read_bytes())


def _parse_shard(job: tuple[int, Path]) -> Part:
    number, path = job
    if not _is_whole(path):
        raise InputError(f"{path}: truncated; fetch or make the file again")
    try:
        with tarfile.open(path, "r:") as archive, path.open("rb") as stream:

            def read(member: Member) -> bytes:
                stream.seek(member.offset)
                return stream.read(member.size)

            files = ((MEMBER.fullmatch(Path(info.name).name), info) for info in archive if info.isfile())
            members = [Member(match, number, info.offset_data, info.size) for match, info in files if match]
            return _parse(str(path), members, read)
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"{path}: unreadable archive ({error}); fetch or make the file again") from None


def _is_whole(shard: Path) -> bool:
    """Whether a tar file ends as it must, with empty blocks; the library takes a cut one for a short one."""
    size = shard.stat().st_size
    with shard.open("rb") as stream:
        stream.seek(max(size - tarfile.BLOCKSIZE, 0))
        return size >= tarfile.BLOCKSIZE and size % tarfile.BLOCKSIZE == 0 and not stream.read().strip(b"\0")


def _parse(place: str, members: Iterable[Member], read: Callable[[Member], bytes]) -> Part:
    """Places of the images and masks by (scene, image), and tables with a column of scene ids."""
    places: dict[tuple[int, int], NDArray[np.int64]] = {}
    entries: dict[str, dict[tuple[int, int], Any]] = {kind.name: {} for kind in KINDS}
    for member in members:
        if member.role in ROLES:
            row = places.setdefault(member.key, np.full((len(ROLES), 4), -1, dtype=np.int64))
            row[ROLES.index(member.role)] = (member.shard, member.offset, member.size, SUFFIXES.index(member.suffix))
        if member.role in _KINDS and member.suffix == "json":
            kind = _KINDS[member.role]
            entries[kind.name][member.key] = parse_image(kind, f"{place}/{member.name}", read(member))
    tables = {}
    for kind in KINDS:
        found = entries[kind.name]
        arrays = join(kind, dict(enumerate(found.values())))
        scene_ids, im_ids = np.array(list(found), dtype=np.int64).reshape(-1, 2).T
        tables[kind.name] = scene_ids, to_table(arrays | {"im_ids": im_ids})
    return places, tables


def _merge(folder: Path, parts: Sequence[Part]) -> Arrays:
    """Arrays of a split: keys (I, 2), places (I, roles, 4) and per kind `<kind>/...`, by scene and image."""
    places = {key: row for part, _ in parts for key, row in part.items()}
    if len(places) != sum(len(part) for part, _ in parts):
        raise InputError(f"{folder}: two shards hold the same image; fetch or make them again")
    arrays: Arrays = {
        "keys": np.array(list(places), dtype=np.int64).reshape(-1, 2),
        "places": np.array(list(places.values()), dtype=np.int64).reshape(-1, len(ROLES), 4),
    }
    for kind in KINDS:
        scene_ids = np.concatenate([tables[kind.name][0] for _, tables in parts])
        table = concatenated([tables[kind.name][1] for _, tables in parts])
        order = np.lexsort((table.im_ids, scene_ids))
        table = table.gathered(order)
        named = {"scene_ids": scene_ids[order], "im_ids": table.im_ids, "first": table.first} | table.columns
        arrays |= {f"{kind.name}/{name}": array for name, array in named.items()}
    return arrays
