#!/usr/bin/env python3
"""Compare two result files on the same targets: difference of AR with its interval, per object, and by image."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
# Before numpy is imported: its threads cost more than they give on products as small as ours.
os.environ["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "1")

from pose_models import program
from pose_models.datasets.bop import BopDataset
from pose_models.evaluation.analysis import compare
from pose_models.evaluation.bop19 import tables
from pose_models.evaluation.localisation import bop19_errors
from pose_models.evaluation.protocols import ResultFile, Run, input_digests
from pose_models.evaluation.table import table
from pose_models.evaluation.world import World
from pose_models.files import write_json


def arguments() -> argparse.ArgumentParser:
    """Command line."""
    parser = program.parser(__doc__ or "")
    parser.add_argument("--dataset", type=Path, required=True, help="dataset folder in BOP layout")
    parser.add_argument("--first", type=Path, required=True, help="result file (csv)")
    parser.add_argument("--second", type=Path, required=True, help="result file (csv); differences are second - first")
    parser.add_argument("--split", help="folder of the evaluated split (default: the catalogue's, else test)")
    parser.add_argument("--models", default="models_eval", help="folder of the models for errors")
    parser.add_argument("--workers", type=int, default=1, help="processes; results do not depend on their number")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap over images")
    parser.add_argument("--out", type=Path, required=True, help="comparison as json")
    return parser


def main(args: argparse.Namespace) -> None:
    """Compare and write."""
    world = World(BopDataset(args.dataset), args.split, args.models)
    files = [ResultFile.read(path) for path in (args.first, args.second)]
    first, second = tables(world, files, Run(args.workers, program.progress))
    comparison = compare(first, second, bop19_errors(), args.seed)
    facts = {"protocol": "bop19-comparison", "dataset": world.facts.name, "split": world.facts.split}
    names = {"first": str(args.first), "second": str(args.second), "seed": args.seed}
    inputs = {key: input_digests(world, path) for key, path in (("first", args.first), ("second", args.second))}
    write_json(args.out, {**facts, **names, **comparison, "inputs": inputs, "provenance": program.provenance()})
    rows = [
        [name, *(f"{value[key]:+.4f}" for key in ("difference", "low", "high"))]
        for name, value in [
            *((name, {**v, "difference": v["value"]}) for name, v in comparison["difference"].items()),
            *((f"object {obj}", v) for obj, v in comparison["per_object"].items()),
        ]
    ]
    print(table(["second - first", "difference", "low", "high"], rows))
    print(f"wrote {args.out}")


if __name__ == "__main__":
    program.run(main, arguments())
