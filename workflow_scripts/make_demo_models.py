"""Make the demo dataset's object models: meshes, evaluation meshes, convex pieces for physics, facts, sensor."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program
from pose_models.files import write_json
from pose_models.meshes.bounds import model_info
from pose_models.meshes.mesh import save_ply
from pose_models.meshes.shapes import merged
from pose_models.synthesis.parts import demo_parts

CAMERA = {"cx": 319.5, "cy": 239.5, "depth_scale": 0.1, "fx": 620.0, "fy": 620.0, "height": 480, "width": 640}


def main(arguments: argparse.Namespace) -> None:
    """Write models/, models_eval/, models_collision/ and camera.json."""
    out = Path(arguments.out)
    info = {}
    for obj_id, part in demo_parts(arguments.seed).items():
        name = f"obj_{obj_id:06d}.ply"
        save_ply(out / "models" / name, part.mesh)
        save_ply(out / "models_eval" / name, part.eval_mesh)
        save_ply(out / "models_collision" / name, merged(part.convex_pieces))
        info[str(obj_id)] = model_info(part.mesh.vertices) | part.symmetries
    write_json(out / "camera.json", CAMERA)
    write_json(out / "models_eval" / "models_info.json", info)
    write_json(out / "models" / "models_info.json", info)
    print(f"wrote {out}/models, models_eval, models_collision: {len(info)} parts")


if __name__ == "__main__":
    parser = program.parser(__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the parts' proportions")
    parser.add_argument("--out", required=True, help="dataset folder, such as data/demo")
    program.run(main, parser)
