"""A copy of this project in a folder of its own, and how its programs are run there."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PARTS = ("Snakefile", "config.yaml", "examples", "pose_models", "profiles", "rules", "slurm", "workflow_scripts")
TINY = ROOT / "tests" / "workflow" / "tiny.yaml"


class Project:
    """A copy of the project; commands run inside it and import its own package."""

    def __init__(self, path: Path, numba_cache: Path) -> None:
        self.path = path
        self.environment = {**os.environ, "PYTHONPATH": str(path), "NUMBA_CACHE_DIR": str(numba_cache)}

    def snakemake_command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "snakemake", *arguments, "--configfile", str(TINY)]

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Snakemake with the tiny configuration; further `--config` values go to `overrides`."""
        return self.run(self.snakemake_command(*arguments))

    def run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.path, env=self.environment, capture_output=True, text=True, timeout=1200, check=False
        )

    def logged_command(self, log: str) -> list[str]:
        """The command that a job's log says would repeat it."""
        lines = (self.path / "results/demo/logs" / log).read_text(encoding="utf-8").splitlines()
        command = next(line for line in lines if line.startswith("repeat with: ")).removeprefix("repeat with: python ")
        return [sys.executable, *shlex.split(command)]


def output(result: subprocess.CompletedProcess[str]) -> str:
    return result.stdout + result.stderr


def copy_of(root: Path, target: Path, numba_cache: Path) -> Project:
    """Copy what a clone would have (code and configuration, no results)."""
    target.mkdir(parents=True)
    for part in PARTS:
        source = root / part
        if source.is_dir() and not source.is_symlink():
            shutil.copytree(source, target / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target / part, follow_symlinks=False)
    return Project(target, numba_cache)
