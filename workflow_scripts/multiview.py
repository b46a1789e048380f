"""Make estimates of single images agree across views: object-level matching and bundle adjustment."""

import argparse
from pathlib import Path

from pose_models import program
from pose_models.datasets.bop import BopDataset
from pose_models.datasets.estimates import read_estimates, write_estimates
from pose_models.files import write_json
from pose_models.multiview.config import MultiviewSettings
from pose_models.settings import resolve


def main(arguments: argparse.Namespace) -> None:
    """Solve every group of views, write all objects in all views."""
    from pose_models.multiview.stage import group_count, solve_groups, to_estimates, with_scores_of

    settings = resolve(MultiviewSettings, arguments.set)
    dataset = BopDataset(arguments.dataset)
    single = with_scores_of(read_estimates(arguments.estimates), settings)
    count = group_count(dataset, arguments.split, single, settings)
    steps = program.progress(range(count), "groups of views")
    results = solve_groups(dataset, arguments.split, single, settings, steps)
    write_json(arguments.out.parent / "settings.json", settings.model_dump(mode="json"))
    write_estimates(arguments.out, to_estimates(results, single))
    objects = sum(len(scene.obj_id) for result in results for scene in result.scenes)
    views = sum(len(scene.view_id) for result in results for scene in result.scenes)
    total = sum(len(result.views) for result in results)
    print(f"{len(results)} groups of views: {objects} objects in {views} of {total} views hang together")
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    parser = program.parser("Match estimates of any method across views and adjust objects and cameras together.")
    parser.add_argument("--dataset", type=Path, required=True, help="BOP dataset folder")
    parser.add_argument("--split", default="test", help="split folder of the dataset")
    parser.add_argument("--estimates", type=Path, required=True, help="estimates of single images, BOP csv")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings, such as views=4")
    parser.add_argument("--out", type=Path, required=True, help="estimates, BOP csv; settings.json goes beside it")
    program.run(main, parser)
