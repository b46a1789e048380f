"""Refine estimates of any method by CosyPose's render-and-compare; a killed run continues with the same command."""

import argparse
from pathlib import Path

from pose_models import program
from pose_models.datasets.bop import BopDataset
from pose_models.datasets.estimates import read_estimates, write_estimates
from pose_models.files import write_json
from pose_models.methods.cosypose.config import RefineSettings
from pose_models.settings import resolve


def main(arguments: argparse.Namespace) -> None:
    """Resolve the settings, lease a device, refine the estimates of every image."""
    settings = resolve(RefineSettings, arguments.set)
    from pose_models.methods.cosypose.refine import refine
    from pose_models.training.devices import device_name, lease_device

    device = lease_device(arguments.device)
    estimates, dataset = read_estimates(arguments.estimates), BopDataset(arguments.dataset)
    refined = refine(settings, arguments.checkpoint, dataset, arguments.split, estimates, arguments.out, device)
    write_json(arguments.out.with_name("settings.json"), settings.model_dump(mode="json"))
    write_json(arguments.out.with_name("inference.json"), {"device": device_name(device), **program.provenance()})
    write_estimates(arguments.out, refined)
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    parser = program.parser(__doc__)
    parser.add_argument("--dataset", type=Path, required=True, help="BOP dataset folder")
    parser.add_argument("--split", default="test", help="split folder of the dataset")
    parser.add_argument("--estimates", type=Path, required=True, help="estimates of a method, BOP csv")
    parser.add_argument("--checkpoint", type=Path, required=True, help="model.ckpt of CosyPose with a refiner")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings, such as passes=2")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--out", type=Path, required=True, help="estimates, BOP csv; settings.json goes beside it")
    program.run(main, parser)
