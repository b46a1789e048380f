"""Extract keypoints of an object: points spread over its surface, or corners of its box (mm, object frame)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program
from pose_models.files import InputError, write_json
from pose_models.meshes.keypoints import box_corners, sphere_box_keypoints, surface_keypoints, vertex_keypoints
from pose_models.meshes.mesh import load_mesh

SCHEMES = {
    "vertices": ("vertices in farthest-point order from the box's centre (RePOSE, PVNet)", vertex_keypoints, 8),
    "surface": ("points of the surface in farthest-point order (SpyroPose)", surface_keypoints, 16),
    "box": ("the 8 corners of the box", box_corners, 8),
    "sphere-box": ("the 16 corners of a cube around the bounding sphere and one half as large (SpyroPose)",
                   sphere_box_keypoints, 16),
}  # fmt: skip


def main(arguments: argparse.Namespace) -> None:
    """Write the keypoints with what they are."""
    mesh = load_mesh(arguments.mesh)
    meaning, extract, usual = SCHEMES[arguments.scheme]
    if arguments.scheme in ("vertices", "surface"):
        count = usual if arguments.count is None else arguments.count
        most = len(mesh.vertices) if arguments.scheme == "vertices" else 10_000
        if not 1 <= count <= most:
            raise InputError(f"--count {count}: {arguments.mesh} has between 1 and {most} keypoints to give")
        points = extract(mesh, count)
    elif arguments.count not in (None, usual):
        raise InputError(f"--count {arguments.count}: the scheme {arguments.scheme} has {usual} keypoints")
    else:
        points = extract(mesh)
    write_json(arguments.out, {"scheme": arguments.scheme, "meaning": meaning, "points_mm": points.tolist()})
    print(f"wrote {arguments.out}: {len(points)} keypoints, {meaning}")


if __name__ == "__main__":
    parser = program.parser(__doc__)
    parser.add_argument("--mesh", required=True, type=Path, help="object model, mm")
    parser.add_argument("--scheme", choices=sorted(SCHEMES), default="surface", help="how they are chosen")
    parser.add_argument("--count", type=int, help="how many (vertices: 8, surface: 16)")
    parser.add_argument("--out", required=True, type=Path, help="keypoints, .json")
    program.run(main, parser)
