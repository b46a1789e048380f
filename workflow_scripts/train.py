"""Train a method on BOP scene folders."""

import argparse
from pathlib import Path

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
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings, such as train.steps=1000")
    parser.add_argument("--models", type=Path, required=True, help="folder of obj_XXXXXX.ply, mm")
    parser.add_argument("--objects", type=int, nargs="*", help="object ids; all models of the folder without it")
    parser.add_argument("--scenes", type=Path, nargs="+", required=True, help="BOP scene folders")
    parser.add_argument("--start", type=Path, help="checkpoint of the method whose weights to start from")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint; logs go to train/ beside it")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        help="processes that share each batch; each has a GPU, or a part of the cores",
    )
    parser.add_argument("--workers", type=int, default=1, help="data loading processes; no influence on the result")
    program.run(main, parser)
