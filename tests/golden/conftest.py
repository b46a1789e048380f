"""Where the reference vectors lie: the folder named by BOPFLOW_GOLDEN, else the copies beside these tests."""

import os
import zipfile
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Folder with one subfolder of reference vectors per method."""
    return Path(os.environ.get("BOPFLOW_GOLDEN") or Path(__file__).parent)


@pytest.fixture(scope="session")
def golden_zips(golden_dir, tmp_path_factory):
    """Unpacks every zip of a subfolder: list of (dataset folder, its result files), found by pattern."""

    def unpack(method: str, pattern: str = "*.zip") -> list[tuple[Path, list[Path]]]:
        unpacked = []
        for archive in sorted((golden_dir / method).glob(pattern)):
            root = tmp_path_factory.mktemp(archive.stem)
            with zipfile.ZipFile(archive) as content:
                content.extractall(root)
            datasets = [path for path in root.iterdir() if path.is_dir() and path.name != "results"]
            assert len(datasets) == 1, f"{archive} must hold one dataset folder and results/"
            unpacked.append((datasets[0], sorted((root / "results").iterdir())))
        return unpacked

    return unpack
