"""Take a group of views and a method's estimates out of a dataset: a folder for reconstruct_scene.py."""

import argparse
from pathlib import Path

from pose_models import program
from pose_models.files import InputError


def main(arguments: argparse.Namespace) -> None:
    """Read estimates and detections, write the folder."""
    from pose_models.datasets.bop import BopDataset
    from pose_models.datasets.estimates import read_estimates
    from pose_models.detections.coco import read_detections
    from pose_models.multiview.export import export_scenario

    if arguments.out.exists():
        raise InputError(f"{arguments.out}: is there already; name another folder, or remove it")
    detections = None if arguments.detections is None else read_detections(arguments.detections)
    dataset, estimates = BopDataset(arguments.dataset), read_estimates(arguments.estimates)
    scene_id, im_ids = export_scenario(
        dataset, arguments.split, estimates, arguments.views, arguments.group, detections, arguments.out
    )
    print(f"wrote {arguments.out}: scene {scene_id}, images {', '.join(map(str, im_ids))}")


if __name__ == "__main__":
    parser = program.parser(__doc__ or "")
    parser.add_argument("--dataset", type=Path, required=True, help="BOP dataset folder")
    parser.add_argument("--split", default="test", help="split folder that was estimated")
    parser.add_argument("--estimates", type=Path, required=True, help="estimates of single images, BOP csv")
    parser.add_argument("--detections", type=Path, help="BOP COCO boxes to draw on the page")
    parser.add_argument("--views", type=int, default=4, help="views per group, as a run's `views`")
    parser.add_argument("--group", type=int, default=0, help="which group, from 0")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    program.run(main, parser)
