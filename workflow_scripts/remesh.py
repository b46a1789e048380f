"""Remesh an object's surface evenly and keep what can be seen from outside (pymeshlab is used here only)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program
from pose_models.files import InputError
from pose_models.meshes.mesh import Mesh, load_mesh, save_ply
from pose_models.meshes.orientation import outward
from pose_models.meshes.visibility import visible_surface


def subdivided(mesh: Mesh, longest_share: float, iterations: int) -> Mesh:
    """Repair non-manifold edges by removing faces, then split edges longer than a share of the box's diagonal."""
    import pymeshlab

    meshes = pymeshlab.MeshSet()
    meshes.add_mesh(pymeshlab.Mesh(mesh.vertices, mesh.faces.astype(np.int32)))
    meshes.meshing_merge_close_vertices(threshold=pymeshlab.PercentageValue(1e-4))
    meshes.meshing_remove_duplicate_faces()
    meshes.meshing_remove_null_faces()
    meshes.meshing_repair_non_manifold_edges(method="Remove Faces")
    threshold = pymeshlab.PercentageValue(100 * longest_share)
    meshes.meshing_surface_subdivision_midpoint(iterations=iterations, threshold=threshold)
    result = meshes.current_mesh()
    return Mesh(result.vertex_matrix().astype(np.float64), result.face_matrix().astype(np.int64))


def main(arguments: argparse.Namespace) -> None:
    """Load, turn what looks inwards, subdivide, filter, save."""
    mesh = load_mesh(arguments.mesh)
    mesh, orientation = outward(mesh)
    if orientation.turned:
        print(f"{arguments.mesh}: {orientation}")
    fine = subdivided(mesh, arguments.longest_edge, arguments.iterations)
    try:
        visible, share = visible_surface(fine)
    except InputError as error:
        raise InputError(f"{arguments.mesh}: {error}") from None
    save_ply(arguments.out, visible)
    faces = f"{len(mesh.faces)} faces, {len(fine.faces)} after subdivision, {len(visible.faces)} of them visible"
    print(f"wrote {arguments.out}: {faces}; visible area {share:.1%}")


if __name__ == "__main__":
    parser = program.parser(__doc__)
    parser.add_argument("--mesh", required=True, type=Path, help="object model, .ply or .obj, mm")
    parser.add_argument(
        "--longest-edge", type=float, default=0.05, help="split longer edges; share of the box diagonal"
    )
    parser.add_argument("--iterations", type=int, default=10, help="most rounds of subdivision")
    parser.add_argument("--out", required=True, type=Path, help="visible surface, .ply")
    program.run(main, parser)
