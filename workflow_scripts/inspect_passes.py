"""Look at estimates on their way: a page with a slider over the passes of a run, and the error after each."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program
from pose_models.files import InputError, write_text


def main(arguments: argparse.Namespace) -> None:
    """Read the poses of a run, judge, draw, write."""
    from pose_models.datasets.bop import BopDataset
    from pose_models.methods.passes import FILE, read_passes
    from pose_models.report.passes_page import passes_page
    from pose_models.report.views import Viewer

    path = arguments.run / FILE
    poses = read_passes(path)
    known = set(poses.obj_id.tolist())
    if not known:
        raise InputError(f"{path}: no detections, so there is nothing to look at")
    unknown = sorted(set(arguments.objects or ()) - known)
    if unknown:
        raise InputError(f"{path}: no detection of object {unknown[0]}; objects are {sorted(known)}")
    viewer = Viewer(BopDataset(arguments.dataset), arguments.split)
    title = f"{arguments.run.name} on {arguments.dataset.name}, {arguments.split}"
    page = passes_page(viewer, poses, title, arguments.images, arguments.count, arguments.objects or ())
    write_text(arguments.out, page)
    print(f"wrote {arguments.out} ({arguments.out.stat().st_size / 1e6:.1f} MB): {len(poses)} detections")


if __name__ == "__main__":
    parser = program.parser(__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of a run, with poses.npz")
    parser.add_argument("--dataset", type=Path, required=True, help="BOP dataset folder")
    parser.add_argument("--split", default="test", help="split folder that was estimated")
    parser.add_argument("--images", type=int, default=6, help="whole images shown, evenly spread")
    parser.add_argument("--count", type=int, default=24, help="detections shown close up, evenly spread")
    parser.add_argument("--objects", type=int, nargs="+", help="close-ups of these objects only")
    parser.add_argument("--out", type=Path, required=True, help="HTML file to write")
    program.run(main, parser)
