"""Annotations of a large synthetic dataset: first reading, reopening, memory of many readers, one instance at random.

python benchmarks/dataset.py     # 50 scenes of 1000 images of 20 instances: 0.6 GB in a temporary folder

The first reading is compared with the standard library's `json` per scene, its Python objects kept in a list (what
most readers do). CPU seconds are those of all processes together.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models.datasets.bop import BopDataset, prepare_scenes
from pose_models.datasets.index import INSTANCES
from pose_models.datasets.instances import InstanceList

SPLIT = "train_pbr"
NAMES = ("camera", "gt", "gt_info")


def make_scene(folder: Path, number: int, images: int, instances: int) -> None:
    """Annotations of one scene, with numbers as long as BlenderProc writes them."""
    rng = np.random.default_rng(number)
    R = rng.standard_normal((images, instances, 9))
    t = rng.standard_normal((images, instances, 3)) * 300
    ids = rng.integers(1, 31, (images, instances))
    counts, boxes = rng.integers(0, 40_000, (images, instances, 3)), rng.integers(-1, 720, (images, instances, 8))
    fractions = rng.random((images, instances))
    gt = {
        str(i): [
            {"cam_R_m2c": R[i, n].tolist(), "cam_t_m2c": t[i, n].tolist(), "obj_id": int(ids[i, n])}
            for n in range(instances)
        ]
        for i in range(images)
    }
    info = {
        str(i): [
            {"bbox_obj": boxes[i, n, :4].tolist(), "bbox_visib": boxes[i, n, 4:].tolist()}
            | dict(zip(("px_count_all", "px_count_valid", "px_count_visib"), counts[i, n].tolist(), strict=True))
            | {"visib_fract": float(fractions[i, n])}
            for n in range(instances)
        ]
        for i in range(images)
    }
    camera = {
        str(i): {"cam_K": [1075.65, 0.0, 360.5, 0.0, 1073.9, 270.25, 0.0, 0.0, 1.0], "depth_scale": 0.1}
        | {"cam_R_w2c": R[i, 0].tolist(), "cam_t_w2c": t[i, 0].tolist()}
        for i in range(images)
    }
    path = folder / SPLIT / f"{number:06d}"
    path.mkdir(parents=True)
    for name, content in zip(NAMES, (camera, gt, info), strict=True):
        (path / f"scene_{name}.json").write_text(json.dumps(content))


def plain_json(root: Path) -> list[Any]:
    """The way of most readers."""
    return [
        [json.loads((scene / f"scene_{name}.json").read_text()) for name in NAMES]
        for scene in sorted((root / SPLIT).iterdir())
    ]


def open_all(root: Path, build: bool) -> InstanceList:
    """All instances of the split, as a training run opens them."""
    dataset = BopDataset(root)
    scenes = [dataset.scene(SPLIT, number) for number in dataset.scene_ids(SPLIT)]
    if build:
        prepare_scenes(scenes)
    return InstanceList(scenes, lambda rows: rows.visib_fract >= 0.1, [0.5] * len(scenes))


def timed(function: Callable[..., Any], *args: Any) -> tuple[float, float, Any]:
    """Wall seconds, CPU seconds of this process and its children, result."""
    start, before = time.perf_counter(), _cpu()
    result = function(*args)
    return time.perf_counter() - start, _cpu() - before, result


def _cpu() -> float:
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(sum(resource.getrusage(kind)[:2]) for kind in kinds)


def in_a_new_process(root: Path, what: str) -> tuple[float, float]:
    """Wall and CPU seconds of one measurement in a process of its own, so that neither finds the other's memory."""
    command = [sys.executable, __file__, "--measure", what, "--root", str(root)]
    wall, cpu = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(wall), float(cpu)


def memory_mb(process: int) -> tuple[float, float]:
    """Resident and proportional (shared pages divided by their users) memory of a process."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    values = {line.split()[0]: int(line.split()[1]) / 1000 for line in lines[1:]}
    return values["Rss:"], values["Pss:"]


def reader(instances: InstanceList, seed: int, reads: int, reports: Any, go_on: Any) -> None:
    """A loader worker that reads instances at random and then waits to be measured."""
    order = np.random.default_rng(seed).integers(0, len(instances), reads).tolist()
    start = time.process_time()
    for number in order:
        instances[number]
    reports.put(1e6 * (time.process_time() - start) / reads)
    go_on.wait()


def readers(instances: InstanceList, count: int, reads: int) -> tuple[list[float], float, float]:
    """Microseconds per instance of each reader; resident and proportional MB of all of them and the parent."""
    context = multiprocessing.get_context("fork")
    reports, go_on = context.Queue(), context.Event()
    processes = [context.Process(target=reader, args=(instances, n, reads, reports, go_on)) for n in range(count)]
    for process in processes:
        process.start()
    microseconds = [reports.get() for _ in processes]
    sizes = [memory_mb(process.pid or 0) for process in processes] + [memory_mb(os.getpid())]
    go_on.set()
    for process in processes:
        process.join()
    return microseconds, sum(rss for rss, _ in sizes), sum(pss for _, pss in sizes)


def main() -> None:
    """Make the data, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=50)
    parser.add_argument("--images", type=int, default=1000, help="per scene")
    parser.add_argument("--instances", type=int, default=20, help="per image")
    parser.add_argument("--readers", type=int, default=8)
    parser.add_argument("--reads", type=int, default=50_000, help="per reader")
    parser.add_argument("--measure", choices=("json", "build", "reopen"), help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        function = {"json": lambda: plain_json(arguments.root), "build": lambda: open_all(arguments.root, True)}
        wall, cpu, _ = timed(function.get(arguments.measure, lambda: open_all(arguments.root, False)))
        print(wall, cpu)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        os.environ["BOPFLOW_CACHE"] = str(root / "cache")
        jobs = [(root, number, arguments.images, arguments.instances) for number in range(arguments.scenes)]
        with ProcessPoolExecutor() as pool:
            list(pool.map(make_scene, *zip(*jobs, strict=True)))
        size = sum(path.stat().st_size for path in root.rglob("*.json")) / 1e6
        print(f"{arguments.scenes} scenes x {arguments.images} images x {arguments.instances} instances, "
              f"{size:.0f} MB of JSON, {len(os.sched_getaffinity(0))} cores")  # fmt: skip
        plain, build = in_a_new_process(root, "json"), in_a_new_process(root, "build")
        reopen = in_a_new_process(root, "reopen")
        kept = sum(path.stat().st_size for path in (root / "cache").rglob("*.arrays")) / 1e6
        print(f"{'':34}{'wall s':>8}{'CPU s':>8}")
        print(f"{'json into a list':34}{plain[0]:8.2f}{plain[1]:8.2f}")
        print(f"{'first reading':34}{build[0]:8.2f}{build[1]:8.2f}   {plain[0] / build[0]:.1f} times faster, "
              f"{plain[1] / build[1]:.1f} times less CPU; keeps {kept:.0f} MB")  # fmt: skip
        print(f"{'reopening':34}{reopen[0]:8.2f}{reopen[1]:8.2f}")
        instances = open_all(root, False)
        microseconds, rss, pss = readers(instances, arguments.readers, arguments.reads)
        print(
            f"one of {len(instances)} instances at random: {max(microseconds):.1f} us (slowest of {arguments.readers})"
        )
        print(f"memory of {arguments.readers} readers and their parent: {pss:.0f} MB (sum of resident sizes, which "
              f"counts shared pages {arguments.readers + 1} times: {rss:.0f} MB)")  # fmt: skip
        truth = BopDataset(root).scene(SPLIT, 0).table(INSTANCES)
        assert len(truth.columns["obj_id"]) == arguments.images * arguments.instances


if __name__ == "__main__":
    main()
