"""Make a page to look at the images of BOP scene folders: contact sheet, distributions, viewpoints."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program
from pose_models.files import InputError, write_text
from pose_models.report.preview import render


def main(arguments: argparse.Namespace) -> None:
    """Gather, draw, write."""
    if arguments.images < 1:
        raise InputError(f"--images {arguments.images}: at least one image has to be shown")
    title = arguments.title or ", ".join(sorted({str(folder.parent) for folder in arguments.scenes}))
    page = render(arguments.scenes, title, arguments.models, arguments.images)
    write_text(arguments.out, page)
    print(f"wrote {arguments.out}: {len(page.encode()) / 1e6:.1f} MB, {len(arguments.scenes)} scene folders")


if __name__ == "__main__":
    parser = program.parser(__doc__)
    parser.add_argument("--scenes", nargs="+", type=Path, required=True, help="scene folders in BOP layout")
    parser.add_argument("--models", type=Path, help="folder of obj_*.ply, mm; without it no contours of poses")
    parser.add_argument("--images", type=int, default=12, help="images shown, spread evenly over the scenes")
    parser.add_argument("--title", help="heading; default: where the scenes lie")
    parser.add_argument("--out", type=Path, required=True, help="HTML file to write")
    program.run(main, parser)
