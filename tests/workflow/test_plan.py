"""What the graph plans: dry runs of every target, and one sentence for what cannot be planned."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import jsonschema
import pytest
import yaml

from pose_models.files import InputError
from pose_models.workflow import DEMO_OBJECTS, WorkflowSettings, load
from tests.workflow.project import ROOT, Project, output

CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
WITH_PHOTOS = ("--config", "datasets={real: {folder: photos}}")


@pytest.fixture
def without_torch(fresh: Project, tmp_path: Path) -> Project:
    """A project with empty stand-ins for the photographs, in whose processes `import torch` fails."""
    blocked = tmp_path / "block" / "torch"
    blocked.mkdir(parents=True)
    (blocked / "__init__.py").write_text("raise ImportError('a dry run must not import torch')")
    fresh.environment["PYTHONPATH"] = f"{blocked.parent}:{fresh.path}"
    description = yaml.safe_load((ROOT / "examples/real.yaml").read_text(encoding="utf-8"))
    depths = [photo["depth"] for photo in description["photos"] if "depth" in photo]
    for entry in (*description["models"].values(), *description["photos"], *depths):
        path = fresh.path / "photos" / entry["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return fresh


@pytest.mark.parametrize("dataset", CONFIG["datasets"])
def test_a_dry_run_shows_the_whole_graph_in_seconds_without_torch(without_torch: Project, dataset: str) -> None:
    start = time.monotonic()
    targets = [f"results/{dataset}/{run}/scores.json" for run in CONFIG["runs"]] + [f"results/{dataset}/report.html"]
    result = without_torch.snakemake("-n", *targets, *WITH_PHOTOS)
    assert result.returncode == 0, output(result)
    for rule in ("remesh", "surface", "train", "infer", "evaluate", "report"):
        assert f"rule {rule}:" in output(result)
    for name, run in CONFIG["runs"].items():
        stands_alone = run["start"] is None or not run["real_images"]  # these datasets have no real images
        trained_here = run["checkpoint"] is None and run["candidates"] is None and stands_alone
        assert (f"--out results/{dataset}/{name}/model.ckpt" in output(result)) == trained_here, name
    assert time.monotonic() - start < 30, "a dry run takes 4 s on two idle cores"


def test_later_runs_are_compared_with_the_first_where_average_recall_is_computed(without_torch: Project) -> None:
    runs = "runs: [surfemb-small, surfemb-untrained, surfemb]"
    changes = f"datasets={{demo: {{{runs}}}, real: {{{runs}, folder: photos}}}}"
    result = without_torch.snakemake("-n", "results/demo/report.html", "results/real/report.html", "--config", changes)
    assert result.returncode == 0, output(result)
    files = set(re.findall(r"results/\w+/comparisons/\S+\.json", output(result)))
    assert files == {
        f"results/demo/comparisons/{run}_vs_surfemb-small.json" for run in ("surfemb-untrained", "surfemb")
    }
    assert "rule compare:" not in output(without_torch.snakemake("-n"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--config", "gpuz=1"), "config.yaml: gpuz is not a known key; did you mean 'gpus'?"),
        (("results/dmo/scores.json",), "dataset 'dmo' is not known; did you mean 'demo'?"),
        (("results/demo/surfem/model.ckpt",), "run 'surfem' is not known; did you mean 'surfemb'?"),
        (("results/real/scores.json",), "config.yaml: datasets.real.folder is not set; name the folder"),
        (
            ("results/tless/scores.json", "--config", "datasets={tless: {source: folder}}"),
            "put the BOP dataset 'tless'",
        ),
    ],
)
def test_what_cannot_be_planned_gives_one_sentence(fresh: Project, arguments: tuple[str, ...], sentence: str) -> None:
    result = fresh.snakemake("-n", *arguments)
    assert result.returncode != 0
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert sentence in errors[0]
    assert "Traceback" not in output(result)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ("{gpus: many}", "config.yaml: gpus: input should be a valid integer, unable to parse"),
        (
            "{datasets: {demo: {source: demo, runs: [surfembb]}}}",
            "datasets.demo.runs: 'surfembb' is not known; did you",
        ),
        ("{datasets: {demo: {source: demo, train_scene: 3}}}", "datasets.demo.train_scene is not a known key; did you"),
        ("{datasets: {demo: {source: demo, set: {widht: 1}}}}", "datasets.demo.set: widht is not a known key; did you"),
        (
            "{datasets: {demo: {source: demo, detections: mask.txt}}}",
            "datasets.demo: detections: 'mask.txt' is neither",
        ),
        (
            "{datasets: {demo: {source: demo, detections: boxes/simulated.json}}}",
            "give the file another name, simulated is taken",
        ),
        (
            "{datasets: {demo: {source: demo, detections: default}}}",
            "datasets.demo.detections: BOP gives out no default detections of it",
        ),
        ("{datasets: {x: {source: dem}}}", "datasets.x: 'dem' is not known; did you mean 'demo'?"),
        ("{datasets: {X: {source: demo}}}", "datasets.X: choose another name"),
        ("{runs: {x: {family: surfemp}}}", "runs.x.family: 'surfemp' is not known; did you mean 'surfemb'?"),
        (
            "{runs: {x: {family: surfemb, set: {train: {step: 1}}}}}",
            "runs.x.set: train.step is not a known key; did you",
        ),
        ("{runs: {meshes: {family: surfemb}}}", "runs.meshes: choose another name"),
    ],
)
def test_a_wrong_configuration_gives_one_sentence(changes: str, sentence: str) -> None:
    with pytest.raises(InputError) as error:
        load({**CONFIG, **yaml.safe_load(changes)})
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_config_and_schema_are_in_step_with_the_settings() -> None:
    schema = json.loads((ROOT / "schemas/config.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(CONFIG, schema)
    assert schema == WorkflowSettings.model_json_schema()
    assert load(CONFIG) == WorkflowSettings()
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**CONFIG, "gpuz": 1}, schema)


def test_the_demo_has_the_objects_that_the_graph_expects() -> None:
    from pose_models.synthesis.parts import demo_parts

    assert tuple(demo_parts(0)) == DEMO_OBJECTS


def test_runs_that_train_alike_share_a_checkpoint() -> None:
    rgbd = {"family": "surfemb", "set": {"infer": {"refine_steps": 3}}}
    settings = load({**CONFIG, "runs": {**CONFIG["runs"], "rgbd": rgbd}})
    settings = load(
        {
            **settings.model_dump(mode="json"),
            "datasets": {"demo": {"source": "demo", "runs": ["surfemb", "rgbd", "surfemb-small"]}},
        }
    )
    assert settings.checkpoint_run("demo", "rgbd") == "surfemb"
    assert settings.checkpoint_run("demo", "surfemb-small") == "surfemb-small"


def test_a_misspelt_scene_setting_is_refused_before_anything_runs() -> None:
    values = {**CONFIG, "datasets": {"demo": {"source": "demo", "set": {"lights": [3, 1]}}}}
    with pytest.raises(InputError, match="the first number must not be larger"):
        load(values)


@pytest.mark.parametrize(
    ("name", "detections", "source"),
    [
        ("tless", None, "default"),
        ("lm", None, "simulated"),
        ("tless", "simulated", "simulated"),
        ("ycbv", "boxes/posecnn.pkl", "posecnn"),
        ("ycbv", "boxes/results.pth.tar", "results"),
        ("ycbv", "boxes/mask_rcnn", "mask_rcnn"),
        ("ycbv", "boxes/mask_rcnn.json.gz", "mask_rcnn"),
    ],
)
def test_detections_come_from_where_the_configuration_says(name: str, detections: str | None, source: str) -> None:
    entry = {"source": "catalogue", "detections": detections}
    assert load({**CONFIG, "datasets": {name: entry}}).dataset(name).detection_source(name) == source


def test_default_detections_are_fetched_and_results_of_other_formats_imported(fresh: Project) -> None:
    (fresh.path / "posecnn.pkl").touch()
    changes = "datasets={ycbv: {source: catalogue, detections: posecnn.pkl}}"
    targets = [f"results/{name}/surfemb/estimates.csv" for name in ("tless", "ycbv")] + ["results/tless/check.html"]
    result = fresh.snakemake("-n", *targets, "--config", changes)
    assert result.returncode == 0, output(result)
    assert len(re.findall(r"rule default_detections:", output(result))) == 1
    assert "gdrnppdet-pbrreal_tless-test" in output(result)
    for name, source in (("tless", "default"), ("ycbv", "posecnn")):
        assert f"--detections results/{name}/detections/{source}.json" in output(result)
    assert "--detections posecnn.pkl --dataset data/ycbv" in output(result)
    assert "rule check:" in output(result)


def test_path_traced_images_are_planned_with_their_settings_and_trained_on(without_torch: Project) -> None:
    chosen = "{generator: blenderproc, look: itodd, shards: 2, images: 3, set: {samples: 8}}"
    changes = f"datasets={{real: {{folder: photos, synthetic: {chosen}}}}}"
    result = without_torch.snakemake("-n", "results/real/surfemb/model.ckpt", "--config", changes)
    assert result.returncode == 0, output(result)
    shards = [f"results/real/synthetic/blenderproc/shard_{number:04d}" for number in range(2)]
    for shard in shards:
        assert re.search(rf"--look itodd --set \S*samples=\S*8\S* .*--images 3 .*--out {shard} ", output(result))
    assert f"--scenes {' '.join(shards)} " in output(result), "they are what training reads"
    assert "rule shard:" not in output(result)


@pytest.mark.parametrize(
    ("synthetic", "sentence"),
    [
        ("{generator: blenderproc, look: train}", "synthetic.look: blenderproc has no 'train'"),
        ("{look: ycbv}", "synthetic.look: raycast has no 'ycbv'"),
        (
            "{generator: blenderproc, set: {sample: 8}}",
            "synthetic.set: sample is not a known key; did you mean 'samples'?",
        ),
    ],
)
def test_a_look_or_setting_of_another_generator_is_refused(synthetic: str, sentence: str) -> None:
    entry = {"source": "folder", "synthetic": yaml.safe_load(synthetic)}
    with pytest.raises(InputError, match=re.escape(sentence)):
        load({"datasets": {"mine": entry}})


def test_proposals_of_symmetries_and_keypoints_are_targets(without_torch: Project) -> None:
    targets = ["results/demo/symmetries/obj_000003.png", "results/demo/keypoints/surface/obj_000003.json"]
    result = without_torch.snakemake("-n", *targets)
    assert result.returncode == 0, output(result)
    assert "rule symmetries:" in output(result)
    assert "rule keypoints:" in output(result)
