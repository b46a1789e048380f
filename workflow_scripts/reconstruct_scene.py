"""Reconstruct a custom scenario: candidate poses in several views to one scene of objects and cameras."""

import argparse
from pathlib import Path

from pose_models import program
from pose_models.files import InputError, write_text
from pose_models.multiview.config import MultiviewSettings
from pose_models.settings import resolve


def main(arguments: argparse.Namespace) -> None:
    """Read the folder, solve, write results/subscene=K/ and a page."""
    from pose_models.multiview.scenario import read_scenario, solve, write_scene
    from pose_models.report.scene_page import scene_meshes, scene_page
    from pose_models.report.turntable import write_turntable

    settings = resolve(MultiviewSettings, ["adjust.iterations=10", *arguments.set])
    scenario = read_scenario(arguments.folder, settings)
    if arguments.turntable < 0:
        raise InputError(f"--turntable {arguments.turntable}: a turn takes more than 0 seconds")
    if len(scenario.views) < 2:
        raise InputError(f"{arguments.folder / 'scene_camera.json'}: has one view; matching needs two or more")
    scenes = solve(scenario, settings)
    out = arguments.out or arguments.folder / "results"
    for number, scene in enumerate(scenes):
        write_scene(out / f"subscene={number}", scene, scenario.scene_id, settings.nms_mm)
        kept = scene.without_duplicates(settings.nms_mm)
        loss = scene.adjusted.losses
        print(
            f"scene {number}: {len(kept.obj_id)} objects in views {', '.join(map(str, scene.view_id))}; "
            f"mean squared residual {loss[0]:.2f} px^2 before adjustment, {loss[-1]:.2f} after"
        )
        if arguments.turntable:
            picture = out / f"subscene={number}" / "turntable.gif"
            write_turntable(picture, kept, scene_meshes(scenario), arguments.turntable)
    if not scenes:
        print("no two views agree on enough objects: nothing is reconstructed (match.min_inliers, match.threshold_mm)")
    write_text(out / "scene.html", scene_page(scenario, scenes, settings.nms_mm))
    print(f"wrote {out}: look at {out / 'scene.html'}")


if __name__ == "__main__":
    parser = program.parser("Reconstruct objects and cameras from pose candidates of several views (a folder).")
    parser.add_argument("folder", type=Path, help="folder with models/, candidates.csv and scene_camera.json")
    parser.add_argument(
        "--set",
        nargs="*",
        default=[],
        metavar="KEY=VALUE",
        help="settings, such as match.min_score=0.3 known_cameras=1",
    )
    parser.add_argument(
        "--turntable",
        type=float,
        default=0,
        metavar="SECONDS",
        help="write subscene=K/turntable.gif as well, a turn about the scene of so many seconds; the reference's: 10",
    )
    parser.add_argument("--out", type=Path, help="folder of the results; FOLDER/results without it")
    program.run(main, parser)
