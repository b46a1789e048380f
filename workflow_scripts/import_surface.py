"""Turn surface samples of SurfEmb's release (two folders of PLY files) into ours, one .npz per object."""

import argparse
import io
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program
from pose_models.datasets.bop import models_in
from pose_models.files import write_bytes


def main(arguments: argparse.Namespace) -> None:
    """Read all, then write all."""
    import numpy as np

    from pose_models.methods.surfemb.released_surface import read_surface_samples

    names = [f"obj_{obj_id:06d}" for obj_id in models_in(arguments.samples)]
    found = {
        name: read_surface_samples(arguments.samples / f"{name}.ply", arguments.normals / f"{name}.ply")
        for name in program.progress(names, "surface samples")
    }
    for name, (points, normals) in found.items():
        content = io.BytesIO()
        np.savez(content, points=points, normals=normals)
        write_bytes(arguments.out / f"{name}.npz", content.getvalue())
    print(f"wrote {arguments.out}: samples of {len(found)} objects, {sum(len(p) for p, _ in found.values())} points")


if __name__ == "__main__":
    parser = program.parser(__doc__)
    parser.add_argument("--samples", type=Path, required=True, help="folder surface_samples/<dataset>")
    parser.add_argument("--normals", type=Path, required=True, help="folder surface_samples_normals/<dataset>")
    parser.add_argument("--out", type=Path, required=True, help="folder to write, such as results/tless/surface")
    program.run(main, parser)
