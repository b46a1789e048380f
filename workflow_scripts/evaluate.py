#!/usr/bin/env python3
"""Score result files: BOP'19 recall, BOP'24 and COCO precision, classic recalls, AUC, silhouettes."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
# Before numpy is imported: its threads cost more than they give on products as small as ours.
os.environ["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "1")

from pose_models import program
from pose_models.datasets.bop import BopDataset
from pose_models.evaluation.protocols import NAMES, Run, score_files
from pose_models.evaluation.world import World
from pose_models.files import InputError, write_json


def arguments() -> argparse.ArgumentParser:
    """Command line."""
    parser = program.parser(__doc__ or "")
    parser.add_argument("--dataset", type=Path, required=True, help="dataset folder in BOP layout")
    parser.add_argument("--estimates", type=Path, nargs="+", required=True, help="result files: csv, json for coco")
    parser.add_argument("--protocol", choices=NAMES, default="bop19", help="what to compute")
    parser.add_argument("--split", help="folder of the evaluated split (default: the catalogue's, else test)")
    parser.add_argument("--models", default="models_eval", help="folder of the models for errors")
    parser.add_argument("--out", type=Path, nargs="+", help="scores.json, one per result file or one for all")
    parser.add_argument("--workers", type=int, default=1, help="processes; results do not depend on their number")
    parser.add_argument("--strict", action="store_true", help="bop24: count false positives of absent objects too")
    parser.add_argument("--no-analysis", action="store_true", help="bop19: no intervals, bins and perfect ranking")
    parser.add_argument("--check", action="store_true", help="only check whether the files are fit for submission")
    parser.add_argument("--evaluator", choices=("builtin", "bop_toolkit"), default="builtin", help="who computes")
    return parser


def main(args: argparse.Namespace) -> None:
    """Check, or score and write."""
    world = World(BopDataset(args.dataset), args.split, args.models)
    if args.check:
        check(world, args.estimates)
        return
    if not args.out or len(args.out) not in (1, len(args.estimates)):
        raise InputError(f"--out: name one file for all, or one for each of the {len(args.estimates)} result files")
    refuse_hidden_truth(world, args.estimates)
    if args.workers < 1:
        raise InputError(f"--workers {args.workers}: must be 1 or more")
    if args.evaluator == "bop_toolkit":
        from pose_models.evaluation.toolkit import score_files as toolkit_scores

        scores = toolkit_scores(world, args.protocol, args.estimates)
        names = [{"protocol": args.protocol, "estimates": str(path)} for path in args.estimates]
        results = [{**name, **own} for name, own in zip(names, scores, strict=True)]
    else:
        run = Run(args.workers, program.progress, analysis=not args.no_analysis, strict=args.strict)
        results = score_files(world, args.protocol, args.estimates, run)
    provenance = program.provenance()
    write(args.out, [{**scores, "provenance": provenance} for scores in results])
    if args.evaluator == "builtin":
        from pose_models.evaluation.table import tables

        print(tables(results))
    print(f"wrote {', '.join(map(str, args.out))}")


def refuse_hidden_truth(world: World, paths: list[Path]) -> None:
    """Say what can be done where the publisher keeps the ground truth of the test images to itself."""
    facts, root = world.facts, world.dataset.root
    published = facts.entry.public_ground_truth or facts.split != facts.entry.split
    if published or any((root / facts.split).glob("*/scene_gt*.json")):
        return
    raise InputError(
        f"{root / facts.split}: the ground truth of {world.dataset.name}'s test images is not published; "
        f"{', '.join(map(str, paths))} can be submitted (evaluate.py --check tells whether it is fit), "
        "or score a split with ground truth (config.yaml: datasets.<name>.split)"
    )


def check(world: World, paths: list[Path]) -> None:
    """Print all findings; the first error ends the program."""
    from pose_models.evaluation.check import check_file, raise_errors

    findings = {path: check_file(world, path) for path in paths}
    for path, own in findings.items():
        for finding in own:
            print(finding.sentence(path))
    for path, own in findings.items():
        raise_errors(path, own)
    print(f"fit for submission: {', '.join(map(str, paths))}")


def write(paths: list[Path], results: list[dict[str, Any]]) -> None:
    """One file per result, or all in one under `results`."""
    if len(paths) == len(results):
        for path, scores in zip(paths, results, strict=True):
            write_json(path, scores)
    else:
        write_json(paths[0], {"results": results})


if __name__ == "__main__":
    program.run(main, arguments())
