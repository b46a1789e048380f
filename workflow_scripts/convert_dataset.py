"""Convert datasets: between the layouts of BOP splits, to PVNet's LineMOD layout, YCB-V models as PoseCNN evaluates."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program
from pose_models.datasets.bop import BopDataset
from pose_models.datasets.layouts import LAYOUTS, convert_split


def layout(arguments: argparse.Namespace) -> None:
    """Write a split in another layout."""
    dataset = BopDataset(arguments.dataset, arguments.sensor)
    images, parts = convert_split(
        dataset, arguments.split, arguments.to, arguments.out, arguments.images_per_shard, arguments.seed
    )
    print(f"wrote {arguments.out}: {images} images in {parts} {'shards' if arguments.to == 'webdataset' else 'scenes'}")


def main(arguments: argparse.Namespace) -> None:
    """Run the chosen conversion."""
    arguments.convert(arguments)


if __name__ == "__main__":
    parser = program.parser(__doc__)
    choices = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    settings = {"formatter_class": argparse.ArgumentDefaultsHelpFormatter, "allow_abbrev": False}

    choice = choices.add_parser("layout", help="a split as classic folders, image-wise files or tar shards", **settings)
    choice.add_argument("--dataset", type=Path, required=True, help="dataset folder")
    choice.add_argument("--split", required=True, help="split folder to read, in any layout")
    choice.add_argument("--to", choices=LAYOUTS, required=True, help="layout to write")
    choice.add_argument("--out", type=Path, required=True, help="split folder to write, such as data/lm/train_pbr_web")
    choice.add_argument("--sensor", help="sensor to read, where annotations are per sensor")
    choice.add_argument("--images-per-shard", type=int, default=1000, help="images of a shard")
    choice.add_argument("--seed", type=int, default=0, help="of the order of images in shards")
    choice.set_defaults(convert=layout)

    program.run(main, parser)
