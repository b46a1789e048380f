"""Train a method on BOP scene folders."""

import argparse

from pose_models import program
from pose_models.methods.registry import FAMILIES, family
from pose_models.settings import resolve


def main(arguments: argparse.Namespace) -> None:
    """Resolve the settings, lease a device, train."""
    chosen = family(arguments.family)
    settings = resolve(chosen.settings_model(), arguments.set)
    from pose_models.datasets.bop import models_in
    from pose_models.training.devices import lease_device

    processes = max(1, arguments.processes)  # 0: a cluster rule that asks for its GPUs by other means, or a CPU
    device = lease_device(arguments.device, processes if arguments.device != "cpu" else 1)
    object_ids = arguments.objects or models_in(arguments.models)
    train = chosen.entry("train")
    train(
        settings,
        arguments.models,
        object_ids,
        arguments.scenes,
        arguments.out,
        device,
        arguments.workers,
        processes,
        arguments.start,
    )
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    parser = program.parser("Train a method on BOP scene folders; a killed training continues with the same command.")
    parser.add_argument("--family", required=True, help=f"method: {', '.join(FAMILIES)}")
    program.training_options(parser)
    program.run(main, parser)
