"""Path-trace one synthetic scene folder in BOP layout with Blender, by the recipe of the BOP Challenge."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program
from pose_models.files import InputError, atomic_path, remove
from pose_models.settings import parse_overrides, settings_help, validate
from pose_models.synthesis.blender import draw_plan, load_meshes, read_sensor, run_blender
from pose_models.synthesis.blender_config import BLENDER_PRESETS, BlenderSettings
from pose_models.synthesis.blender_shard import write_shard


def main(arguments: argparse.Namespace) -> None:
    """Plan, render into a folder beside the final one, annotate, rename."""
    out = Path(arguments.out)
    number = re.search(r"(\d+)$", out.name)
    if number is None:
        raise InputError(f"--out {out}: the folder's name must end in the shard's number, such as shard_0001")
    if arguments.images < 1:
        raise InputError(f"--images {arguments.images}: at least one image is needed")
    values = BLENDER_PRESETS[arguments.look] | parse_overrides(arguments.set)
    settings = validate(BlenderSettings, values, "--set")
    sensor = read_sensor(arguments.camera, settings)
    models = load_meshes(arguments.models)
    with atomic_path(out) as folder:
        raw = folder / "raw"
        raw.mkdir(parents=True)
        drawn = (arguments.seed, int(number[1]), arguments.images, arguments.textures)
        plan = draw_plan(raw, models, sensor, settings, *drawn)
        start = time.monotonic()
        run_blender(raw, plan, arguments.device, arguments.threads)
        seconds = time.monotonic() - start
        agreement = write_shard(folder, raw, plan, sensor, settings.depth_scale)
        remove(raw)
    print(agreement)
    print(f"wrote {out}: {arguments.images} images, {seconds / arguments.images:.1f} s each, start of Blender included")


if __name__ == "__main__":
    parser = program.parser(__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "settings (defaults of the look `bop`):\n" + settings_help(BlenderSettings)
    parser.add_argument("--models", required=True, help="folder of obj_*.ply, mm")
    parser.add_argument("--camera", required=True, help="camera.json of the dataset")
    parser.add_argument("--look", choices=sorted(BLENDER_PRESETS), default="bop", help="published set of settings")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="change a setting of the look")
    parser.add_argument("--seed", type=int, default=0, help="the dataset's seed; the shard's number adds to it")
    parser.add_argument("--images", type=int, default=25, help="number of images")
    parser.add_argument("--textures", help="folder of CC textures (ambientCG, 2K JPG); default: procedural ones")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where Cycles renders")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="CPU cores")
    parser.add_argument("--out", required=True, help="scene folder; its name ends in the shard's number")
    program.run(main, parser)
