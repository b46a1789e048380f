#!/usr/bin/env python3
"""CPU seconds of the BOP evaluation on the performance set, by stage, beside those of the reference implementation.

Reference (golden set's README): about 135 CPU s for BOP'19 on this set, 30 of them for the errors alone. Stages run in
this process after a warm-up and are medians over repeats; whole programs are new processes, start-up included.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pose_models import program
from pose_models.datasets.bop import BopDataset
from pose_models.datasets.estimates import read_estimates
from pose_models.evaluation import analysis, bop24
from pose_models.evaluation.localisation import bop19_errors, options_of, recalled, target_jobs
from pose_models.evaluation.pairs import ErrorOptions, compute_errors
from pose_models.evaluation.scores import localisation_scores
from pose_models.evaluation.table import table
from pose_models.evaluation.world import World

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = {"bop19": 135.0, "errors": 30.0, "vsd": 21.5, "mssd": 2.3, "mspd": 6.5, "synbop": 113.0}


def arguments() -> argparse.ArgumentParser:
    """Command line."""
    parser = program.parser(__doc__ or "")
    parser.add_argument("--golden", type=Path, default=ROOT / "tests/golden/bop", help="folder of perf_set.zip")
    parser.add_argument("--repeats", type=int, default=3, help="runs per figure")
    parser.add_argument("--scenes-times", type=int, default=10, help="size of the larger set, in performance sets")
    return parser


def cpu(function: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Median CPU seconds of this process, and the last result."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        result = function()
        times.append(time.process_time() - start)
    return statistics.median(times), result


def run_program(*options: str) -> tuple[float, float]:
    """CPU seconds (children included) and wall seconds of one call of evaluate.py."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, str(ROOT / "workflow_scripts/evaluate.py"), *options]
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, time.perf_counter() - start


def stages(dataset: Path, result: Path, repeats: int) -> list[list[str]]:
    """Rows of the table of stages."""
    errors = bop19_errors()

    def load() -> tuple[World, Any, Any]:
        world, estimates = World(BopDataset(dataset)), read_estimates(result)
        jobs = target_jobs(world, [estimates])
        for job in jobs:
            world.truth(job.key)
        return world, estimates, jobs

    load_s, (world, estimates, jobs) = cpu(load, repeats)

    def compute(options: ErrorOptions) -> Any:
        return [block for image in compute_errors(world, [estimates], jobs, options) for block in image]

    compute(options_of(errors))  # warm-up
    errors_s, blocks = cpu(lambda: compute(options_of(errors)), repeats)
    single = {
        name: cpu(lambda n=name: compute(ErrorOptions(frozenset({n}))), repeats)[0] for name in ("vsd", "mssd", "mspd")
    }
    match_s, found = cpu(lambda: recalled(world, blocks, errors), repeats)
    scores_s, _ = cpu(lambda: localisation_scores(world, found, errors), repeats)
    intervals_s, _ = cpu(lambda: (analysis.intervals(found, errors), analysis.by_bins(found, errors)), repeats)

    def detection() -> None:
        options = ErrorOptions(frozenset({"mssd", "mspd"}))
        own = bop24.detection_jobs(world, [estimates])
        found_blocks = [b for image in compute_errors(world, [estimates], own, options) for b in image]
        for tally in bop24.tallies(world, estimates, found_blocks, strict=False).values():
            tally.precisions()

    detection_s, _ = cpu(detection, repeats)
    pairs = sum(block.errors["mssd"].size for block in blocks)
    rows = [
        ["read annotations, models, estimates", load_s, None],
        ["errors of all pairs", errors_s, REFERENCE["errors"]],
    ]
    rows += [[f"  {name} alone", seconds, REFERENCE[name]] for name, seconds in single.items()]
    rows += [["matching, 120 settings", match_s, None], ["scores and curves", scores_s, None]]
    rows += [["intervals and bins", intervals_s, None], ["bop24, all of it", detection_s, None]]
    print(f"{pairs} pairs, {pairs / errors_s:.0f} pairs per CPU second")
    return [row(*entry) for entry in rows]


def row(name: str, seconds: float, reference: float | None) -> list[str]:
    """One line: ours, the reference, the ratio."""
    return [
        name,
        f"{seconds:.3f}",
        f"{reference:g}" if reference else "-",
        f"{reference / seconds:.0f}" if reference else "-",
    ]


def enlarge(dataset: Path, result: Path, times: int, folder: Path) -> tuple[Path, Path]:
    """A dataset of `times` copies of the scenes (links), targets and estimates with it."""
    import json

    big = folder / dataset.name
    (big / "test").mkdir(parents=True)
    (big / "models_eval").symlink_to(dataset / "models_eval")
    (big / "camera.json").symlink_to(dataset / "camera.json")
    scenes = sorted((dataset / "test").iterdir())
    step = 1 + max(int(scene.name) for scene in scenes)
    targets = json.loads((dataset / "test_targets_bop19.json").read_text())
    lines = result.read_text().splitlines()
    out_targets, out_lines = [], [lines[0]]
    for copy in range(times):
        for scene in scenes:
            (big / "test" / f"{int(scene.name) + copy * step:06d}").symlink_to(scene)
        out_targets += [{**target, "scene_id": target["scene_id"] + copy * step} for target in targets]
        for line in lines[1:]:
            scene_id, rest = line.split(",", 1)
            out_lines.append(f"{int(scene_id) + copy * step},{rest}")
    (big / "test_targets_bop19.json").write_text(json.dumps(out_targets))
    (folder / result.name).write_text("\n".join(out_lines) + "\n")
    return big, folder / result.name


def main(args: argparse.Namespace) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for archive in ("perf_set", "synbop"):
            with zipfile.ZipFile(args.golden / f"{archive}.zip") as content:
                content.extractall(folder / archive)
        perf, result = folder / "perf_set/synperf", folder / "perf_set/results/perf_synperf-test.csv"
        print(
            f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        )
        head = ["stage, CPU seconds", "ours", "reference", "ratio"]
        print(table(head, stages(perf, result, args.repeats)))
        programs(folder, perf, result, args)


def programs(folder: Path, perf: Path, result: Path, args: argparse.Namespace) -> None:
    """Whole programs, start-up included; two workers; a larger set."""
    out = ["--out", str(folder / "scores.json")]
    base = ["--dataset", str(perf), "--estimates", str(result), *out]
    small = ["--dataset", str(folder / "synbop/synbop"), *out]
    small += ["--estimates", str(folder / "synbop/results/good_synbop-test.csv")]
    big, big_result = enlarge(perf, result, args.scenes_times, folder / "big")
    large = ["--dataset", str(big), "--estimates", str(big_result), "--no-analysis", *out]
    run_program(*base)  # warm-up
    calls = {
        "bop19, scores alone": ([*base, "--no-analysis"], REFERENCE["bop19"]),
        "bop19 with intervals, bins, perfect ranking": (base, REFERENCE["bop19"]),
        "bop24": ([*base, "--protocol", "bop24"], None),
        "bop19, 10-image set": (small, REFERENCE["synbop"]),
    }
    rows = []
    for name, (options, reference) in calls.items():
        used = statistics.median(run_program(*options)[0] for _ in range(args.repeats))
        rows.append(row(name, used, reference))
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(table(["program, CPU seconds with start-up", "ours", "reference", "ratio"], rows))
    print(f"largest program: {memory:.0f} MB")
    one, two = run_program(*large), run_program(*large, "--workers", "2")
    alone = run_program(*base, "--no-analysis")
    print(f"{args.scenes_times} times the images: {one[0]:.2f} CPU s, {one[0] / alone[0]:.1f} times those of one set")
    print(f"two workers there: wall {one[1]:.2f} s to {two[1]:.2f} s, ratio {one[1] / two[1]:.2f}")


if __name__ == "__main__":
    program.run(main, arguments())
