"""Convert datasets: between the layouts of BOP splits, to PVNet's LineMOD layout, YCB-V models as PoseCNN evaluates."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program
from pose_models.datasets.bop import BopDataset
from pose_models.datasets.layouts import LAYOUTS, convert_split
from pose_models.datasets.linemod import NAMES, Sources, convert_linemod
from pose_models.datasets.ycbv import write_compatible_models
from pose_models.files import InputError


def layout(arguments: argparse.Namespace) -> None:
    """Write a split in another layout."""
    dataset = BopDataset(arguments.dataset, arguments.sensor)
    images, parts = convert_split(
        dataset, arguments.split, arguments.to, arguments.out, arguments.images_per_shard, arguments.seed
    )
    print(f"wrote {arguments.out}: {images} images in {parts} {'shards' if arguments.to == 'webdataset' else 'scenes'}")


def linemod(arguments: argparse.Namespace) -> None:
    """Write LINEMOD as PVNet and RePOSE read it."""
    quality = arguments.jpeg_quality
    if quality is not None and not 1 <= quality <= 100:
        raise InputError(f"--jpeg-quality {quality}: must be 1 to 100")
    sources = Sources(arguments.lm, arguments.lmo, arguments.lists, arguments.rendered, quality)
    counts = convert_linemod(sources, arguments.objects, arguments.out)
    for name, parts in counts.items():
        print(f"{name}: " + ", ".join(f"{count} {part}" for part, count in parts.items()))
    print(f"wrote {arguments.out}: {len(counts)} objects")


def ycbv_models(arguments: argparse.Namespace) -> None:
    """Write YCB-V models as PoseCNN evaluates them."""
    folders = write_compatible_models(BopDataset(arguments.dataset), arguments.original)
    print(f"wrote {' and '.join(map(str, folders))}")


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

    choice = choices.add_parser("linemod", help="BOP's lm and lmo as PVNet and RePOSE read LINEMOD", **settings)
    choice.add_argument("--lm", type=Path, required=True, help="dataset folder of lm")
    choice.add_argument("--lmo", type=Path, help="dataset folder of lmo, for the occlusion test")
    choice.add_argument("--out", type=Path, required=True, help="folder to write, such as data/linemod_pvnet")
    choice.add_argument("--objects", type=int, nargs="+", default=list(NAMES), help="object ids")
    choice.add_argument(
        "--lists", type=Path, help="folder with <name>/train.txt of PVNet's authors; else chosen by view"
    )
    choice.add_argument("--rendered", type=int, default=0, help="images of lm/train_pbr per object, as train_pbr.json")
    choice.add_argument("--jpeg-quality", type=int, help="write .jpg (1-100); default: BOP's PNG files as they are")
    choice.set_defaults(convert=linemod)

    choice = choices.add_parser("ycbv-models", help="YCB-V models as PoseCNN, PVNet, DeepIM evaluate them", **settings)
    choice.add_argument("--dataset", type=Path, required=True, help="dataset folder of ycbv; two folders are added")
    choice.add_argument("--original", type=Path, required=True, help="YCB-Video's models: <name>/points.xyz, metres")
    choice.set_defaults(convert=ycbv_models)

    program.run(main, parser)
