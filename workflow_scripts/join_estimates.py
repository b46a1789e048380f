"""Join the estimates of inference jobs that had parts of the detections (split_detections.py)."""

import argparse
import shutil
from pathlib import Path

import numpy as np

from pose_models import program
from pose_models.datasets.estimates import join_estimates, read_estimates, write_estimates
from pose_models.files import atomic_path
from pose_models.methods.passes import NAMES

SHOWN = 24  # crops to look at, as one job alone keeps


def main(arguments: argparse.Namespace) -> None:
    """Join results files and the arrays beside them in the order given."""
    joined = join_estimates([read_estimates(path) for path in arguments.parts])
    folders, target = [path.parent for path in arguments.parts], arguments.out.parent
    for name in sorted(path.name for path in folders[0].glob("*.npz")):
        _join_arrays([folder / name for folder in folders], target / name, SHOWN if name == "inspect.npz" else None)
    for path in folders[0].glob("*.json"):  # settings and device are the same in all jobs
        with atomic_path(target / path.name) as temporary:
            shutil.copyfile(path, temporary)
    write_estimates(arguments.out, joined)
    print(f"wrote {arguments.out}: {len(joined)} estimates of {len(folders)} jobs")


def _join_arrays(paths: list[Path], out: Path, keep: int | None) -> None:
    """Concatenate arrays, one row per detection; of `keep`, evenly chosen ones. Names of passes are those of all."""
    parts = [dict(np.load(path, allow_pickle=False)) for path in paths]
    names = sorted(set.intersection(*(set(part) for part in parts)))
    arrays = {n: parts[0][n] if n == NAMES else np.concatenate([part[n] for part in parts]) for n in names}
    if keep is not None:
        count = len(next(iter(arrays.values())))
        rows = np.unique(np.linspace(0, count - 1, keep).astype(int))
        arrays = {name: values[rows] for name, values in arrays.items()}
    with atomic_path(out) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


if __name__ == "__main__":
    parser = program.parser(__doc__ or "")
    parser.add_argument("--parts", type=Path, nargs="+", required=True, help="estimates.csv of each job, in order")
    parser.add_argument("--out", type=Path, required=True, help="estimates, BOP csv; other files go beside it")
    program.run(main, parser)
