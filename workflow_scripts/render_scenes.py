"""Ray-cast one synthetic scene folder in BOP layout: bins settled by physics, floating parts, or textured rooms."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program
from pose_models.files import InputError, atomic_path
from pose_models.settings import parse_overrides, validate
from pose_models.synthesis.config import PRESETS, SceneSettings
from pose_models.synthesis.scenes import Recipe
from pose_models.synthesis.shards import write_scene


def main(arguments: argparse.Namespace) -> None:
    """Render into a folder beside the final one, then rename it."""
    out = Path(arguments.out)
    number = re.search(r"(\d+)$", out.name)
    if number is None:
        raise InputError(f"--out {out}: the folder's name must end in the scene's number, such as 000001 or shard_0001")
    if arguments.images < 1:
        raise InputError(f"--images {arguments.images}: at least one image is needed")
    if arguments.workers < 1:
        raise InputError(f"--workers {arguments.workers}: at least one process is needed")
    values = PRESETS[arguments.look] | parse_overrides(arguments.set)
    models = Path(arguments.models)
    recipe = Recipe(
        models=models,
        collision=Path(arguments.collision or models.with_name("models_collision")),
        camera=Path(arguments.camera),
        settings=validate(SceneSettings, values, "--set"),
        seed=arguments.seed,
        scene_number=int(number[1]),
        textures=arguments.textures,
        backgrounds=arguments.backgrounds,
    )
    with atomic_path(out) as folder:
        write_scene(folder, recipe, arguments.images, arguments.workers)
    print(f"wrote {out}: {arguments.images} images")


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults of options, and the settings line by line."""


def settings_help() -> str:
    """One line per scene setting: name, default of the look `train`, meaning."""
    fields = SceneSettings.model_fields.items()
    lines = [f"  {name}={json.dumps(field.default)}: {field.description}" for name, field in fields]
    return "settings (defaults of the look `train`):\n" + "\n".join(lines)


if __name__ == "__main__":
    parser = program.parser(__doc__)
    parser.formatter_class = HelpFormatter
    parser.epilog = settings_help()
    parser.add_argument("--models", required=True, help="folder of obj_*.ply, mm")
    parser.add_argument("--collision", help="folder of convex pieces for physics; default: models_collision beside it")
    parser.add_argument("--camera", required=True, help="camera.json of the dataset: focal lengths")
    parser.add_argument("--look", choices=sorted(PRESETS), default="train", help="named set of defaults")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="change a setting of the look")
    parser.add_argument(
        "--seed", type=int, default=0, help="the dataset's seed; scene number and image number add to it"
    )
    parser.add_argument("--images", type=int, default=25, help="number of images")
    parser.add_argument("--workers", type=int, default=1, help="processes; they change the time, not the images")
    parser.add_argument("--textures", type=Path, help="folder of texture images; default: procedural ones")
    parser.add_argument("--backgrounds", type=Path, help="folder of photographs, such as VOC2012; default: procedural")
    parser.add_argument("--out", required=True, help="scene folder; its name ends in the scene's number")
    program.run(main, parser)
