"""Estimate poses with a trained method."""

import argparse
from pathlib import Path

from pose_models import program
from pose_models.files import write_json
from pose_models.methods.registry import FAMILIES, family
from pose_models.settings import resolve


def main(arguments: argparse.Namespace) -> None:
    """Resolve the settings, lease a device, infer."""
    chosen = family(arguments.family)
    settings = resolve(chosen.settings_model(), arguments.set)
    from pose_models.training.devices import device_name, lease_device

    device = lease_device(arguments.device)
    infer = chosen.entry("infer")
    infer(
        settings,
        arguments.checkpoint,
        arguments.dataset,
        arguments.split,
        arguments.detections,
        arguments.surface,
        arguments.out,
        device,
    )
    write_json(arguments.out.with_name("inference.json"), {"device": device_name(device), **program.provenance()})
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    parser = program.parser("Estimate the poses of detected objects; a killed run continues with the same command.")
    parser.add_argument("--family", required=True, help=f"method: {', '.join(FAMILIES)}")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings, such as infer.refine_steps=0"
    )
    parser.add_argument("--checkpoint", type=Path, required=True, help="model.ckpt of train.py")
    parser.add_argument("--dataset", type=Path, required=True, help="BOP dataset folder")
    parser.add_argument("--split", default="test", help="split folder of the dataset")
    parser.add_argument("--detections", type=Path, required=True, help="BOP COCO json")
    parser.add_argument("--surface", type=Path, required=True, help="folder of surface samples, obj_XXXXXX.npz")
    parser.add_argument(
        "--out", type=Path, required=True, help="estimates, BOP csv; inspect.npz and inference.json go beside it"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    program.run(main, parser)
