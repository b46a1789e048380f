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
    program.training_options(options)
    program.run(main, options)
