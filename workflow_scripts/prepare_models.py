"""Turn CAD files into the models folder of a BOP dataset: obj_000001.ply ... in mm, and models_info.json."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program
from pose_models.files import InputError, atomic_path, write_json
from pose_models.meshes.bounds import model_info
from pose_models.meshes.cad import MM_PER_UNIT, as_model
from pose_models.meshes.mesh import load_mesh, save_ply


def main(arguments: argparse.Namespace) -> None:
    """Read, weld, turn outwards, measure; the folder appears whole or not at all."""
    ids = arguments.ids or list(range(1, len(arguments.cad) + 1))
    if len(ids) != len(arguments.cad) or len(set(ids)) != len(ids) or min(ids) < 1:
        raise InputError(f"--ids {ids}: give {len(arguments.cad)} different numbers from 1, one per CAD file")
    if arguments.out.exists() and not arguments.overwrite:
        raise InputError(f"{arguments.out}: is there already; give another folder, or --overwrite")
    info = {}
    with atomic_path(arguments.out) as folder:
        folder.mkdir()
        for obj_id, path in zip(ids, arguments.cad, strict=True):
            read = load_mesh(path, MM_PER_UNIT[arguments.unit], texture=True)
            model, orientation = as_model(read, arguments.center)
            save_ply(folder / f"obj_{obj_id:06d}.ply", model)
            info[str(obj_id)] = model_info(model.vertices)
            print(f"{path}: object {obj_id}, diameter {info[str(obj_id)]['diameter']:.2f} mm, {len(model.faces)} faces")
            if orientation.turned:
                print(f"{path}: {orientation}")
            if read.texture is not None:
                print(f"{path}: its texture is left out; to keep it, put a PLY with its texture into {arguments.out}")
        write_json(folder / "models_info.json", info)
    print(f"wrote {arguments.out}: {len(ids)} models without symmetries (propose_symmetries.py, accept_symmetries.py)")


if __name__ == "__main__":
    parser = program.parser(__doc__)
    parser.add_argument("--cad", nargs="+", required=True, type=Path, help="PLY, OBJ, STL, ... files, one per object")
    parser.add_argument("--unit", choices=list(MM_PER_UNIT), default="mm", help="unit of their vertices")
    parser.add_argument("--ids", nargs="+", type=int, help="object ids; default: 1, 2, ... in the order of the files")
    parser.add_argument("--center", action="store_true", help="move each origin to the middle of the box")
    parser.add_argument("--overwrite", action="store_true", help="replace a folder that is there")
    parser.add_argument("--out", required=True, type=Path, help="models folder, such as data/mine/models")
    program.run(main, parser)
