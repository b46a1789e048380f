"""The programs: a custom scenario, and the stage for a dataset's estimates."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.multiview import boxes
from pose_models.datasets.estimates import read_estimates

ROOT = Path(__file__).resolve().parents[2]


def run(program, *options):
    command = [sys.executable, str(ROOT / "workflow_scripts" / program), *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_a_scenario_becomes_a_scene_whose_labels_and_poses_belong_together(scenario, made):
    done = run("reconstruct_scene.py", scenario)
    assert done.returncode == 0, done.stderr
    folder = scenario / "results" / "subscene=0"
    scene = json.loads((folder / "predicted_scene.json").read_text())
    seen = read_estimates(folder / "scene_reprojected.csv")
    cameras = {c["view_id"]: np.array(c["TWC"]) for c in scene["cameras"]}
    assert len(scene["objects"]) >= 6
    scores = [o["score"] for o in scene["objects"]]
    assert scores == sorted(scores, reverse=True)
    for item in scene["objects"]:
        obj_id = int(item["label"][4:])
        T_world_obj = np.array(item["TWO"])
        for view, T_world_cam in cameras.items():
            T = np.linalg.inv(T_world_cam) @ T_world_obj
            T[:3, 3] *= 1000
            rows = np.flatnonzero((seen.im_id == view) & (seen.obj_id == obj_id))
            both = np.tile(np.eye(4), (len(rows), 1, 1))
            both[:, :3, :3], both[:, :3, 3] = seen.R[rows], seen.t[rows]
            assert boxes()[obj_id].distance(np.repeat(T[None], len(rows), axis=0), both)[0].min() < 1e-3
    page = (scenario / "results" / "scene.html").read_text()
    assert page.count("<img") == 3 * 4  # image, candidates, reconstruction
    assert "ground truth" not in page
    assert "http" not in page.split("<script>")[1]


def test_known_cameras_are_written_as_they_were(scenario, made):
    done = run("reconstruct_scene.py", scenario, "--set", "known_cameras=true", "--out", scenario / "known")
    assert done.returncode == 0, done.stderr
    scene = json.loads((scenario / "known" / "subscene=0" / "predicted_scene.json").read_text())
    for camera in scene["cameras"]:
        T = np.array(camera["TWC"])
        T[:3, 3] *= 1000
        np.testing.assert_allclose(np.linalg.inv(T), made[2].T_cam_world[camera["view_id"]], atol=1e-6)


def broken(scenario, what):
    cameras = json.loads((scenario / "scene_camera.json").read_text())
    lines = (scenario / "candidates.csv").read_text().splitlines()
    if what == "one view":
        (scenario / "scene_camera.json").write_text(json.dumps({"0": cameras["0"]}))
        kept = [lines[0], *(line for line in lines[1:] if line.split(",")[1] == "0")]
        (scenario / "candidates.csv").write_text("\n".join(kept))
    elif what == "two scenes":
        (scenario / "candidates.csv").write_text("\n".join([*lines, lines[-1].replace("3,", "4,", 1)]))
    elif what == "no camera":
        del cameras["1"]
        (scenario / "scene_camera.json").write_text(json.dumps(cameras))
    elif what == "no model":
        infos = json.loads((scenario / "models" / "models_info.json").read_text())
        del infos["2"]
        (scenario / "models" / "models_info.json").write_text(json.dumps(infos))
    elif what == "scores":
        fields = lines[1].split(",")
        (scenario / "candidates.csv").write_text("\n".join([lines[0], ",".join([*fields[:3], "-7", *fields[4:]])]))


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("one view", "has one view; matching needs two or more"),
        ("two scenes", "has candidates of scenes [3, 4]"),
        ("no camera", "no entry for view 1, which has candidates"),
        ("no model", "no object 2, which candidates.csv names"),
        ("scores", "not in 0 to 1; set scores: rank"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(scenario, what, sentence):
    broken(scenario, what)
    done = run("reconstruct_scene.py", scenario)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not (scenario / "results").exists()
