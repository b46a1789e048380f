"""Make a dataset of other test images of a dataset (all of T-LESS, YCB-Video keyframes, ...); files are linked."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program
from pose_models.datasets.bop import BopDataset
from pose_models.datasets.subset import link_subset
from pose_models.datasets.ycbv import read_keyframes


def main(arguments: argparse.Namespace) -> None:
    """Read the list of images, link, say how many."""
    images = None if arguments.images is None else set(read_keyframes(arguments.images))
    count = link_subset(BopDataset(arguments.dataset), arguments.split, images, arguments.out)
    print(f"wrote {arguments.out}: {count} images with targets; name it in config.yaml with `source: folder`")


if __name__ == "__main__":
    options = program.parser(__doc__)
    options.add_argument("--dataset", type=Path, required=True, help="BOP dataset folder with ground truth")
    options.add_argument("--split", default="test", help="split folder, such as test_primesense")
    options.add_argument("--images", type=Path, help="lines `scene/image`, such as keyframe.txt; all images without it")
    options.add_argument("--out", type=Path, required=True, help="folder to make, such as data/tless-all")
    program.run(main, options)
