"""From CAD files to a models folder, its symmetries, evaluation models and keypoints: the programs."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from pose_models.meshes.cad import welded
from pose_models.meshes.keypoints import box_corners, farthest_points
from pose_models.meshes.mesh import Mesh, load_mesh, save_ply
from pose_models.meshes.orientation import flipped
from pose_models.meshes.shapes import box, cylinder, merged

ROOT = Path(__file__).resolve().parents[2]


def program(name, *arguments):
    command = [sys.executable, str(ROOT / "workflow_scripts" / f"{name}.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def write_stl(path, mesh):
    import trimesh

    trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(path)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A models folder made of an STL in metres that is inside out, and a PLY with colours, in metres too."""
    root = tmp_path_factory.mktemp("mine")
    bar = merged([cylinder([40, 40, 60], 0.5, segments=64)])
    write_stl(root / "bar.stl", flipped(Mesh(bar.vertices / 1000, bar.faces)))
    block = box([80, 50, 30], [1000, 0, 0])
    colors = np.arange(24, dtype=np.uint8).reshape(8, 3)
    save_ply(root / "block.ply", Mesh(block.vertices / 1000, block.faces, colors))
    files = ["--cad", root / "bar.stl", root / "block.ply"]
    done = program("prepare_models", *files, "--ids", 4, 2, "--unit", "m", "--center", "--out", root / "models")
    assert done.returncode == 0, done.stderr
    return root, done.stdout


def test_cad_files_become_a_models_folder(prepared):
    root, printed = prepared
    info = json.loads((root / "models" / "models_info.json").read_text())
    assert set(info) == {"2", "4"}
    assert info["2"]["diameter"] == pytest.approx(np.linalg.norm([80, 50, 30]), rel=1e-5)
    assert [info["2"][key] for key in ("min_x", "size_x")] == pytest.approx([-40, 80], abs=1e-4)
    bar, block = (load_mesh(root / "models" / f"obj_00000{number}.ply") for number in (4, 2))
    assert len(bar.vertices) == len(cylinder([40, 40, 60], 0.5, segments=64).vertices), "welded"
    outwards = (bar.face_normals() * bar.vertices[bar.faces].mean(axis=1)).sum(axis=1)
    assert (outwards > 0).all()
    assert "100.0% of the area looked inwards and was turned" in printed
    np.testing.assert_array_equal(np.sort(block.colors, axis=0), np.arange(24).reshape(8, 3))


def test_symmetries_are_proposed_shown_and_entered_only_when_accepted(prepared):
    root, _ = prepared
    info = root / "models" / "models_info.json"
    before = info.read_text()
    proposal = root / "symmetries" / "obj_000004.json"
    done = program(
        "propose_symmetries", "--mesh", root / "models" / "obj_000004.ply", "--samples", 4000, "--out", proposal
    )
    assert done.returncode == 0, done.stderr
    picture = cv2.imread(str(proposal.with_suffix(".png")))
    assert picture.shape[1] == 900
    assert (picture.std(axis=2) > 20).mean() > 0.02, "the body is coloured"
    assert info.read_text() == before
    done = program("accept_symmetries", "--proposals", proposal, "--models", root / "models")
    assert done.returncode == 0, done.stderr
    (axis,) = json.loads(info.read_text())["4"]["symmetries_continuous"]
    np.testing.assert_allclose(np.abs(axis["axis"]), [0, 0, 1], atol=1e-9)
    assert "symmetries_continuous" not in json.loads(info.read_text())["2"]
    stray = proposal.with_name("obj_000009.json")
    stray.write_text(proposal.read_text())
    before = info.read_text()
    done = program("accept_symmetries", "--proposals", stray, "--models", root / "models")
    assert done.returncode == 2
    assert "obj_000009.json: its name must be obj_<id>.json of an object" in done.stderr
    assert info.read_text() == before


def test_evaluation_models_keep_shape_and_size(prepared):
    root, _ = prepared
    out = root / "models_eval"
    arguments = ["--models", root / "models", "--cell", 0.01, "--out", out]
    done = program("make_eval_models", *arguments)
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "models_info.json").read_text()).keys() == {"2", "4"}
    even = load_mesh(out / "obj_000002.ply")
    np.testing.assert_allclose(np.ptp(even.vertices, axis=0), [80, 50, 30], atol=1.0)
    assert even.face_areas().sum() == pytest.approx(2 * (80 * 50 + 50 * 30 + 80 * 30), rel=0.02)
    assert 500 <= len(even.faces) <= 1000, "a fortieth of the faces that marching cubes made"
    assert program("make_eval_models", *arguments).returncode == 2, "what is there is not replaced unasked"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--ids", "1"], "give 2 different numbers from 1"),
        ([], "only 0.0825 mm large, so probably in metres"),
    ],
)
def test_wrong_calls_give_one_sentence_and_leave_nothing(prepared, tmp_path, arguments, sentence):
    root, _ = prepared
    files = ["--cad", root / "bar.stl", root / "block.ply"]
    done = program("prepare_models", *files, *arguments, "--out", tmp_path / "models")
    assert done.returncode == 2
    assert done.stderr.count("error: ") == 1
    assert sentence in done.stderr
    assert not (tmp_path / "models").exists()


def test_keypoints_are_written_with_their_meaning(prepared, tmp_path):
    root, _ = prepared
    mesh = root / "models" / "obj_000002.ply"
    done = program(
        "extract_keypoints", "--mesh", mesh, "--scheme", "vertices", "--count", 8, "--out", tmp_path / "k.json"
    )
    assert done.returncode == 0, done.stderr
    points = np.array(json.loads((tmp_path / "k.json").read_text())["points_mm"])
    corners = box_corners(load_mesh(mesh))
    assert {tuple(point) for point in points.round(3)} == {tuple(corner) for corner in corners.round(3)}
    done = program(
        "extract_keypoints", "--mesh", mesh, "--scheme", "vertices", "--count", 9, "--out", tmp_path / "l.json"
    )
    assert done.returncode == 2
    assert "has between 1 and 8 keypoints to give" in done.stderr


@pytest.mark.parametrize("keep_start", [True, False])
def test_farthest_points_agree_with_a_slow_search(keep_start):
    points = np.random.default_rng(0).normal(size=(60, 3))
    start = points.mean(axis=0)
    chosen = [int(np.linalg.norm(points - start, axis=1).argmax())]
    while len(chosen) < 12:
        seeds = [*points[chosen], *([start] if keep_start else [])]
        gaps = [min(np.linalg.norm(point - seed) for seed in seeds) for point in points]
        chosen.append(int(np.argmax(gaps)))
    assert farthest_points(points, 12, start, keep_start).tolist() == chosen
    with pytest.raises(ValueError, match="61 of 60"):
        farthest_points(points, 61, start)


def test_welding_keeps_the_surface_and_the_order_of_vertices():
    mesh = box([4, 5, 6])
    split = Mesh(mesh.vertices[mesh.faces].reshape(-1, 3), np.arange(36).reshape(-1, 3))
    flat = Mesh(split.vertices, np.concatenate([split.faces, [[0, 0, 1]]]))
    result = welded(flat)
    assert (len(result.vertices), len(result.faces)) == (8, 12)
    np.testing.assert_array_equal(result.vertices[result.faces], mesh.vertices[mesh.faces])
    np.testing.assert_array_equal(result.vertices[:3], split.vertices[:3])
