"""A small dataset made by the project's own programs: parts, training and test images, surface samples."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pose_models.datasets.bop import BopScene
from pose_models.detections.coco import read_detections
from pose_models.meshes.mesh import load_mesh
from pose_models.meshes.sampling import AreaSampler

SCRIPTS = Path(__file__).parents[2] / "workflow_scripts"


def run(program, *arguments):
    """Run one of the programs; its output is in the assertion's message if it fails."""
    command = [sys.executable, str(SCRIPTS / program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Path:
    """Folder with models/, train_synt/000000, test/000001, targets, detections.json and surface/."""
    root = tmp_path_factory.mktemp("data") / "small"
    run("make_demo_models.py", "--out", root)
    common = ("--models", root / "models", "--camera", root / "camera.json", "--set", "instances=[4,4]", "width=160",
              "height=120", "distractors=[0,0]")  # fmt: skip
    run("render_scenes.py", *common, "--look", "train", "--images", 2, "--out", root / "train_synt" / "000000")
    run("render_scenes.py", *common, "--look", "test", "--images", 2, "--out", root / "test" / "000001")
    run("write_targets.py", "--dataset", root, "--split", "test")
    run("simulate_detections.py", "--dataset", root, "--out", root / "simulated.json")
    rng = np.random.default_rng(0)
    (root / "surface").mkdir()
    for path in sorted((root / "models").glob("*.ply")):
        mesh = load_mesh(path)
        points, faces = AreaSampler(mesh).draw_with_faces(400, rng)
        np.savez(root / "surface" / f"{path.stem}.npz", points=points, normals=mesh.face_normals()[faces])
    return root


@pytest.fixture(scope="session")
def view(small):
    """Image, K, two boxes (x, y, w, h), their object ids, and depth of the test image."""
    scene, found = BopScene(small / "test" / "000001"), read_detections(small / "simulated.json")
    return scene.rgb(0), scene.camera(0).K, found.bbox_xywh[:2], found.obj_id[:2].tolist(), scene.depth(0)
