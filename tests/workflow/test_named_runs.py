"""Named runs of the paper: who is trained on what, who shares a checkpoint, what the graph of each dataset is."""

from __future__ import annotations

import json
import re

import pytest

from pose_models.datasets.catalogue import published
from pose_models.files import InputError
from pose_models.workflow import DEFAULT_RUNS, CatalogueDataset, FolderDataset, WorkflowSettings, load
from tests.workflow.project import Project, output

DATASETS = ("lmo", "tless", "tudl", "icbin", "itodd", "hb", "ycbv")
REAL = {"tless": "train_primesense", "tudl": "train_real", "ycbv": "train_real"}


def test_real_images_are_used_where_the_paper_uses_them() -> None:
    settings = WorkflowSettings()
    assert {name: settings.real_images(name) for name in DATASETS} == {name: REAL.get(name) for name in DATASETS}
    for name, folder in REAL.items():
        assert any(part.split == folder and part.scenes for part in published(name).parts.values())


@pytest.mark.parametrize("dataset", DATASETS)
def test_runs_that_differ_in_inference_only_share_a_checkpoint(dataset: str) -> None:
    settings = WorkflowSettings()
    shared = {run: settings.checkpoint_run(dataset, run) for run in DEFAULT_RUNS if run.startswith("surfemb")}
    real = "surfemb-real" if dataset in REAL else "surfemb"
    assert shared["surfemb"] == shared["surfemb-rgbd"] == shared["surfemb-faithful"] == "surfemb"
    assert shared["surfemb-real"] == shared["surfemb-real-rgbd"] == real
    assert shared["surfemb-shared-decoder"] == "surfemb-shared-decoder"
    assert settings.runs_of(dataset) == [
        "surfemb", "surfemb-rgbd", *(("surfemb-real", "surfemb-real-rgbd") if dataset in REAL else ())
    ]  # fmt: skip


def test_a_run_on_real_images_stays_where_nothing_stands_for_it() -> None:
    only_real = FolderDataset(source="folder", runs=("surfemb-real",))
    settings = WorkflowSettings(datasets={"mine": only_real, "other": only_real.model_copy(update={"train_real": "r"})})
    assert settings.runs_of("mine") == ["surfemb-real"]
    real, plain = (DEFAULT_RUNS[name] for name in ("surfemb-real", "surfemb"))
    assert settings.further_images("mine", real) == settings.further_images("other", plain) == ()
    assert settings.further_images("other", real) == ("r",)


def test_settings_of_the_runs_are_those_they_are_named_after() -> None:
    settings = {run: DEFAULT_RUNS[run].settings() for run in DEFAULT_RUNS if run.startswith("surfemb")}
    assert settings["surfemb-rgbd"].infer.depth
    assert settings["surfemb-faithful"].infer.faithful
    assert not settings["surfemb-shared-decoder"].network.separate_decoders
    assert settings["surfemb-real"] == settings["surfemb"]


def test_the_whole_graph_of_the_paper_is_planned_with_nothing_there(fresh: Project) -> None:
    result = fresh.snakemake("-n", *(f"results/{name}/scores.json" for name in DATASETS))
    assert result.returncode == 0, output(result)
    commands = [line for line in output(result).splitlines() if line.startswith("Shell command: ")]
    trained = {}
    for line in commands:
        if "train.py" in line:
            dataset, run = re.search(r"--out results/(\w+)/([a-z-]+)/model\.ckpt", line).groups()
            trained[dataset, run] = set(re.findall(r"data/\w+/(\w+)/\d{6}", line))
    expected = {(name, "surfemb"): {"train_pbr"} for name in DATASETS}
    assert trained == expected | {(name, "surfemb-real"): {"train_pbr", folder} for name, folder in REAL.items()}
    inferred = {tuple(found.groups()) for line in commands if "infer.py" in line
                and (found := re.search(r"--out results/(\w+)/([a-z-]+)/estimates\.csv", line))}  # fmt: skip
    assert len(inferred) == 2 * len(DATASETS) + 2 * len(REAL)


def test_a_table_takes_what_is_there_and_is_made_again_when_more_is(fresh: Project) -> None:
    target = "results/tables/surfemb.html"
    result = fresh.snakemake(target)
    assert result.returncode == 0, output(result)
    table = fresh.path / "results/tables/surfemb.json"
    rows = json.loads(table.read_text())["tables"][0]["rows"]
    assert {cell["ours"] for row in rows for cell in row["cells"]} == {None}
    scores = fresh.path / "results/lmo/surfemb/scores.json"
    scores.parent.mkdir(parents=True)
    scores.write_text(json.dumps({"protocol": "bop19", "bop19_average_recall": 0.7, "seconds_per_image": 1.0}))
    result = fresh.snakemake(target)
    assert result.returncode == 0, output(result)
    assert "rule train:" not in output(result)
    assert json.loads(table.read_text())["tables"][0]["rows"][0]["cells"][0]["ours"] == 70.0
    everything = fresh.snakemake("-n", target, "--config", "complete_tables=true")
    assert everything.returncode == 0, output(everything)
    wanted = set(re.findall(r"--out results/(\w+)/[a-z-]+/scores\.json", output(everything)))
    assert wanted == {"lmo", "tless", "tudl", "icbin", "ycbv"}  # the others' ground truth is not public


def test_runs_of_cosypose_are_those_of_the_challenge() -> None:
    chosen = DEFAULT_RUNS["cosypose-pbr"].settings()
    assert chosen.train.steps * chosen.train.batch_size == pytest.approx(700 * 115_200, rel=1e-4)  # cosypose.md 6.5
    assert (chosen.infer.coarse_iterations, chosen.infer.refiner_iterations) == (1, 4)
    for views in (4, 5, 8):
        assert DEFAULT_RUNS[f"cosypose-synt+real-{views}view"].settings().views == views
    with pytest.raises(ValueError, match="choose another name"):
        WorkflowSettings(runs={**DEFAULT_RUNS, "a b": DEFAULT_RUNS["cosypose-pbr"]})


@pytest.mark.parametrize("dataset", DATASETS)
def test_real_images_are_added_to_the_weights_of_the_rendered_ones(dataset: str) -> None:
    """The mix of cosypose.md 13; where there is no real image, the run on rendered ones stands for it."""
    settings, run = WorkflowSettings(), DEFAULT_RUNS["cosypose-synt+real"]
    further = {"tless": ("train_primesense",), "tudl": ("train_real",), "ycbv": ("train_real", "train_synt")}
    assert settings.further_images(dataset, run) == further.get(dataset, ())
    assert settings.further_images(dataset, settings.detectors["maskrcnn-real"]) == further.get(dataset, ())
    stands = "cosypose-synt+real" if dataset in REAL else "cosypose-pbr"
    for name in ("cosypose-synt+real", "cosypose-pbr"):
        chosen = settings.model_copy(update={"datasets": {dataset: CatalogueDataset(runs=(name, "cosypose-pbr"))}})
        assert chosen.checkpoint_run(dataset, "cosypose-synt+real") == stands
        assert chosen.checkpoint_run(dataset, "cosypose-pbr") == "cosypose-pbr"


def test_folders_that_a_dataset_is_trained_on_anyway_are_not_taken_twice() -> None:
    chosen = CatalogueDataset(train=("train_pbr", "train_real"))
    settings = WorkflowSettings(datasets={"ycbv": chosen})
    assert settings.further_images("ycbv", DEFAULT_RUNS["cosypose-synt+real"]) == ("train_synt",)


def test_the_whole_of_cosyposes_tables_is_planned_with_what_runs_start_from(fresh: Project) -> None:
    others = ("results/lmo/cosypose-synt+real/estimates.csv", "--config", "complete_tables=true")
    result = fresh.snakemake("-np", "results/tables/cosypose.html", *others)
    assert result.returncode == 0, output(result)
    commands = [line for line in output(result).splitlines() if line.startswith("Shell command: ")]
    trained = {
        tuple(re.search(r"--out results/(\w+)/([a-z+-]+)/model\.ckpt", line).groups()): line
        for line in commands if "train.py" in line
    }  # fmt: skip
    real = {(name, "cosypose-synt+real") for name in REAL}
    assert set(trained) == real | {(name, "cosypose-pbr") for name in ("lmo", "tless", "tudl", "icbin", "ycbv")}
    assert {name for name, line in trained.items() if "--start" in line} == real
    assert "--start results/ycbv/cosypose-pbr/model.ckpt" in trained["ycbv", "cosypose-synt+real"]
    scenes = set(re.findall(r"data/ycbv/(\w+)/\d{6}", trained["ycbv", "cosypose-synt+real"]))
    assert scenes == {"train_pbr", "train_real", "train_synt"}
    lmo = [line for line in commands if "infer.py" in line and "data/lmo" in line]
    assert len(lmo) == 2
    assert all("--checkpoint results/lmo/cosypose-pbr/model.ckpt" in line for line in lmo)
    pattern = r"data/(\w+) .*/cosypose-synt\+real(\S*)/estimates\.csv --protocol (\S+)"
    scored = {found.groups() for line in commands if (found := re.search(pattern, line))}
    auc = {("ycbv", f"-{views}view", "ycbv-auc") for views in (4, 5, 8)}
    vivo = {("tless", f"-{views}view", "tless-vivo") for views in (4, 8)}
    single = {("ycbv", "", "ycbv-auc"), ("tless", "", "tless-siso"), ("tless", "", "tless-vivo")}
    assert {entry for entry in scored if entry[2] != "bop19"} == auc | vivo | single
    several = {(name, f"-{views}view", "bop19") for name in ("tless", "ycbv") for views in (4, 8)}
    assert several <= scored


def test_a_learnt_stage_is_planned_with_the_training_of_its_weights(fresh: Project) -> None:
    weights = "results/{dataset}/cosypose-small/model.ckpt"
    run = f"{{family: cosypose-refiner, candidates: surfemb-small, checkpoint: '{weights}'}}"
    result = fresh.snakemake(
        "-np", "results/demo/refined/scores.json", "--config", f"runs={{refined: {run}}}", "gpus=0"
    )
    assert result.returncode == 0, output(result)
    commands = [line for line in output(result).splitlines() if line.startswith("Shell command: ")]
    (line,) = (line for line in commands if "refine_render.py" in line)
    assert "--estimates results/demo/surfemb-small/estimates.csv" in line
    assert "--checkpoint results/demo/cosypose-small/model.ckpt --device cpu" in line
    assert sorted(re.findall(r"--family (\w+) .*--out results/demo/(\S+)/model\.ckpt", "\n".join(commands))) == [
        ("cosypose", "cosypose-small"), ("surfemb", "surfemb-small"),
    ]  # fmt: skip


def test_a_run_is_trained_anew_when_what_it_starts_from_changes() -> None:
    base, longer = {"family": "cosypose"}, {"family": "cosypose", "set": {"train": {"steps": 10}}}
    runs = {"a": base, "b": longer, "from_a": {**base, "start": "a"}, "from_b": {**base, "start": "b"}}
    settings = WorkflowSettings.model_validate({"runs": {**DEFAULT_RUNS, **runs}})
    assert len({settings.training_digest(name) for name in ("a", "from_a", "from_b")}) == 3
    assert settings.checkpoint_run("demo", "from_a") == "from_a"


@pytest.mark.parametrize(
    ("run", "sentence"),
    [
        ({"family": "cosypose", "start": "cosypose-pbx"}, "runs.x.start: 'cosypose-pbx' is not known; did you mean"),
        ({"family": "cosypose", "start": "x"}, "runs.x.start: leads back to 'x'"),
        ({"family": "cosypose", "start": "surfemb"}, "runs.x.start: 'surfemb' is of family surfemb, not cosypose"),
        ({"family": "cosypose", "start": "cosypose-small"}, "'cosypose-small' has network.backbone=matching, this run"),
        ({"family": "icp", "candidates": "surfemb", "start": "surfemb"}, "runs.x.start: `icp` is not trained"),
        ({"family": "surfemb", "start": "surfemb", "checkpoint": "m.ckpt"}, "nothing is trained where a checkpoint"),
        ({"family": "cosypose-refiner", "candidates": "surfemb"}, "runs.x.checkpoint: of `cosypose-refiner`: name one"),
        ({"family": "icp", "candidates": "surfemb", "checkpoint": "m.ckpt"}, "of `icp`: there is none; leave the key"),
    ],
)
def test_a_start_that_cannot_be_gives_one_sentence(run: dict[str, str], sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        load({"runs": {**{name: entry.model_dump() for name, entry in DEFAULT_RUNS.items()}, "x": run}})


def test_a_dataset_is_scored_as_its_papers_score_it() -> None:
    settings = WorkflowSettings()
    reported = {name: settings.dataset(name).protocols for name in DATASETS}
    further = {"tless": ("tless-siso", "tless-vivo"), "ycbv": ("ycbv-auc",)}
    assert reported == {name: ("bop19", *further.get(name, ())) for name in DATASETS}
    chosen = WorkflowSettings(datasets={"tless": CatalogueDataset(protocols=("bop19",))})
    assert chosen.dataset("tless").protocols == ("bop19",)
