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
from pose_models.datasets.catalogue import has_truth
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
    """Check, or score and write; where the ground truth is hidden, make ready for submission instead."""
    world = World(BopDataset(args.dataset), args.split, args.models)
    if args.check:
        check(world, args.estimates)
        return
    if not args.out or len(args.out) not in (1, len(args.estimates)):
        raise InputError(f"--out: name one file for all, or one for each of the {len(args.estimates)} result files")
    if args.workers < 1:
        raise InputError(f"--workers {args.workers}: must be 1 or more")
    is_hidden = not has_truth(world.dataset.root, world.facts.split)
    if is_hidden:
        results = submissions(world, args)
    elif args.evaluator == "bop_toolkit":
        from pose_models.evaluation.toolkit import score_files as toolkit_scores

        scores = toolkit_scores(world, args.protocol, args.estimates)
        names = [{"protocol": args.protocol, "estimates": str(path)} for path in args.estimates]
        results = [{**name, **own} for name, own in zip(names, scores, strict=True)]
    else:
        run = Run(args.workers, program.progress, analysis=not args.no_analysis, strict=args.strict)
        results = score_files(world, args.protocol, args.estimates, run)
    provenance = program.provenance()
    write(args.out, [{**scores, "provenance": provenance} for scores in results])
    if is_hidden:
        from pose_models.evaluation.submission import sentence

        print(*(line for scores in results for line in (*scores["warnings"], sentence(scores))), sep="\n")
    elif args.evaluator == "builtin":
        from pose_models.evaluation.table import tables

        print(tables(results))
    print(f"wrote {', '.join(map(str, args.out))}")


def submissions(world: World, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Where the publisher keeps the ground truth of the test images: what can be submitted, instead of scores."""
    from pose_models.evaluation.submission import submit

    outs = args.out if len(args.out) == len(args.estimates) else args.out * len(args.estimates)
    return [submit(world, args.protocol, path, out.parent) for path, out in zip(args.estimates, outs, strict=True)]


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
