"""From demo images to a trained detector, detections and COCO scores, by the programs that the graph runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pose_models.detections.coco import read_detections
from pose_models.workflow import WorkflowSettings

SCRIPTS = Path(__file__).parents[2] / "workflow_scripts"


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def succeed(program: str, *arguments: object) -> str:
    done = run(program, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """Eight images as the demo has them."""
    root = tmp_path / "demo"
    settings = [f"{key}={value}" for key, value in WorkflowSettings().datasets["demo"].set.items()]
    succeed("make_demo_models.py", "--out", root)
    common = ("--models", root / "models", "--camera", root / "camera.json", "--set", *settings)
    succeed("render_scenes.py", *common, "--look", "train", "--images", 8, "--out", root / "test" / "000001")
    succeed("write_targets.py", "--dataset", root, "--split", "test")
    return root


@pytest.fixture
def checkpoint(demo: Path, tmp_path: Path) -> Path:
    """The small detector after 450 steps on them."""
    out = tmp_path / "detector" / "model.ckpt"
    small = WorkflowSettings().detectors["maskrcnn-small"].training_overrides()
    changes = ("train.steps=450", "train.valid_items=0", "images.filters=0", "train.wandb=disabled")
    scenes = ("--models", demo / "models", "--scenes", demo / "test" / "000001")
    succeed("train_detector.py", "--set", *small, *changes, *scenes, "--device", "cpu", "--out", out)
    return out


@pytest.mark.slow
def test_the_small_detector_learns_eight_demo_images_by_heart(demo: Path, checkpoint: Path, tmp_path: Path) -> None:
    found, scores = tmp_path / "found.json", tmp_path / "scores.json"
    common = ("--dataset", demo, "--device", "cpu", "--checkpoint", checkpoint, "--set", "mask_threshold=0.5")
    succeed("detect.py", *common, "--out", found)
    succeed("evaluate.py", "--dataset", demo, "--protocol", "coco", "--estimates", found, "--out", scores)
    result = json.loads(scores.read_text(encoding="utf-8"))
    assert result["bbox_modal"]["AP"] > 0.8
    assert result["segm"]["AP50"] > 0.9
    detections = read_detections(found)
    assert (detections.time > 0).all()
    assert detections.segmentation is not None
