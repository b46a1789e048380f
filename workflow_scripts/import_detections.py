"""Take a detector's BOP COCO results file: check it against the dataset, keep the detections of targets."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program
from pose_models.datasets.bop import BopDataset
from pose_models.detections.coco import read_detections, write_detections
from pose_models.detections.filter import by_targets, check_dataset
from pose_models.files import InputError


def main(arguments: argparse.Namespace) -> None:
    """Read, check, filter, write, say what was kept."""
    dataset = BopDataset(arguments.dataset)
    given = read_detections(arguments.detections)
    check_dataset(given, dataset, arguments.split, arguments.detections, arguments.partial)
    kept = by_targets(given, dataset.targets(arguments.targets))
    if len(kept) == 0:
        raise InputError(
            f"{arguments.detections}: none of its {len(given)} detections is of a target of {dataset.root}; "
            "these detections belong to another dataset or split"
        )
    write_detections(arguments.out, kept)
    print(f"{arguments.out}: {len(kept)} of {len(given)} detections kept (those of target objects)")


if __name__ == "__main__":
    options = program.parser(__doc__)
    options.add_argument("--detections", type=Path, required=True, help="BOP COCO results, .json or .json.gz")
    options.add_argument("--dataset", type=Path, required=True, help="BOP dataset folder")
    options.add_argument("--split", default="test", help="split folder")
    options.add_argument("--targets", default="test_targets_bop19.json", help="targets file in the dataset folder")
    options.add_argument("--partial", action="store_true", help="the folder holds only part of the scenes and images")
    options.add_argument("--out", type=Path, required=True, help="detections file to write")
    program.run(main, options)
