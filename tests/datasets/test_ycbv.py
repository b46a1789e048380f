"""YCB-V models as PoseCNN evaluates them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pose_models.datasets.ycbv import NAMES, OFFSETS_MM
from pose_models.meshes.mesh import Mesh, save_ply
from pose_models.meshes.ply import read_ply

ROOT = Path(__file__).resolve().parents[2]
TURN = [{"axis": [0, 0, 1], "offset": [0, 0, 0]}]


@pytest.fixture
def data(tmp_path) -> Path:
    infos = {}
    for obj_id in (1, 2, 13, 18):
        points = np.random.default_rng(obj_id).normal(size=(20, 3)) * 0.05
        vertices = points * 1000 + OFFSETS_MM[obj_id]
        save_ply(tmp_path / "ycbv" / "models" / f"obj_{obj_id:06d}.ply", Mesh(vertices, np.array([[0, 1, 2]])))
        (tmp_path / "ycbv" / "models" / f"obj_{obj_id:06d}.png").write_bytes(b"texture")
        folder = tmp_path / "original" / NAMES[obj_id]
        folder.mkdir(parents=True)
        np.savetxt(folder / "points.xyz", points)
        infos[str(obj_id)] = {"diameter": 100.0 + obj_id} | ({} if obj_id == 2 else {"symmetries_continuous": TURN})
    (tmp_path / "ycbv" / "models" / "models_info.json").write_text(json.dumps(infos))
    return tmp_path


def run(data: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "workflow_scripts" / "convert_dataset.py"), "ycbv-models"]
    command += ["--dataset", str(data / "ycbv"), "--original", str(data / "original")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_two_objects_lose_their_symmetry_and_all_get_the_original_points(data):
    assert run(data).returncode == 0
    models, evaluated = data / "ycbv" / "models_bop-compat", data / "ycbv" / "models_bop-compat_eval"
    for folder in (models, evaluated):
        infos = json.loads((folder / "models_info.json").read_text())
        assert {i: bool(info.get("symmetries_continuous")) for i, info in infos.items()} == {
            "1": False, "2": False, "13": True, "18": False,
        }  # fmt: skip
        assert infos["18"]["diameter"] == 118
    for obj_id in (1, 2, 13, 18):
        name = f"obj_{obj_id:06d}.ply"
        assert (models / name).read_bytes() == (data / "ycbv" / "models" / name).read_bytes()
        vertices, faces = read_ply(evaluated / name)[:2]
        np.testing.assert_allclose(vertices, read_ply(data / "ycbv" / "models" / name)[0], atol=1e-3)
        assert len(faces) == 0
    assert (models / "obj_000001.png").read_bytes() == b"texture"
    again = run(data)
    assert again.returncode == 2
    assert "models_bop-compat: is there already" in again.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "points.xyz: file not found"),
        ("1 2\n", "points.xyz: not three finite numbers per line"),
        ("0.1 x 0.2\n", "points.xyz: not three numbers per line"),
        ("57 10 -20\n", "points.xyz: reaches 57, but these points are metres"),
    ],
)
def test_wrong_points_are_named_and_nothing_is_written(data, content, sentence):
    path = data / "original" / NAMES[13] / "points.xyz"
    path.unlink() if content is None else path.write_text(content)
    failed = run(data)
    assert failed.returncode == 2
    assert sentence in failed.stderr.splitlines()[-1]
    assert {path.name for path in (data / "ycbv").iterdir()} == {"models"}


def test_offsets_of_all_objects():
    assert sorted(OFFSETS_MM) == sorted(NAMES) == list(range(1, 22))
