"""Whole scene folders (shards) by several processes: dask shares out the images, a shard's bytes do not depend on it.

Each image is a function of its recipe and number alone, so a worker that dies (out of memory, killed) costs time only:
dask gives its images to another one, which writes the same files again.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_models.datasets.bop_writer import ImageEntry, SceneWriter
from pose_models.memory import KEEP_MEMORY
from pose_models.program import progress
from pose_models.synthesis.scenes import Recipe, SceneMaker

IMAGES_PER_TASK = 4
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), 1)
FAILURES = 1000  # dead workers that one task may meet, as CosyPose's recording allows

Entries = list[tuple[int, ImageEntry]]


def write_scene(folder: Path, recipe: Recipe, images: int, workers: int = 1) -> None:
    """Make `images` images and their annotation in a new folder (wrap it in `files.atomic_path`).

    Args:
        workers: processes; one makes the images right here. The bytes are the same for any number.
    """
    writer = SceneWriter(folder)
    made = _serially(folder, recipe, images) if workers == 1 else _by_workers(folder, recipe, images, workers)
    for im_id, entry in progress(made, f"scene {recipe.scene_number}", images):
        writer.note(im_id, entry)
    writer.close()


def _serially(folder: Path, recipe: Recipe, images: int) -> Iterator[tuple[int, ImageEntry]]:
    cv2.setNumThreads(1)  # `workers` is all that is used
    maker = SceneMaker(recipe)
    for im_id in range(images):
        yield im_id, maker.write(folder, im_id)


def _by_workers(folder: Path, recipe: Recipe, images: int, workers: int) -> Iterator[tuple[int, ImageEntry]]:
    import dask
    from dask.distributed import Client, LocalCluster, as_completed

    settings = {
        "distributed.scheduler.allowed-failures": FAILURES,
        "distributed.logging.distributed": "warning",
        "distributed.worker.profile.enabled": False,
        "distributed.nanny.pre-spawn-environ": KEEP_MEMORY | ONE_THREAD,
    }
    logging.getLogger("distributed").setLevel(logging.WARNING)
    SceneMaker(recipe)  # wrong files raise here, before any process starts
    with (
        tempfile.TemporaryDirectory() as scratch,
        _environment_restored(),
        dask.config.set(settings),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            memory_limit=0,
            local_directory=scratch,
        ) as cluster,
        Client(cluster) as client,
    ):
        per_group = recipe.settings.images_per_arrangement
        futures = []
        for first in range(0, images, per_group):
            group = range(first, min(first + per_group, images))
            poses = None
            if recipe.settings.layout == "bin":
                poses = client.submit(_settle, recipe, first // per_group, pure=False)
            size = IMAGES_PER_TASK if poses is not None or per_group > 1 else 1
            for start in range(group.start, group.stop, size):
                chunk = list(range(start, min(start + size, group.stop)))
                futures.append(client.submit(_write_images, recipe, folder, chunk, poses, pure=False))
        for future in as_completed(futures):
            yield from future.result()


@contextlib.contextmanager
def _environment_restored() -> Iterator[None]:
    """Take back what dask sets for its workers: it sets it in this process, whose later children would inherit it."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


@functools.lru_cache(maxsize=1)
def _maker(recipe: Recipe) -> SceneMaker:
    cv2.setNumThreads(1)
    return SceneMaker(recipe)


def _settle(recipe: Recipe, group: int) -> list[NDArray[np.float64]]:
    return _maker(recipe).settle(group)


def _write_images(recipe: Recipe, folder: Path, im_ids: list[int], poses: list[NDArray[np.float64]] | None) -> Entries:
    maker = _maker(recipe)
    return [(im_id, maker.write(folder, im_id, poses)) for im_id in im_ids]
