"""Propose symmetries of an object from its shape, with a picture to judge them by; nothing uses them by itself."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program
from pose_models.files import InputError, write_bytes, write_json
from pose_models.meshes.mesh import load_mesh
from pose_models.meshes.orientation import outward
from pose_models.meshes.surface import WIDEST_GAP, disk_radius, even_samples
from pose_models.meshes.symmetry_search import AxisFinding, SurfaceDistance, propose_symmetries
from pose_models.meshes.visibility import visible_surface
from pose_models.report.symmetry_sheet import symmetry_sheet


def record(finding: AxisFinding) -> dict[str, object]:
    """A finding as it stands in the file."""
    turns = {"order": finding.order} if finding.order else {"continuous": True}
    place = {"axis": finding.axis.tolist(), "offset": finding.center.tolist()}
    return turns | place | {"worst_mm": finding.worst_mm, "mean_mm": finding.mean_mm}


def main(arguments: argparse.Namespace) -> None:
    """Sample the visible surface, search, write proposal and picture."""
    if not 0 < arguments.tolerance < 0.1:
        raise InputError(f"--tolerance {arguments.tolerance:g}: must be a share of the diameter between 0 and 0.1")
    mesh, _ = visible_surface(outward(load_mesh(arguments.mesh))[0])
    points, normals = even_samples(mesh, arguments.samples, np.random.default_rng(arguments.seed))
    spacing = WIDEST_GAP * disk_radius(float(mesh.face_areas().sum()), arguments.samples)
    try:
        proposal = propose_symmetries(points, normals, spacing, arguments.tolerance)
    except ValueError as error:
        raise InputError(f"{arguments.mesh}: {error}; try a smaller --tolerance") from None
    sheet = symmetry_sheet(mesh, SurfaceDistance(points, normals, spacing), proposal)
    write_bytes(
        arguments.picture or arguments.out.with_suffix(".png"), cv2.imencode(".png", sheet[..., ::-1])[1].tobytes()
    )
    content = {
        "mesh": str(arguments.mesh),
        "tolerance_mm": proposal.tolerance_mm,
        "proposal": proposal.entry(),
        "evidence": [record(finding) for finding in proposal.findings],
        "rejected": [record(finding) for finding in proposal.nearly],
    }
    write_json(arguments.out, content)
    found = [
        f"{'any turn' if f.order == 0 else f'1/{f.order} turn'} off by {f.worst_mm:.2f} mm" for f in proposal.findings
    ]
    print(f"wrote {arguments.out}: {', '.join(found) or 'no symmetry'} (tolerance {proposal.tolerance_mm:.2f} mm)")


if __name__ == "__main__":
    parser = program.parser(__doc__)
    parser.add_argument("--mesh", required=True, type=Path, help="object model, mm")
    parser.add_argument("--tolerance", type=float, default=0.01, help="farthest miss, as a share of the diameter")
    parser.add_argument("--samples", type=int, default=20_000, help="target count of samples of the surface")
    parser.add_argument("--seed", type=int, default=0, help="random samples")
    parser.add_argument("--out", required=True, type=Path, help="proposal, .json")
    parser.add_argument("--picture", type=Path, help="picture, .png; default: beside the proposal")
    program.run(main, parser)
