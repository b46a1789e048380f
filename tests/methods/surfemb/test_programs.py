"""train.py and infer.py as programs: a checkpoint that learns, the same estimates again, resumed inference."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from pose_models.datasets.estimates import read_estimates
from pose_models.files import InputError
from pose_models.methods.partial import PartialResults
from pose_models.methods.passes import read_passes
from pose_models.methods.registry import FAMILIES, family
from tests.methods.conftest import SCRIPTS, run

NETWORK = ["network.backbone=small", "network.separate_decoders=false", "network.key_width=32", "crop.side=64",
           "crop.min_visib_px=50", "loss.positives=32", "loss.negatives=32", "train.steps=30", "train.batch_size=4",
           "train.chunk_steps=15", "train.warmup_steps=0", "train.valid_items=2", "train.wandb=disabled",
           "loss.lr_image=1e-3"]  # fmt: skip
INFER = ["infer.hypotheses=200", "infer.scored=50", "infer.refine_steps=5"]


@pytest.fixture(scope="module")
def checkpoint(small, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "model.ckpt"
    run("train.py", "--family", "surfemb", "--set", *NETWORK, "--models", small / "models", "--scenes",
        small / "train_synt" / "000000", "--out", out, "--device", "cpu", "--workers", 0)  # fmt: skip
    return out


def _infer(small, checkpoint, out, *settings, detections=None):
    return run("infer.py", "--family", "surfemb", "--set", *NETWORK, *INFER, *settings, "--checkpoint", checkpoint,
               "--dataset", small, "--detections", detections or small / "simulated.json", "--surface",
               small / "surface", "--out", out, "--device", "cpu")  # fmt: skip


def _columns(path):
    estimates = read_estimates(path)
    return np.column_stack([estimates.obj_id, estimates.score, estimates.R.reshape(-1, 9), estimates.t])


def test_training_lowers_the_loss(checkpoint):
    lines = (checkpoint.parent / "train" / "metrics.csv").read_text().splitlines()
    names = lines[0].split(",")
    losses = [float(row[names.index("valid/loss")]) for row in (line.split(",") for line in lines[1:])
              if row[names.index("valid/loss")]]  # fmt: skip
    assert losses[-1] < losses[0]


def test_one_job_and_several_give_the_same_estimates_and_an_inspection(small, checkpoint, tmp_path):
    whole, parts, joined = tmp_path / "whole", [tmp_path / "parts" / n for n in "01"], tmp_path / "joined"
    _infer(small, checkpoint, whole / "estimates.csv")
    files = [tmp_path / "detections" / f"{part.name}.json" for part in parts]
    run("split_detections.py", "--detections", small / "simulated.json", "--out", *files)
    for part, file in zip(parts, files, strict=True):
        _infer(small, checkpoint, part / "estimates.csv", detections=file)
    found = [part / "estimates.csv" for part in parts]
    run("join_estimates.py", "--parts", *found, "--out", joined / "estimates.csv")
    first, second = (_columns(folder / "estimates.csv") for folder in (whole, joined))
    assert len(first)
    np.testing.assert_array_equal(first, second)
    assert 0 < len(_columns(found[0])) < len(first)
    for folder in (whole, joined):
        assert json.loads((folder / "settings.json").read_text())["infer"]["hypotheses"] == 200
        views, poses = np.load(folder / "inspect.npz"), np.load(folder / "poses.npz")
        assert views["crop"].shape[1:] == (64, 64, 3)
        assert len(views["index"]) == len(views["T_est"]) == len(views["key_vis"])
        assert poses["T"].shape == (len(poses["index"]), 2, 4, 4)
        assert read_passes(folder / "poses.npz").names == ("search", "refinement")
    np.testing.assert_array_equal(np.load(whole / "poses.npz")["T"], np.load(joined / "poses.npz")["T"])


def test_the_folder_of_the_models_is_the_one_that_the_dataset_names(small, checkpoint, tmp_path):
    """As T-LESS has no `models` but `models_cad`."""
    named = tmp_path / "named"
    shutil.copytree(small, named)
    (named / "models").rename(named / "models_cad")
    (named / "dataset.yaml").write_text("models: models_cad\n")
    _infer(named, checkpoint, tmp_path / "named.csv")
    assert len(_columns(tmp_path / "named.csv"))


def test_more_jobs_than_images_are_one_sentence(small, tmp_path):
    many = [tmp_path / f"{n}.json" for n in range(99)]
    command = [
        sys.executable,
        SCRIPTS / "split_detections.py",
        "--detections",
        small / "simulated.json",
        "--out",
        *many,
    ]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "images cannot be dealt out to 99 jobs" in done.stderr
    assert not list(tmp_path.glob("*.json"))


def test_a_cut_inference_goes_on_where_it_was(small, checkpoint, tmp_path):
    out = tmp_path / "estimates.csv"
    _infer(small, checkpoint, out)
    expected = _columns(out)
    with PartialResults(tmp_path / "other.csv", key="x") as partial:
        partial.add("1/0", [{"row": 0}])
    assert not partial.path.exists()
    np.testing.assert_array_equal(_columns(out), expected)


def test_partial_results_survive_a_kill_and_other_settings_do_not_reuse_them(tmp_path):
    program = (
        "import os, sys; from pathlib import Path; from pose_models.methods.partial import PartialResults\n"
        "with PartialResults(Path(sys.argv[1]), 'key') as partial:\n"
        "    partial.add('1/0', [{'row': 0, 'x': 0.1}])\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    out = tmp_path / "estimates.csv"
    assert subprocess.run([sys.executable, "-c", program, str(out)], check=False).returncode == -9
    with out.with_name(".estimates.csv.partial").open("a") as stream:
        stream.write('{"key": "key", "name": "1/1", "rec')  # what a kill in the middle of a line leaves
    with PartialResults(out, "other") as partial:
        assert partial.done == {}
    subprocess.run([sys.executable, "-c", program, str(out)], check=False)
    with PartialResults(out, "key") as partial:
        assert partial.done == {"1/0": [{"row": 0, "x": 0.1}]}


def test_settings_that_do_not_fit_the_checkpoint_are_refused(small, checkpoint, tmp_path):
    command = [sys.executable, SCRIPTS / "infer.py", "--family", "surfemb", "--checkpoint", checkpoint, "--dataset",
               small, "--detections", small / "simulated.json", "--surface", small / "surface", "--out",
               tmp_path / "e.csv", "--device", "cpu"]  # fmt: skip
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "was trained with other network or crop settings" in done.stderr
    assert not (tmp_path / "e.csv").exists()


def test_unknown_methods_and_settings_name_the_nearest():
    with pytest.raises(InputError, match="'surfembb' is not a known method; did you mean 'surfemb'"):
        family("surfembb")
    from pose_models.settings import resolve

    with pytest.raises(InputError, match=r"train\.stepps is not a known key; did you mean 'steps'"):
        resolve(FAMILIES["surfemb"].settings_model(), ["train.stepps=3"])
    with pytest.raises(InputError, match="multiple of 32"):
        resolve(FAMILIES["surfemb"].settings_model(), ["crop.side=80"])


def test_every_family_has_settings_with_its_training_sections():
    for chosen in FAMILIES.values():
        sections = set(chosen.settings_model().model_fields)
        assert set(chosen.train_sections) < sections
        assert json.loads(chosen.settings_model()().model_dump_json())


def test_a_training_starts_from_the_weights_of_another_on_the_same_objects(small, checkpoint, tmp_path):
    import torch

    from pose_models.methods.surfemb.model import load_model

    def command(out, *options):
        settings = ("--set", *NETWORK, "train.steps=0", "train.seed=7")
        inputs = ("--models", small / "models", "--scenes", small / "train_synt" / "000000", "--start", checkpoint)
        return ("train.py", "--family", "surfemb", *settings, *inputs, "--out", out, "--device", "cpu", *options)

    run(*command(tmp_path / "a.ckpt"))
    started, source = load_model(tmp_path / "a.ckpt"), load_model(checkpoint)
    for name, value in source.state_dict().items():
        torch.testing.assert_close(started.state_dict()[name], value, rtol=0, atol=0)
    program, *arguments = command(tmp_path / "b.ckpt", "--objects", 1, 2)
    done = subprocess.run(
        [sys.executable, SCRIPTS / program, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "was trained on objects [1, 2, 3], the run is on [1, 2]" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "b.ckpt").exists()
