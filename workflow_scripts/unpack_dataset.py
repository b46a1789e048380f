"""Unpack one fetched part of a published dataset; the same command goes on after a stop."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program
from pose_models.datasets.archives import parse_ids
from pose_models.datasets.catalogue import catalogue_names
from pose_models.datasets.fetch import gigabytes
from pose_models.datasets.install import unpack_part, unpacked_record


def main(arguments: argparse.Namespace) -> None:
    """Unpack and say what was."""
    scenes = None if arguments.scenes is None else parse_ids(arguments.scenes)
    keep = not arguments.remove_archives
    record = unpack_part(arguments.root, arguments.dataset, arguments.part, scenes, arguments.workers, keep)
    path = unpacked_record(arguments.root, arguments.dataset, arguments.part)
    print(f"wrote {path}: {record['files']} files, {gigabytes(record['bytes'])}")


if __name__ == "__main__":
    options = program.parser(__doc__)
    options.add_argument("--dataset", required=True, help=f"dataset: {', '.join(catalogue_names())}")
    options.add_argument("--part", required=True, help="part that fetch_dataset.py --no-unpack has fetched")
    options.add_argument("--root", type=Path, default=Path("data"), help="folder that holds a folder per dataset")
    options.add_argument("--scenes", help="unpack only these scenes, such as 0-4; default: all")
    options.add_argument("--workers", type=int, default=4, help="processes that unpack")
    options.add_argument("--remove-archives", action="store_true", help="remove the downloaded archives afterwards")
    program.run(main, options)
