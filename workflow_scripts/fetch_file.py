"""Fetch one file of a hub repository (a dataset repository), verified; the same command goes on after a stop."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program
from pose_models.datasets.fetch import fetch_hub_file
from pose_models.datasets.transfer import Patience


def main(arguments: argparse.Namespace) -> None:
    """Fetch and say where it comes from."""
    mirror = Path(arguments.mirror) if arguments.mirror else None
    patience = Patience(arguments.retries, arguments.wait_s)
    origin = fetch_hub_file(arguments.repository, arguments.file, arguments.out, mirror, patience)
    print(f"wrote {arguments.out} ({arguments.repository}, {origin})")


if __name__ == "__main__":
    options = program.parser(__doc__)
    options.add_argument("--repository", default="bop-benchmark/bop_extra", help="dataset repository of the hub")
    options.add_argument("--file", required=True, help="path of the file in it")
    options.add_argument("--out", type=Path, required=True, help="file to write")
    options.add_argument("--mirror", help="folder that may hold the file, used instead of the internet")
    options.add_argument("--retries", type=int, default=8, help="attempts without any progress before giving up")
    options.add_argument("--wait-s", type=float, default=1.0, help="first pause between attempts; it doubles each time")
    program.run(main, options)
