"""Bad input: one clear sentence, an exit code that says so, nothing overwritten, nothing half-written."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.workflow.project import Project, output

pytestmark = pytest.mark.slow
ESTIMATES = "results/demo/tiny/estimates.csv"


def refused(project: Project, command: list[str], written: str) -> str:
    """Run a command that must fail; its sentence. What it would have written must be as before."""
    path = project.path / written
    before = path.read_bytes() if path.exists() else None
    result = project.run(command)
    assert result.returncode not in (0, 1), output(result)
    assert "Traceback" not in output(result)
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, output(result)
    assert (path.read_bytes() if path.exists() else None) == before
    assert not list(path.parent.glob(".*.part")), "a half-written file was left"
    return errors[0]


def test_a_truncated_image(finished: Project) -> None:
    image = sorted((finished.path / "data/demo/test/000001/rgb").iterdir())[0]
    image.write_bytes(image.read_bytes()[:1000])
    sentence = refused(finished, finished.logged_command("infer/tiny.log"), ESTIMATES)
    assert str(image.relative_to(finished.path)) in sentence
    assert "truncated" in sentence


def test_ground_truth_without_a_key(finished: Project) -> None:
    file = finished.path / "data/demo/test/000002/scene_gt.json"
    content = json.loads(file.read_text())
    del next(iter(content.values()))[0]["cam_R_m2c"]
    file.write_text(json.dumps(content))
    sentence = refused(finished, finished.logged_command("evaluate/tiny.log"), "results/demo/tiny/scores.json")
    assert "000002/scene_gt.json" in sentence
    assert "cam_R_m2c" in sentence


def test_a_mesh_without_faces(finished: Project) -> None:
    mesh = finished.path / "data/demo/models/obj_000001.ply"
    mesh.write_text(
        "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\n"
        "element face 0\nproperty list uchar int vertex_indices\nend_header\n0 0 0\n"
    )
    sentence = refused(finished, finished.logged_command("remesh/obj_000001.log"), "results/demo/meshes/obj_000001.ply")
    assert "obj_000001.ply" in sentence
    assert "0 faces" in sentence


def test_a_checkpoint_of_another_method(finished: Project) -> None:
    checkpoint = finished.path / "results/demo/tiny/model.ckpt"
    torch.save({**torch.load(checkpoint, weights_only=True), "family": "cosypose"}, checkpoint)
    sentence = refused(finished, finished.logged_command("infer/tiny.log"), ESTIMATES)
    assert "model.ckpt" in sentence
    assert "cosypose" in sentence


def test_detections_for_another_dataset(finished: Project) -> None:
    file = finished.path / "results/demo/detections/simulated.json"
    other = [{**entry, "scene_id": entry["scene_id"] + 48} for entry in json.loads(file.read_text())]
    (finished.path / "given.json").write_text(json.dumps(other))
    script = [*finished.logged_command("simulate_detections.log")[:1], "workflow_scripts/import_detections.py"]
    command = [*script, "--detections", "given.json", "--dataset", "data/demo", "--out", "imported.json"]
    assert "given.json" in refused(finished, command, "imported.json")
    file.write_text(json.dumps(other))
    assert "simulated.json" in refused(finished, finished.logged_command("infer/tiny.log"), ESTIMATES)


def test_a_misspelt_setting(finished: Project) -> None:
    command = [*finished.logged_command("infer/tiny.log")]
    command[command.index("infer.refine_steps=5")] = "infer.refine_step=5"
    assert "did you mean 'refine_steps'?" in refused(finished, command, ESTIMATES)


@pytest.fixture
def full_disk(finished: Project) -> Iterator[Path]:
    """A file system of 256 kB in the project."""
    folder = finished.path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a full disk needs a small file system, and mounting one needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("log", ["demo_scene/train_synt_000000.log", "remesh/obj_000001.log", "train/tiny.log"])
def test_no_space_left_on_the_device(finished: Project, full_disk: Path, log: str) -> None:
    command = finished.logged_command(log)
    name = f"small/{'000000' if 'scene' in log else 'out.ply'}"
    command[command.index("--out") + 1] = name
    (full_disk / "filler").write_bytes(bytes(200_000))
    assert "no space left on the device" in refused(finished, command, name)
