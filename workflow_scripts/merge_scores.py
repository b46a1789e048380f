"""Gather the scores of all runs of a dataset in one file, and print them as a table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program
from pose_models.evaluation.submission import is_hidden, sentence
from pose_models.files import InputError, read_json, write_json


def main(arguments: argparse.Namespace) -> None:
    """Read each `<run>/scores*.json`, sort by run and protocol, write."""
    runs: dict[str, dict[str, Any]] = {}
    for path in arguments.scores:
        scores = read_json(path)
        if not isinstance(scores, dict) or "protocol" not in scores:
            raise InputError(f"{path}: no key 'protocol'; make it with evaluate.py")
        runs.setdefault(path.parent.name, {})[scores["protocol"]] = scores
    write_json(arguments.out, {"dataset": arguments.dataset, "detections": arguments.detections, "runs": runs})
    for run, protocols in runs.items():
        for protocol, scores in protocols.items():
            print(f"{run:24} {protocol:12} {_summary(scores)}")
    print(f"{arguments.out}: {len(runs)} run(s), detections: {arguments.detections}")


def _summary(scores: dict[str, Any]) -> str:
    """The numbers at the top of the scores, such as `AR 0.512`; what to submit where the ground truth is hidden."""
    if is_hidden(scores):
        return sentence(scores)
    numbers = {**scores, **scores.get("scores", {})} if isinstance(scores.get("scores", {}), dict) else scores
    return "  ".join(f"{key} {value:.3f}" for key, value in numbers.items() if isinstance(value, float))


if __name__ == "__main__":
    options = program.parser(__doc__)
    options.add_argument("--dataset", required=True, help="name of the dataset")
    options.add_argument("--detections", required=True, help="name of the source of detections")
    options.add_argument("--scores", type=Path, nargs="+", required=True, help="scores.json of each run (and protocol)")
    options.add_argument("--out", type=Path, required=True, help="file to write")
    program.run(main, options)
