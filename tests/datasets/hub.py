"""A hub on loopback with made-up archives (hub_server.py, a process of its own), and programs that fetch from it."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
Files = dict[str, bytes]


class Hub:
    """The server, its folder, and what goes wrong."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        command = [sys.executable, str(Path(__file__).with_name("hub_server.py")), str(folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{self.process.stdout.readline().strip()}"

    def repository(self, name: str) -> Path:
        """Folder of a dataset's repository."""
        folder = self.folder / "datasets" / "bop-benchmark" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def go_wrong(self, faults: Mapping[str, list[str]]) -> None:
        """Plan faults by a part of the path (hub_server.py lists them)."""
        (self.folder / "faults.json").write_text(json.dumps(faults))

    def requests(self) -> list[dict[str, str | None]]:
        """All requests so far."""
        log = self.folder / "requests.log"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def content_requests(self) -> list[dict[str, str | None]]:
        """Requests for the content of files."""
        return [r for r in self.requests() if str(r["path"]).startswith("/content/") and r["method"] == "GET"]

    def environment(self) -> dict[str, str]:
        """Environment of a program that takes this for the hub."""
        return {**os.environ, "HF_ENDPOINT": self.url, "HF_TOKEN": "hf_secret", "HF_HUB_DISABLE_TELEMETRY": "1"}

    def command(self, program: str, *arguments: str) -> list[str]:
        """A program's command."""
        return [sys.executable, str(ROOT / "workflow_scripts" / program), *arguments]

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        return subprocess.run(
            self.command(program, *arguments),
            env=self.environment(),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def fetch(self, root: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run fetch_dataset.py without long pauses between attempts."""
        return self.run("fetch_dataset.py", "--dataset", name, "--root", str(root), "--wait-s", "0.01", *arguments)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


def random_files(seed: int, names: list[str], size: int) -> Files:
    """Files of incompressible content."""
    draw = random.Random(seed)
    return {name: draw.randbytes(size) for name in names}


def write_zip(path: Path, files: Files) -> None:
    """A zip file in one volume."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def write_volumes(path: Path, files: Files, *options: str) -> list[Path]:
    """A zip file in several volumes of 64 KiB, made by Debian's zip; gives the volumes."""
    source = path.with_suffix(".source")
    for name, content in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    subprocess.run(["zip", "-q", "-r", "-s", "64k", *options, str(path), "."], cwd=source, check=True)
    shutil.rmtree(source)
    return sorted(path.parent.glob(f"{path.stem}.z*"))


def tree(folder: Path) -> Files:
    """Content of all files of a dataset's folder, the archives and records aside."""
    paths = (path for path in folder.rglob("*") if path.is_file() and "archives" not in path.relative_to(folder).parts)
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in paths
        if not path.relative_to(folder).parts[0].startswith(".unpacking")
    }


def small_tudl(hub: Hub) -> Files:
    """Archives of `tudl`, its training images in volumes; gives the files that they unpack to."""
    folder = hub.repository("tudl")
    base = {"test_targets_bop19.json": b"[]", "camera.json": b"{}"}
    models = random_files(1, [f"models/obj_{n:06d}.ply" for n in (1, 2, 3)], 40_000)
    test = random_files(2, [f"test/{s:06d}/rgb/{n:06d}.png" for s in (1, 2, 3) for n in range(60)], 1_500)
    train = random_files(3, [f"train_pbr/{s:06d}/rgb/{n:06d}.jpg" for s in range(5) for n in range(50)], 1_500)
    write_zip(folder / "tudl_base.zip", {f"tudl/{name}": content for name, content in base.items()})
    write_zip(folder / "tudl_models.zip", models)
    write_zip(folder / "tudl_test_bop19.zip", test)
    write_volumes(folder / "tudl_train_pbr.zip", train)
    (folder / "README.md").write_text("a card")
    return {**base, **models, **test, **train}
