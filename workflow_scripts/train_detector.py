"""Train the Mask R-CNN detector on BOP scene folders; a killed training continues with the same command."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program
from pose_models.detections.maskrcnn_config import MaskRcnnSettings
from pose_models.settings import resolve


def main(arguments: argparse.Namespace) -> None:
    """Resolve the settings, lease a device, train."""
    settings = resolve(MaskRcnnSettings, arguments.set)
    from pose_models.datasets.bop import models_in
    from pose_models.detections.maskrcnn_train import train
    from pose_models.training.devices import lease_device

    processes = max(1, arguments.processes)
    device = lease_device(arguments.device, processes if arguments.device != "cpu" else 1)
    object_ids = arguments.objects or models_in(arguments.models)
    train(settings, object_ids, arguments.scenes, arguments.out, device, arguments.workers, processes, arguments.start)
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    options = program.parser(__doc__)
    options.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings, such as train.steps=1000")
    options.add_argument("--models", type=Path, required=True, help="folder of obj_XXXXXX.ply: what is detected")
    options.add_argument("--objects", type=int, nargs="*", help="object ids; all models of the folder without it")
    options.add_argument("--scenes", type=Path, nargs="+", required=True, help="BOP scene folders with masks")
    options.add_argument("--start", type=Path, help="checkpoint of a detector of the same objects to start from")
    options.add_argument("--out", type=Path, required=True, help="checkpoint; logs go to train/ beside it")
    options.add_argument("--device", default="auto", help="auto, cpu or cuda")
    options.add_argument(
        "--processes",
        type=int,
        default=1,
        help="processes that share each batch; each has a GPU or a part of the cores",
    )
    options.add_argument("--workers", type=int, default=1, help="data loading processes; no influence on the result")
    program.run(main, options)
