"""Turn a checkpoint of SurfEmb's authors into one of ours."""

import argparse
from pathlib import Path

from pose_models import program


def main(arguments: argparse.Namespace) -> None:
    """Read the models' bounding spheres and the released weights, write a checkpoint."""
    from pose_models.datasets.bop import models_in
    from pose_models.meshes.bounds import bounding_sphere
    from pose_models.meshes.mesh import load_mesh
    from pose_models.methods.surfemb.model import save_model, spheres_of
    from pose_models.methods.surfemb.released import read_released

    object_ids = models_in(arguments.models)
    meshes = (load_mesh(arguments.models / f"obj_{obj_id:06d}.ply") for obj_id in object_ids)
    bounds = [bounding_sphere(mesh.vertices) for mesh in meshes]
    spheres = spheres_of(object_ids, [center for center, _ in bounds], [radius for _, radius in bounds])
    save_model(arguments.out, read_released(arguments.checkpoint, spheres))
    print(f"wrote {arguments.out}: SurfEmb for objects {object_ids}")


if __name__ == "__main__":
    parser = program.parser("Turn a compact checkpoint of SurfEmb's release into one that infer.py reads.")
    parser.add_argument("--checkpoint", type=Path, required=True, help="such as tless-2rs64lwh.compact.ckpt")
    parser.add_argument("--models", type=Path, required=True, help="the models it was trained with: obj_XXXXXX.ply, mm")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint, such as results/tless/surfemb/model.ckpt")
    program.run(main, parser)
