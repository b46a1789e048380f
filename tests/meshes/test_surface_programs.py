"""remesh.py and sample_surface.py as programs."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pose_models.meshes.mesh import load_mesh, save_ply
from pose_models.meshes.orientation import flipped
from pose_models.meshes.shapes import box, merged

ROOT = Path(__file__).resolve().parents[2]


def _program(name, *arguments):
    command = [sys.executable, f"workflow_scripts/{name}.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.fixture
def model(tmp_path) -> Path:
    """A box with a cavity inside, turned inside out."""
    path = tmp_path / "obj_000001.ply"
    save_ply(path, flipped(merged([box([80, 50, 30]), box([30, 20, 10])])))
    return path


def test_from_model_to_samples(model, tmp_path):
    surface, samples = tmp_path / "meshes" / "obj_000001.ply", tmp_path / "obj_000001.npz"
    done = _program("remesh", "--mesh", model, "--out", surface)
    assert done.returncode == 0, done.stderr
    share = (80 * 50 + 50 * 30 + 80 * 30) / (80 * 50 + 50 * 30 + 80 * 30 + 30 * 20 + 20 * 10 + 30 * 10)
    assert f"visible area {share:.1%}" in done.stdout
    mesh = load_mesh(surface)
    edges = np.linalg.norm(mesh.vertices[mesh.faces] - mesh.vertices[np.roll(mesh.faces, 1, axis=1)], axis=2)
    assert edges.max() <= 0.05 * np.linalg.norm([80, 50, 30]) * 1.001
    assert mesh.face_areas().sum() == pytest.approx(2 * (80 * 50 + 50 * 30 + 80 * 30), rel=1e-4)
    outward = (mesh.face_normals() * mesh.vertices[mesh.faces].mean(axis=1)).sum(axis=1)
    assert (outward > 0).all()

    contents = []
    for _ in range(2):
        done = _program("sample_surface", "--mesh", surface, "--seed", 3, "--count", 400, "--out", samples)
        assert done.returncode == 0, done.stderr
        contents.append(samples.read_bytes())
    assert contents[0] == contents[1]
    with np.load(samples) as arrays:
        assert set(arrays) == {"points", "normals"}
        points, normals = arrays["points"], arrays["normals"]
    assert points.dtype == normals.dtype == np.float32
    assert points.shape == normals.shape
    assert len(points) >= 400
    assert np.isclose(np.abs(points), [40, 25, 15], atol=1e-4).any(axis=1).all()
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("program", ["remesh", "sample_surface"])
def test_mesh_without_faces_is_refused_in_one_sentence(program, tmp_path):
    empty = tmp_path / "obj_000001.ply"
    text = "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\n"
    empty.write_text(text + "element face 0\nproperty list uchar int vertex_indices\nend_header\n0 0 0\n")
    done = _program(program, "--mesh", empty, "--out", tmp_path / "out.npz")
    assert done.returncode == 2
    assert "obj_000001.ply: 0 faces" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out.npz").exists()
