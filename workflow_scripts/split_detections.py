"""Deal the images of a detections file out to several files, for inference in as many jobs."""

import argparse
from pathlib import Path

import numpy as np

from pose_models import program
from pose_models.detections.coco import read_detections, write_detections
from pose_models.files import InputError


def main(arguments: argparse.Namespace) -> None:
    """Runs of whole images with about as many detections each, in order, so that results can be joined in order."""
    detections = read_detections(arguments.detections).sorted()
    images = np.stack([detections.scene_id, detections.im_id], axis=1)
    starts = np.flatnonzero(np.r_[True, (images[1:] != images[:-1]).any(axis=1)])
    if len(starts) < len(arguments.out):
        raise InputError(
            f"{arguments.detections}: {len(starts)} images cannot be dealt out to {len(arguments.out)} jobs"
        )
    wanted = np.arange(1, len(arguments.out)) * len(detections) / len(arguments.out)
    first = np.abs(starts[None] - wanted[:, None]).argmin(axis=1)
    for i in range(len(first)):  # at least one image each
        low = first[i - 1] + 1 if i else 1
        first[i] = min(max(first[i], low), len(starts) - len(first) + i)
    bounds = [0, *starts[first].tolist(), len(detections)]
    for path, low, high in zip(arguments.out, bounds[:-1], bounds[1:], strict=True):
        write_detections(path, detections.select(np.arange(low, high)))
    print(f"dealt {len(detections)} detections in {len(starts)} images out to {len(arguments.out)} files")


if __name__ == "__main__":
    parser = program.parser(__doc__ or "")
    parser.add_argument("--detections", type=Path, required=True, help="BOP COCO json")
    parser.add_argument("--out", type=Path, nargs="+", required=True, help="files to write, one per job")
    program.run(main, parser)
