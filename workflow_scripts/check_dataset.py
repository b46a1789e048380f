"""Read a BOP dataset wholly and list what is wrong with it: exit code 1 if anything has to be repaired."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program
from pose_models.evaluation.doctor.dataset import examine
from pose_models.files import write_json, write_text


def main(arguments: argparse.Namespace) -> None:
    """Examine, print, write what was asked for; exit code 1 on errors."""
    report = examine(arguments.dataset, arguments.split, arguments.jobs, arguments.sample, arguments.rendered)
    for finding in report.findings:
        print("\n".join(finding.lines()))
    if arguments.json is not None:
        write_json(arguments.json, [finding.to_json() for finding in report.findings])
        print(f"{arguments.json}: the findings")
    if arguments.page is not None:
        from pose_models.report.doctor_page import render  # only here: drawing needs the ray caster

        write_text(arguments.page, render(report, arguments.pictures))
        print(f"{arguments.page}: the findings with pictures")
    images = sum(len(scene.records) for scenes in report.scenes.values() for scene in scenes)
    others = len(report.findings) - report.errors
    print(f"{arguments.dataset}: {images} images, {report.errors} errors, {others} warnings and notes")
    if report.errors and not arguments.no_fail:
        sys.exit(1)


if __name__ == "__main__":
    options = program.parser(__doc__)
    options.add_argument("dataset", type=Path, help="dataset folder: the one that holds models/ and test/")
    options.add_argument("--split", nargs="+", help="split folders; all if left out")
    options.add_argument("--sample", type=int, help="images per scene whose files are opened; all if left out")
    options.add_argument("--rendered", type=int, default=10, help="images per scene in which models are rendered")
    options.add_argument("--page", type=Path, help="page with pictures to write (.html)")
    options.add_argument(
        "--pictures", type=int, default=4, help="whole images per split, and views per object, on the page"
    )
    options.add_argument("--json", type=Path, help="findings to write (.json)")
    options.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes")
    options.add_argument("--no-fail", action="store_true", help="exit code 0 even if there are errors")
    program.run(main, options)
