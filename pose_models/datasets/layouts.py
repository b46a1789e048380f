"""Conversion between the layouts of a split: classic, image-wise and shards (bop.md sections 2 and 2.4).

Images keep their bytes and annotations their text; masks change between PNG and run lengths without loss.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from pose_models.datasets.bop import BopDataset, BopScene
from pose_models.datasets.image_files import write_png
from pose_models.datasets.imagewise import ImagewiseScene
from pose_models.datasets.index import CAMERA, INSTANCES, KINDS, in_processes
from pose_models.datasets.masks import encode
from pose_models.files import InputError, atomic_path

LAYOUTS = ("classic", "imagewise", "webdataset")
Job = tuple[Path, str | None, str, list[tuple[int, int]], Path]  # dataset, sensor, split, images, out


def convert_split(
    dataset: BopDataset, split: str, layout: str, out: Path, per_shard: int = 1000, seed: int = 0
) -> tuple[int, int]:
    """Write a split in another layout; the folder appears whole or not at all.

    Args:
        layout: one of `LAYOUTS`.
        out: split folder to write.
        per_shard, seed: images of a shard; shards hold shuffled images.

    Returns:
        Number of images, number of scenes (or of shards, for the layout `webdataset`).
    """
    if out.exists():
        raise InputError(f"{out}: is there already; remove it or name another folder with --out")
    keys = [(s, im_id) for s in dataset.scene_ids(split) for im_id in dataset.scene(split, s).image_ids]
    if not keys:
        raise InputError(f"{dataset.root / split}: no image found")
    with atomic_path(out) as temporary:
        temporary.mkdir()
        if layout == "webdataset":
            order = np.random.default_rng(seed).permutation(len(keys))
            groups = [[keys[i] for i in order[n : n + per_shard]] for n in range(0, len(keys), per_shard)]
            names = [f"shard-{number:06d}.tar" for number in range(len(groups))]
            places = {f"{s:06d}_{i:06d}": number for number, group in enumerate(groups) for s, i in group}
            (temporary / "key_to_shard.json").write_text(json.dumps(places) + "\n")
        else:
            groups = [[key for key in keys if key[0] == s] for s in sorted({s for s, _ in keys})]
            names = [f"{group[0][0]:06d}" if layout == "classic" else "." for group in groups]
        jobs: list[Job] = [
            (dataset.root, dataset.sensor, split, group, temporary / name)
            for group, name in zip(groups, names, strict=True)
        ]
        write = {"classic": _write_scene, "imagewise": _write_files, "webdataset": _write_shard}[layout]
        for _ in in_processes(write, jobs, "shards" if layout == "webdataset" else "scenes"):
            pass
    return len(keys), len(groups)


def _write_scene(job: Job) -> None:
    """One classic scene folder."""
    root, sensor, split, keys, out = job
    scene = BopDataset(root, sensor).scene(split, keys[0][0])
    texts: dict[str, list[str]] = {kind.name: [] for kind in KINDS}
    for _, im_id in keys:
        for kind in KINDS:
            text = scene.annotation(kind, im_id)
            if text is not None:
                texts[kind.name].append(f'"{im_id}": {text.decode()}')
        for role, suffix, content in _images(scene, im_id):
            path = out / role / f"{im_id:06d}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        for visible, folder in ((False, "mask"), (True, "mask_visib")):
            for gt_id, mask in _masks(scene, im_id, visible).items():
                (out / folder).mkdir(parents=True, exist_ok=True)
                write_png(out / folder / f"{im_id:06d}_{gt_id:06d}.png", mask.astype(np.uint8) * 255)
    for name, entries in texts.items():
        if entries:
            (out / f"scene_{name}.json").write_text("{\n" + ",\n".join(entries) + "\n}\n", encoding="utf-8")


def _write_files(job: Job) -> None:
    """Image-wise files of some images."""
    root, sensor, split, keys, out = job
    dataset = BopDataset(root, sensor)
    scene = dataset.scene(split, keys[0][0])
    for scene_id, im_id in keys:
        for role, suffix, content in _members(scene, im_id):
            (out / f"{scene_id:06d}_{im_id:06d}.{role}.{suffix}").write_bytes(content)


def _write_shard(job: Job) -> None:
    """One tar shard of some images; equal images give equal bytes."""
    root, sensor, split, keys, out = job
    dataset = BopDataset(root, sensor)
    scenes = {scene_id: dataset.scene(split, scene_id) for scene_id in {scene_id for scene_id, _ in keys}}
    with tarfile.open(out, "w", format=tarfile.USTAR_FORMAT) as archive:
        for scene_id, im_id in keys:
            for role, suffix, content in _members(scenes[scene_id], im_id):
                info = tarfile.TarInfo(f"{scene_id:06d}_{im_id:06d}.{role}.{suffix}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def _members(scene: BopScene, im_id: int) -> Iterator[tuple[str, str, bytes]]:
    """Role, suffix and content of an image's files in the image-wise layout."""
    for kind in KINDS:
        text = scene.annotation(kind, im_id)
        if text is None and kind is CAMERA:
            raise InputError(f"{scene.annotation_file(kind)}: no entry for image {im_id}")
        if text is not None:
            yield kind.name, "json", text
    for visible, role in ((False, "mask"), (True, "mask_visib")):
        masks = _masks(scene, im_id, visible)
        if masks:
            yield role, "json", msgspec.json.encode({str(gt_id): encode(mask) for gt_id, mask in masks.items()})
    yield from _images(scene, im_id)


def _images(scene: BopScene, im_id: int) -> Iterator[tuple[str, str, bytes]]:
    if scene.has_rgb(im_id):
        name, content = scene.rgb_file(im_id)
        place = name.rsplit(".", 2)[1] if isinstance(scene, ImagewiseScene) else Path(name).parent.name
        yield ("gray" if place.startswith("gray") else "rgb"), name.rpartition(".")[2], content
    depth = scene.depth_file(im_id)
    if depth is not None:
        yield "depth", depth[0].rpartition(".")[2], depth[1]


def _masks(scene: BopScene, im_id: int, visible: bool) -> dict[int, np.ndarray]:
    """Masks of an image by gt id; none where the image has none."""
    if not scene.has_masks(im_id, visible):
        return {}
    if isinstance(scene, ImagewiseScene):
        return scene.masks(im_id, visible)
    if scene.annotation(INSTANCES, im_id) is None:
        return {}
    return {gt_id: scene.mask(im_id, gt_id, visible) for gt_id in range(len(scene.ground_truth[im_id]))}
