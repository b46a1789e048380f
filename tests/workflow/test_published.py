"""Published datasets in the graph: planned with nothing downloaded, fetched by `snakemake data/<name>`."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pose_models.datasets.choice import Choice
from pose_models.files import InputError
from pose_models.workflow import load, objects
from tests.datasets.hub import Hub, small_tudl, tree
from tests.workflow.project import ROOT, Project, output

CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
OBJECTS = {"lmo": 8, "tless": 30, "tudl": 3, "icbin": 2, "itodd": 28, "hb": 33, "ycbv": 21}
TEST_PARTS = {"tless": "test_primesense_bop19", "hb": "test_primesense_bop19"}


def test_the_graph_of_all_seven_core_datasets_is_known_with_nothing_downloaded(fresh: Project) -> None:
    result = fresh.snakemake("-n", *(f"results/{name}/surfemb/scores.json" for name in OBJECTS))
    assert result.returncode == 0, output(result)
    planned = output(result)
    for name, count in OBJECTS.items():
        assert len(set(re.findall(rf"output: (results/{name}/meshes/obj_\d+\.ply)", planned))) == count
        parts = {"base", "models", TEST_PARTS.get(name, "test_bop19")}
        parts |= set() if name == "lmo" else {"train_pbr"}
        fetched = re.findall(rf"output: data/{name}/archives/(\w+)\.fetched\.json", planned)
        assert parts <= set(fetched), name
        training = next(line for line in planned.splitlines() if f"--out results/{name}/surfemb/model.ckpt" in line)
        source = "lm" if name == "lmo" else name
        scenes = re.findall(rf"data/{source}/train_pbr/(\d+)", training)
        assert scenes == [f"{number:06d}" for number in range(50)]
        models = "models_cad" if name == "tless" else "models"
        assert f"--models data/{name}/{models} " in training
        split = "test_primesense" if name in TEST_PARTS else "test"
        inference = next(line for line in planned.splitlines() if f"--out results/{name}/surfemb/estimates.csv" in line)
        assert f"--split {split} " in inference
        assert f"results/{name}/detections/default.json" in inference
    assert "data/lm/archives/train_pbr.fetched.json" in planned
    assert "data/lm/archives/test_bop19" not in planned
    assert not (fresh.path / "data").exists()


def test_with_a_checkpoint_from_elsewhere_no_training_images_are_fetched(fresh: Project) -> None:
    (fresh.path / "released-tless.ckpt").touch()
    run = "runs={released: {family: surfemb, checkpoint: 'released-{dataset}.ckpt'}}"
    result = fresh.snakemake("-n", "results/tless/released/estimates.csv", "--config", run)
    assert result.returncode == 0, output(result)
    fetched = set(re.findall(r"output: data/tless/archives/(\w+)\.fetched\.json", output(result)))
    assert fetched == {"base", "models", "test_primesense_bop19"}
    assert "--checkpoint released-tless.ckpt" in output(result)
    assert "rule train:" not in output(result)


def test_datasets_of_other_formats_are_targets_too(fresh: Project) -> None:
    result = fresh.snakemake("-n", "data/nocs", "data/symsol", "data/voc2012", "data/lmo")
    assert result.returncode == 0, output(result)
    for part in ("symsol/archives/images", "voc2012/archives/trainval", "nocs/archives/gts", "lm/archives/train_pbr"):
        assert f"data/{part}.unpacked.json" in output(result)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("tles", "dataset 'tles' is not known; did you mean 'tless'?"),
        ("hbs", "it is part of 'hb'"),
        ("nocs", "is not in BOP format, .* `snakemake data/nocs` fetches it"),
    ],
)
def test_datasets_that_have_no_results_are_refused_by_one_sentence(name: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        objects(load(CONFIG), name)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"scenes": "0-x"}, "datasets.tless: '0-x' is neither a number nor a range such as 0-4"),
        ({"scenes": "60"}, "datasets.tless: scenes: '60' leaves no scene to train on"),
        ({"train": ["train_pbrr"]}, "datasets.tless: train: 'train_pbrr' is not known; did you mean 'train_pbr'?"),
        ({"parts": ["test_all"]}, "datasets.tless: part 'test_all' is not known; known: base, models"),
        ({"test": "test_primesense_al"}, "did you mean 'test_primesense_all'?"),
    ],
)
def test_a_wrong_choice_gives_one_sentence(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError) as error:
        load({**CONFIG, "datasets": {"tless": {"source": "catalogue", **changes}}})
    assert sentence in str(error.value)


def test_a_choice_of_parts_scenes_and_training_images() -> None:
    assert Choice("lmo").parts_to_fetch == [
        ("lmo", "base"),
        ("lmo", "models"),
        ("lmo", "test_bop19"),
        ("lm", "train_pbr"),
    ]
    assert Choice("lmo", scenes="0-1 7").training_scenes == [f"lm/train_pbr/00000{n}" for n in (0, 1, 7)]
    assert Choice("tless", test="test_primesense_all").parts_for("test") == ["test_primesense_all"]
    assert Choice("hb", split="val_primesense").parts_for("test") == ["val_primesense"]
    real = Choice("tudl", train=("train_pbr", "train_real"))
    assert real.training_scenes[49:] == ["tudl/train_pbr/000049", *(f"tudl/train_real/00000{n}" for n in (1, 2, 3))]
    assert Choice("tless", train=()).training_parts == []
    assert Choice("tyol").training_parts == []
    assert Choice("nocs").parts_to_fetch[0] == ("nocs", "real_test")
    assert Choice("tless", parts=("models",)).parts_to_fetch == [("tless", "models")]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    (tmp_path / "hub").mkdir()
    server = Hub(tmp_path / "hub")
    yield server
    server.close()


@pytest.mark.skipif(shutil.which("zip") is None, reason="needs the program zip (packages-test.txt)")
def test_a_dataset_is_fetched_by_the_graph_that_is_killed_and_goes_on(fresh: Project, hub: Hub) -> None:
    expected = small_tudl(hub)
    hub.go_wrong({"/content/": ["*slow:0.1"]})
    fresh.environment |= {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = fresh.snakemake_command("data/tudl", "--cores", "2", "--config", "keep_archives=false")
    process = subprocess.Popen(
        command, cwd=fresh.path, env=fresh.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not list(fresh.path.glob("data/tudl/archives/.tudl_*.part")):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)  # its jobs live on for a while, beside the next run
    process.wait()
    hub.go_wrong({})
    result = fresh.run(command)
    assert result.returncode == 0, output(result)
    assert tree(fresh.path / "data/tudl") == expected
    # The licence is printed once for all jobs and runs, here by the run that was killed, and kept.
    assert (fresh.path / "data/tudl/archives/licence.txt").read_text() == "cc-by-4.0\n"
    assert "fetch_dataset.py --dataset tudl" in output(result), "the plan is shown, not only logged"
    left = {path.name for path in (fresh.path / "data/tudl/archives").iterdir() if not path.name.startswith(".")}
    parts = ("base", "models", "test_bop19", "train_pbr")
    assert left == {"lock.json", "licence.txt", *(f"{part}.unpacked.json" for part in parts)}
    assert "Nothing to be done" in output(fresh.run(command))
