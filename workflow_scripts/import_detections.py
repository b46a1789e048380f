"""Take a detector's results in any known format: check them against the dataset, keep the detections of targets."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program
from pose_models.datasets.bop import BopDataset
from pose_models.datasets.estimates import write_estimates
from pose_models.detections.coco import write_detections
from pose_models.detections.filter import check_dataset, is_of_targets
from pose_models.detections.published import read_offsets
from pose_models.detections.sources import FORMATS, read_source
from pose_models.files import InputError


def main(arguments: argparse.Namespace) -> None:
    """Read, check, filter, write, say what was kept."""
    offsets = None if arguments.offsets is None else read_offsets(arguments.offsets)
    given = read_source(arguments.detections, arguments.format, offsets, arguments.legacy_score)
    for note in given.notes:
        print(f"{arguments.detections}: {note}")
    kept, rule = given, "all, for no dataset was named"
    if arguments.dataset is not None:
        dataset = BopDataset(arguments.dataset)
        check_dataset(given.detections, dataset, arguments.split, arguments.detections, arguments.partial)
        kept = given.select(np.flatnonzero(is_of_targets(given.detections, dataset.targets(arguments.targets))))
        rule = "those of target objects"
        if len(kept.detections) == 0:
            raise InputError(
                f"{arguments.detections}: none of its {len(given.detections)} detections is of a target of "
                f"{dataset.root}; these detections belong to another dataset or split"
            )
    if arguments.poses is not None:
        if not kept.is_posed.any():
            raise InputError(f"{arguments.detections}: no poses to write to {arguments.poses}; leave out --poses")
        failed = int((~kept.is_posed).sum())
        if failed:
            print(f"{arguments.detections}: {failed} detections whose pose failed were left out")
        kept = kept.select(np.flatnonzero(kept.is_posed))
        kept = kept.select(kept.detections.order())
        write_estimates(arguments.poses, kept.estimates())
        print(f"{arguments.poses}: the poses, row by row those of the detections")
    elif given.T_cam_obj is not None:
        print(f"{arguments.detections}: it holds poses as well; --poses FILE.csv keeps them")
    write_detections(arguments.out, kept.detections)
    print(f"{arguments.out}: {len(kept.detections)} of {len(given.detections)} detections kept ({rule})")


if __name__ == "__main__":
    options = program.parser(__doc__)
    options.add_argument("--detections", type=Path, required=True, help="file or folder of the results")
    known = "; ".join(f"{name}: {text}" for name, text in FORMATS.items())
    options.add_argument("--format", choices=FORMATS, help=f"format, where it is not recognised. {known}")
    options.add_argument("--dataset", type=Path, help="BOP dataset folder; without it nothing is checked or left out")
    options.add_argument("--split", default="test", help="split folder")
    options.add_argument("--targets", default="test_targets_bop19.json", help="targets file in the dataset folder")
    options.add_argument("--partial", action="store_true", help="the folder holds only part of the scenes and images")
    options.add_argument("--offsets", type=Path, help="PoseCNN: offsets.txt of YCB-V (mm), to keep its poses")
    options.add_argument(
        "--legacy-score", action="store_true", help="PoseCNN: class ids as scores, as in published 5-view numbers"
    )
    options.add_argument("--poses", type=Path, help="write the poses that came with the detections (BOP csv)")
    options.add_argument("--out", type=Path, required=True, help="detections file to write")
    program.run(main, options)
