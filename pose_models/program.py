"""What every program in `workflow_scripts/` shares: argument parsing, how it fails, progress, provenance.

A program is a `main(arguments) -> None` wrapped by `run`: it prints the command that repeats it, turns bad input into
one sentence and exit code 2, and a full disk into one sentence and exit code 3.
"""

from __future__ import annotations

import argparse
import errno
import logging
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from pose_models.files import InputError

Item = TypeVar("Item")


def parser(description: str) -> argparse.ArgumentParser:
    """Argument parser that shows defaults in `--help` and accepts no abbreviated options."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False
    )


def training_options(arguments: argparse.ArgumentParser) -> None:
    """Add the options that the training of a method and of a detector share."""
    add = arguments.add_argument
    add("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings, such as train.steps=1000")
    add("--models", type=Path, required=True, help="folder of obj_XXXXXX.ply, mm: what is learnt")
    add("--objects", type=int, nargs="*", help="object ids; all models of the folder without it")
    add("--scenes", type=Path, nargs="+", required=True, help="BOP scene folders with masks")
    add("--start", type=Path, help="checkpoint of an earlier training whose weights to start from")
    add("--out", type=Path, required=True, help="checkpoint; logs go to train/ beside it")
    add("--device", default="auto", help="auto, cpu or cuda")
    shared = "processes that share each batch; each has a GPU, or a part of the cores"
    add("--processes", type=int, default=1, help=shared)
    add("--workers", type=int, default=1, help="data loading processes; no influence on the result")


def run(main: Callable[[argparse.Namespace], None], arguments: argparse.ArgumentParser) -> None:
    """Run a program's `main` and exit: 0 when it succeeded, 2 on bad input, 3 when the disk is full."""
    parsed = arguments.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    print("repeat with: " + shlex.join(["python", *sys.argv]), file=sys.stderr)
    try:
        main(parsed)
    except InputError as error:
        sys.exit(_fail(str(error), 2))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        path = error.filename2 or error.filename  # when a file is moved, its new place is the full one
        where = f"{path}: " if path else ""
        sys.exit(_fail(f"{where}no space left on the device; free some and run the same command again", 3))


def _fail(sentence: str, code: int) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return code


def progress(items: Iterable[Item] | Sequence[Item], label: str, total: int | None = None) -> Iterable[Item]:
    """Iterate with one progress line (done/total, rate, time left) that also reads well in a log file."""
    from tqdm import tqdm

    interval = 0.2 if sys.stderr.isatty() else 5.0
    return tqdm(items, desc=label, total=total, mininterval=interval, dynamic_ncols=True)


def provenance() -> dict[str, Any]:
    """Where a result comes from: git commit, Python and package versions."""
    names = ("bopflow", "numpy", "torch", "lightning", "opencv-python-headless", "embreex", "snakemake", "trimesh")
    versions: dict[str, str] = {"python": platform.python_version()}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {"commit": _git_commit(), "versions": versions}


def _git_commit() -> str | None:
    root = Path(__file__).resolve().parent.parent
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
