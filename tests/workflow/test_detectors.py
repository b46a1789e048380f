"""Detectors in the graph: any method takes its boxes from them, each dataset has its own."""

from __future__ import annotations

import re

import pytest
import yaml

from pose_models.files import InputError
from pose_models.workflow import WorkflowSettings, load
from tests.workflow.project import ROOT, Project, output

CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))


def commands(text: str, program: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("Shell command: ") and program in line]


def test_a_method_on_a_trained_detector_is_planned_whole(fresh: Project) -> None:
    changes = "datasets={demo: {detections: maskrcnn-small}, tless: {source: catalogue, detections: maskrcnn-real}}"
    targets = ("results/demo/scores.json", "results/demo/detections/maskrcnn-small/scores.json")
    result = fresh.snakemake("-np", *targets, "results/tless/detections/maskrcnn-real.json", "--config", changes)
    assert result.returncode == 0, output(result)
    for rule, count in (("train_detector", 3), ("detect", 2), ("score_detections", 1), ("import_detections", 0)):
        assert len(re.findall(rf"^rule {rule}:$", output(result), re.MULTILINE)) == count
    assert not re.search("rule simulate_detections:", output(result))
    real = next(line for line in commands(output(result), "train_detector.py") if "maskrcnn-real/model.ckpt" in line)
    assert "--start results/tless/detections/maskrcnn/model.ckpt" in real
    assert "data/tless/train_primesense/000001 " in real
    plain = next(line for line in commands(output(result), "train_detector.py") if "maskrcnn/model.ckpt" in line)
    assert plain != real
    assert "train_primesense" not in plain
    (infer,) = commands(output(result), "infer.py")
    assert "--detections results/demo/detections/maskrcnn-small.json" in infer


def test_without_real_images_the_detector_that_would_be_started_from_is_taken() -> None:
    settings = WorkflowSettings()
    assert settings.trained_detector("lmo", "maskrcnn-real") == "maskrcnn"
    assert settings.trained_detector("ycbv", "maskrcnn-real") == "maskrcnn-real"
    assert settings.trained_detector("demo", "maskrcnn-small") == "maskrcnn-small"


def test_a_change_of_detection_does_not_train_anew() -> None:
    detect, images = {"detect": {"mask_threshold": 0.9}}, {"images": {"blur": 0.4}}
    entries = {"a": {}, "b": {"set": detect}, "c": {"set": images}, "d": {"start": "a"}}
    detectors = load({**CONFIG, "detectors": entries}).detectors
    assert detectors["a"].training_digest() == detectors["b"].training_digest()
    assert detectors["a"].detection_digest() != detectors["b"].detection_digest()
    assert len({detectors[name].training_digest() for name in "acd"}) == 3
    assert detectors["b"].training_overrides() == []
    assert detectors["b"].detection_overrides() == ["mask_threshold=0.9"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ("{detectors: {x: {set: {train: {step: 1}}}}}", "detectors.x.set: train.step is not a known key; did you mean"),
        ("{detectors: {x: {start: y}}}", "detectors.x.start: 'y' is not known"),
        ("{detectors: {x: {start: y}, y: {start: x}}}", "detectors.x.start: leads back to 'x'"),
        ("{detectors: {simulated: {}}}", "detectors.simulated: choose another name"),
        (
            "{datasets: {demo: {source: demo, detections: boxes/maskrcnn.json}}}",
            "detections: 'boxes/maskrcnn.json': give the file another name, a detector is called maskrcnn",
        ),
    ],
)
def test_a_wrong_detector_gives_one_sentence(changes: str, sentence: str) -> None:
    with pytest.raises(InputError) as error:
        load({**CONFIG, **yaml.safe_load(changes)})
    assert sentence in str(error.value)
