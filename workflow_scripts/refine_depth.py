"""Refine estimates of any method against the depth images: point-to-plane ICP on the visible side."""

import argparse
from pathlib import Path

from pose_models import program
from pose_models.datasets.bop import BopDataset
from pose_models.datasets.estimates import read_estimates, write_estimates
from pose_models.files import write_json
from pose_models.refinement.config import DepthRefinementSettings
from pose_models.settings import resolve


def main(arguments: argparse.Namespace) -> None:
    """Refine the estimates of every image, write those that depth confirms and the others as they were."""
    from pose_models.refinement.stage import refine_estimates, refiner_of

    settings = resolve(DepthRefinementSettings, arguments.set)
    dataset = BopDataset(arguments.dataset)
    estimates = read_estimates(arguments.estimates)
    refiner = refiner_of(dataset, settings, arguments.models)
    refined = refine_estimates(dataset, arguments.split, estimates, refiner, arguments.out)
    write_json(arguments.out.parent / "settings.json", settings.model_dump(mode="json"))
    write_estimates(arguments.out, refined.estimates)
    right, down = refined.offset_px.tolist()
    print(f"depth lies {right:.2f} px right of and {down:.2f} px below colour")
    print(f"{int(refined.accepted.sum())} of {len(estimates)} estimates refined, the others are as they were")
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    parser = program.parser(
        "Refine estimates of any method against depth images; a killed run continues with the same command."
    )
    parser.add_argument("--dataset", type=Path, required=True, help="BOP dataset folder")
    parser.add_argument("--split", default="test", help="split folder of the dataset")
    parser.add_argument("--models", help="models folder of the dataset; none: the one of its kind")
    parser.add_argument("--estimates", type=Path, required=True, help="estimates of a method, BOP csv")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings, such as icp.levels=3")
    parser.add_argument("--out", type=Path, required=True, help="estimates, BOP csv; settings.json goes beside it")
    program.run(main, parser)
