"""Sample an object's visible surface evenly (Poisson disks): points in mm and outward unit normals."""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program
from pose_models.files import InputError, write_bytes
from pose_models.meshes.mesh import load_mesh
from pose_models.meshes.surface import even_samples


def main(arguments: argparse.Namespace) -> None:
    """Write an .npz with `points` (N, 3) float32 mm and `normals` (N, 3) float32."""
    if arguments.count < 1:
        raise InputError(f"--count {arguments.count}: at least one sample is needed")
    mesh = load_mesh(arguments.mesh)
    area = float(mesh.face_areas().sum())
    if area <= 0:
        raise InputError(f"{arguments.mesh}: the surface's area is 0; re-export the model")
    points, normals = even_samples(mesh, arguments.count, np.random.default_rng(arguments.seed))
    content = io.BytesIO()
    np.savez(content, points=points.astype(np.float32), normals=normals.astype(np.float32))
    write_bytes(arguments.out, content.getvalue())
    print(f"wrote {arguments.out}: {len(points)} samples on {area:.6g} mm2")


if __name__ == "__main__":
    parser = program.parser(__doc__)
    parser.add_argument("--mesh", required=True, type=Path, help="visible surface, .ply, mm (remesh.py)")
    parser.add_argument("--seed", type=int, default=0, help="random points")
    parser.add_argument("--count", type=int, default=50_000, help="target count; about 1.47 times as many come out")
    parser.add_argument("--out", required=True, type=Path, help=".npz with points and normals")
    program.run(main, parser)
