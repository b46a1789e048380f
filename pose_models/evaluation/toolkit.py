"""The reference evaluation as a drop-in alternative: hands it our files, where the user has installed it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pose_models.evaluation.world import World
from pose_models.files import InputError

SCRIPTS = {"bop19": "eval_bop19_pose.py", "bop24": "eval_bop24_pose.py"}
SCORES = {"bop19": "scores_bop19.json", "bop24": "scores_bop24.json"}


def score_files(world: World, protocol: str, paths: Sequence[Path]) -> list[dict[str, Any]]:
    """The reference's own scores of each file.

    Raises:
        InputError: the reference is not installed, cannot do the protocol, or fails.
    """
    if protocol not in SCRIPTS:
        raise InputError(f"evaluator bop_toolkit cannot do {protocol}, only {' and '.join(SCRIPTS)}; use builtin")
    script = _scripts_folder() / SCRIPTS[protocol]
    if not script.exists():
        raise InputError(f"{script}: not found; install bop_toolkit from its sources, with its scripts folder")
    return [_run(world, protocol, script, path) for path in paths]


def _scripts_folder() -> Path:
    found = importlib.util.find_spec("bop_toolkit_lib")
    if found is None or found.origin is None:
        raise InputError("evaluator bop_toolkit: bop_toolkit_lib is not installed; install it or use evaluator builtin")
    return Path(found.origin).resolve().parents[1] / "scripts"


def _run(world: World, protocol: str, script: Path, path: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        results, output = Path(folder, "results"), Path(folder, "eval")
        results.mkdir()
        output.mkdir()
        # The reference reads dataset and split from the name, and splits it at underscores.
        stem = re.sub(r"[^A-Za-z0-9]", "", path.parent.name + path.stem)
        name = f"{stem}_{world.facts.name}-{world.facts.split.replace('_', '-')}.csv"
        (results / name).write_bytes(path.read_bytes())
        environment = {**os.environ, "BOP_PATH": str(world.dataset.root.resolve().parent)}
        command = [sys.executable, str(script), f"--result_filenames={name}"]
        command += [f"--results_path={results}", f"--eval_path={output}"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        found = sorted(output.rglob(SCORES[protocol]))
        if done.returncode or not found:
            lines = done.stderr.strip().splitlines() or ["no output"]
            raise InputError(f"{path}: bop_toolkit failed on it ({lines[-1]}); use evaluator builtin")
        return {"evaluator": "bop_toolkit", **json.loads(found[0].read_text())}
