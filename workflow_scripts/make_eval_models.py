"""Make evaluation models as BOP's were made: marching cubes on a fine grid, then decimation (uses pymeshlab)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program
from pose_models.files import InputError, atomic_path, read_json, write_json
from pose_models.meshes.bounds import diameter
from pose_models.meshes.mesh import Mesh, load_mesh, save_ply
from pose_models.meshes.orientation import outward

LEAST_FACES = 500


def resampled(mesh: Mesh, cell: float, share: float) -> Mesh:
    """An evenly meshed copy: one surface where the mesh has several, closed where it was closed (bop.md section 2.2).

    Args:
        cell: side of the grid's cells, as a share of the box's diagonal.
        share: of the faces of that surface that decimation keeps.
    """
    import pymeshlab

    meshes = pymeshlab.MeshSet()
    meshes.add_mesh(pymeshlab.Mesh(mesh.vertices, mesh.faces.astype(np.int32)))
    meshes.generate_resampled_uniform_mesh(
        cellsize=pymeshlab.PercentageValue(100 * cell), offset=pymeshlab.PercentageValue(50), mergeclosevert=True
    )
    faces = max(round(share * meshes.current_mesh().face_number()), LEAST_FACES)
    meshes.meshing_decimation_quadric_edge_collapse(targetfacenum=faces, preservenormal=True)
    result = meshes.current_mesh()
    return Mesh(result.vertex_matrix().astype(np.float64), result.face_matrix().astype(np.int64))


def main(arguments: argparse.Namespace) -> None:
    """Resample every model of a folder; models_info.json is the originals'."""
    if not 0.0005 <= arguments.cell <= 0.05 or not 0 < arguments.keep <= 1:
        raise InputError("--cell must be between 0.0005 and 0.05 of the diagonal, --keep between 0 and 1")
    paths = sorted(arguments.models.glob("obj_*.ply"))
    if not paths:
        raise InputError(f"{arguments.models}: no obj_*.ply; give the folder of a dataset's models")
    if arguments.out.exists() and not arguments.overwrite:
        raise InputError(
            f"{arguments.out}: is there already, perhaps as published; give another folder, or --overwrite"
        )
    info = read_json(arguments.models / "models_info.json")
    with atomic_path(arguments.out) as folder:
        folder.mkdir()
        for path in program.progress(paths, "evaluation models"):
            mesh = outward(load_mesh(path))[0]
            even = resampled(mesh, arguments.cell, arguments.keep)
            before, after = diameter(mesh.vertices), diameter(even.vertices)
            if abs(after - before) > 4 * arguments.cell * before:
                raise InputError(
                    f"{path}: {after:.2f} mm large after resampling, {before:.2f} mm before; close its holes"
                )
            save_ply(folder / path.name, even)
            print(f"{path.name}: {len(mesh.faces)} faces became {len(even.faces)}")
        write_json(folder / "models_info.json", info)
    print(f"wrote {arguments.out}: {len(paths)} models; compare with published scores on published models only")


if __name__ == "__main__":
    parser = program.parser(__doc__)
    parser.add_argument("--models", required=True, type=Path, help="folder of obj_*.ply and models_info.json")
    parser.add_argument("--cell", type=float, default=0.0025, help="grid cell, share of the diagonal; 0.005 is quicker")
    parser.add_argument("--keep", type=float, default=0.025, help="share of the faces that decimation keeps")
    parser.add_argument("--overwrite", action="store_true", help="replace a folder that is there")
    parser.add_argument("--out", required=True, type=Path, help="such as data/mine/models_eval")
    program.run(main, parser)
