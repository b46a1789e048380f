"""Write a dataset's localisation targets (test_targets_bop19.json) from its ground truth."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program
from pose_models.datasets.bop import BopDataset
from pose_models.datasets.bop_writer import localisation_targets
from pose_models.files import write_json


def main(arguments: argparse.Namespace) -> None:
    """One target per image and object of which an instance shows at least a tenth."""
    dataset = BopDataset(arguments.dataset)
    targets = localisation_targets(dataset, arguments.split)
    out = Path(arguments.out or dataset.root / f"{arguments.split.partition('_')[0]}_targets_bop19.json")
    write_json(out, targets)
    print(f"wrote {out}: {len(targets)} targets")


if __name__ == "__main__":
    parser = program.parser(__doc__)
    parser.add_argument("--dataset", required=True, help="dataset folder")
    parser.add_argument("--split", default="test", help="split folder")
    parser.add_argument("--out", help="target file; default: test_targets_bop19.json in the dataset folder")
    program.run(main, parser)
