"""Make the detections named `simulated`: ground-truth boxes, jittered and scored like a real detector's."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program
from pose_models.datasets.bop import BopDataset
from pose_models.detections.coco import write_detections
from pose_models.detections.config import SimulatedSettings
from pose_models.detections.simulated import simulate
from pose_models.files import InputError
from pose_models.settings import resolve


def main(arguments: argparse.Namespace) -> None:
    """Simulate, write, say how many."""
    if "simulated" not in arguments.out.name:
        raise InputError(f"--out {arguments.out}: the file name must contain 'simulated', so that nobody mistakes it")
    dataset = BopDataset(arguments.dataset)
    settings = resolve(SimulatedSettings, arguments.set)
    targets = dataset.targets(arguments.targets)
    detections = simulate(dataset, arguments.split, targets, settings, arguments.seed)
    if len(detections) == 0:
        raise InputError(f"{dataset.root}: no target object is visible enough to be detected; check scene_gt_info.json")
    write_detections(arguments.out, detections)
    instances = sum(target.inst_count for target in targets)
    print(f"{arguments.out}: {len(detections)} simulated detections for {instances} target instances")


if __name__ == "__main__":
    options = program.parser(__doc__)
    options.add_argument("--dataset", type=Path, required=True, help="BOP dataset folder with ground truth")
    options.add_argument("--split", default="test", help="split folder")
    options.add_argument("--targets", default="test_targets_bop19.json", help="targets file in the dataset folder")
    options.add_argument("--seed", type=int, default=0, help="seed of the disturbance")
    options.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings, such as box=visible")
    options.add_argument("--out", type=Path, required=True, help="detections file to write (name contains 'simulated')")
    program.run(main, options)
