"""Copies of this project in temporary folders, with the demo at a size that takes a minute (tiny.yaml)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.workflow.project import ROOT, Project, copy_of, output


@pytest.fixture(scope="session")
def numba_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("numba")


@pytest.fixture
def fresh(tmp_path: Path, numba_cache: Path) -> Project:
    """The project as a fresh clone has it."""
    return copy_of(ROOT, tmp_path / "project", numba_cache)


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory: pytest.TempPathFactory, numba_cache: Path) -> Project:
    """The project after the tiny demo has run undisturbed; shared, so do not change it.

    To save its minute while working on these tests, name the folder of an earlier one in BOPFLOW_FINISHED.
    """
    if earlier := os.environ.get("BOPFLOW_FINISHED"):
        return Project(Path(earlier), numba_cache)
    project = copy_of(ROOT, tmp_path_factory.mktemp("finished") / "project", numba_cache)
    result = project.snakemake()
    assert result.returncode == 0, output(result)
    return project


@pytest.fixture
def finished(finished_once: Project, tmp_path: Path, numba_cache: Path) -> Project:
    """A copy of the finished project, to do things to."""
    shutil.copytree(finished_once.path, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project", numba_cache)
