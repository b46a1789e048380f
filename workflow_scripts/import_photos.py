"""Turn a folder of photographs with CAD models and reference poses into a BOP dataset."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program
from pose_models.files import InputError, atomic_path
from pose_models.synthesis.photos import import_photos, read_description


def main(arguments: argparse.Namespace) -> None:
    """Import, say what came out."""
    if not arguments.folder.is_dir():
        raise InputError(f"{arguments.folder}: folder of the photographs not found; name it with --folder")
    description = read_description(arguments.description)
    with atomic_path(arguments.out) as temporary:
        temporary.mkdir()
        models = import_photos(description, arguments.folder, temporary)
    for number, model in models.items():
        share = 100 * model.symmetry_error_mm / model.info["diameter"]
        turns, axes = (len(model.info.get(f"symmetries_{kind}", [])) for kind in ("discrete", "continuous"))
        print(
            f"model {number}: diameter {model.info['diameter']:.1f} mm, {turns} discrete and {axes} continuous "
            f"symmetries, which the surface keeps within {model.symmetry_error_mm:.2f} mm ({share:.1f} %)"
        )
    print(f"{arguments.out}: {len(description.photos)} photographs, {len(models)} models")


if __name__ == "__main__":
    options = program.parser(__doc__)
    options.add_argument("--description", type=Path, required=True, help="YAML file, such as examples/real.yaml")
    options.add_argument("--folder", type=Path, required=True, help="folder its file names are relative to")
    options.add_argument("--out", type=Path, required=True, help="dataset folder to write, such as data/real")
    program.run(main, options)
