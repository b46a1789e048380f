"""Write a dataset's report: scores, training curves, pictures of estimates, run times and settings in one HTML file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program
from pose_models.files import write_text
from pose_models.report.page import ReportInputs, render


def main(arguments: argparse.Namespace) -> None:
    """Gather, render, write."""
    inputs = ReportInputs(
        dataset=arguments.dataset,
        results=arguments.results,
        runs=tuple(arguments.runs),
        split=arguments.split,
        detections=arguments.detections,
        graph=arguments.graph,
        crops=arguments.crops,
        images=arguments.images,
    )
    page = render(inputs)
    write_text(arguments.out, page)
    print(f"{arguments.out}: {len(page.encode()) / 1e6:.1f} MB, runs: {', '.join(arguments.runs)}")


if __name__ == "__main__":
    options = program.parser(__doc__)
    options.add_argument("--dataset", type=Path, required=True, help="BOP dataset folder")
    options.add_argument("--results", type=Path, required=True, help="the dataset's results folder")
    options.add_argument("--runs", nargs="+", required=True, help="runs to show: folders in the results folder")
    options.add_argument("--split", default="test", help="split folder that was estimated")
    options.add_argument("--detections", type=Path, help="detections that the runs used")
    options.add_argument("--graph", type=Path, help="picture of the graph, SVG")
    options.add_argument("--crops", type=int, default=12, help="inspected crops shown per run")
    options.add_argument("--images", type=int, default=4, help="whole images shown per run")
    options.add_argument("--out", type=Path, required=True, help="HTML file to write")
    program.run(main, options)
