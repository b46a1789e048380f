#!/usr/bin/env python3
"""Score result files: BOP'19 recall, BOP'24 and COCO precision, classic recalls, AUC, silhouettes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

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
    parser.add_argument("--workers", type=int, default=1, help="processes; results do not depend on it")
    parser.add_argument("--out", type=Path, nargs="+", help="scores.json, one per result file or one for all")
    return parser


def main(args: argparse.Namespace) -> None:
    """Score and write."""
    if not args.out or len(args.out) not in (1, len(args.estimates)):
        raise InputError(f"--out: name one file for all, or one for each of the {len(args.estimates)} result files")
    world = World(BopDataset(args.dataset), args.split, args.models)
    run = Run(workers=args.workers, progress=program.progress)
    results = score_files(world, args.protocol, args.estimates, run)
    provenance = program.provenance()
    for scores in results:
        scores["provenance"] = provenance
    write(args.out, results)
    for scores in results:
        print(scores["estimates"], {k: v for k, v in scores.items() if isinstance(v, float)})
    print(f"wrote {', '.join(map(str, args.out))}")


def write(paths: list[Path], results: list[dict[str, Any]]) -> None:
    """One file per result, or all in one under `results`."""
    if len(paths) == len(results):
        for path, scores in zip(paths, results, strict=True):
            write_json(path, scores)
    else:
        write_json(paths[0], {"results": results})


if __name__ == "__main__":
    program.run(main, arguments())
