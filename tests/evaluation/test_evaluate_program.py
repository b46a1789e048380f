"""The programs as a user runs them: outputs, exit codes, one sentence for bad input, nothing written then."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pose_models.datasets.estimates import write_estimates

ROOT = Path(__file__).resolve().parents[2]


def run(program, *arguments):
    command = [sys.executable, str(ROOT / "workflow_scripts" / program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def result_file(tmp_path, noisy):
    write_estimates(tmp_path / "noisy_made-test.csv", noisy)
    return tmp_path / "noisy_made-test.csv"


def test_scores_are_written_with_provenance_and_printed(made_dataset, result_file, tmp_path):
    done = run("evaluate.py", "--dataset", made_dataset, "--estimates", result_file, "--out", tmp_path / "s.json")
    assert done.returncode == 0, done.stderr
    scores = json.loads((tmp_path / "s.json").read_text())
    for key in ("protocol", "bop19_average_recall", "per_object", "per_scene", "curves", "counts", "seconds_per_image",
                "intervals", "by_visibility", "by_distance_mm", "perfect_ranking", "provenance", "inputs"):  # fmt: skip
        assert key in scores
    assert result_file.name in done.stdout
    assert done.stdout.strip().endswith(f"wrote {tmp_path / 's.json'}")


def test_it_needs_neither_torch_nor_numba_once_compiled(made_dataset, result_file, tmp_path):
    code = (
        "import sys, runpy; sys.argv = sys.argv[1:]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'trimesh', 'matplotlib', 'numba', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    script = ROOT / "workflow_scripts" / "evaluate.py"
    arguments = ["--dataset", made_dataset, "--estimates", result_file, "--out", tmp_path / "s.json"]
    for _ in range(2):  # the first run compiles where that has not been done
        done = subprocess.run(
            [sys.executable, "-c", code, str(script), *map(str, arguments)], capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr


def test_several_files_give_several_scores(made_dataset, result_file, perfect, tmp_path):
    other = tmp_path / "perfect_made-test.csv"
    write_estimates(other, perfect)
    outs = [tmp_path / "a.json", tmp_path / "b.json"]
    done = run("evaluate.py", "--dataset", made_dataset, "--estimates", result_file, other, "--out", *outs)
    assert done.returncode == 0, done.stderr
    assert json.loads(outs[1].read_text())["bop19_average_recall"] == pytest.approx(1.0)
    assert json.loads(outs[0].read_text())["bop19_average_recall"] < 0.9


def edit(path, line, text):
    lines = path.read_text().splitlines()
    lines[line - 1] = text(lines[line - 1])
    path.write_text("\n".join(lines) + "\n")


BAD_FILES = {
    "eight fields": (lambda p: edit(p, 3, lambda s: s + ",1"), "line 3: 8 fields"),
    "no number": (lambda p: edit(p, 4, lambda s: s.replace(",", ",nan,", 1)), "line 4: 8 fields"),
    "unknown scenes": (
        lambda p: p.write_text(p.read_text().replace("\n1,", "\n81,").replace("\n2,", "\n82,")),
        "scene 81 is unknown",
    ),
    "missing": (lambda p: p.unlink(), "file not found"),
}


@pytest.mark.parametrize("fault", BAD_FILES)
def test_bad_result_files_are_refused_and_nothing_is_written(made_dataset, result_file, tmp_path, fault):
    spoil, expected = BAD_FILES[fault]
    spoil(result_file)
    done = run("evaluate.py", "--dataset", made_dataset, "--estimates", result_file, "--out", tmp_path / "s.json")
    assert done.returncode == 2
    assert str(result_file) in done.stderr
    assert expected in done.stderr.splitlines()[-1]
    assert not (tmp_path / "s.json").exists()


def test_missing_evaluation_models_are_named(made_dataset, result_file, tmp_path):
    copy = tmp_path / "made"
    shutil.copytree(made_dataset, copy)
    shutil.rmtree(copy / "models_eval")
    done = run("evaluate.py", "--dataset", copy, "--estimates", result_file, "--out", tmp_path / "s.json")
    assert done.returncode == 2
    assert "models_eval: not found" in done.stderr


def test_check_names_lines(made_dataset, result_file, perfect, tmp_path):
    assert run("evaluate.py", "--dataset", made_dataset, "--estimates", result_file, "--check").returncode == 0
    metres = type(perfect)(**{**perfect.__dict__, "t": perfect.t / 1000, "obj_id": np.where(
        np.arange(len(perfect)) == 3, 44, perfect.obj_id)})  # fmt: skip
    write_estimates(result_file, metres)
    done = run("evaluate.py", "--dataset", made_dataset, "--estimates", result_file, "--check")
    assert done.returncode == 2
    assert "line 5: error: object 44 is not in the dataset" in done.stdout
    assert "metres?" in done.stdout


def test_the_reference_evaluation_is_asked_for_in_one_sentence_where_it_is_missing(made_dataset, result_file, tmp_path):
    pytest.importorskip("importlib.util")
    done = run("evaluate.py", "--dataset", made_dataset, "--estimates", result_file, "--out", tmp_path / "s.json",
               "--evaluator", "bop_toolkit")  # fmt: skip
    assert done.returncode == 2
    assert "bop_toolkit_lib is not installed" in done.stderr


def test_comparison_is_written(made_dataset, result_file, perfect, tmp_path):
    other = tmp_path / "perfect_made-test.csv"
    write_estimates(other, perfect)
    done = run("compare_estimates.py", "--dataset", made_dataset, "--first", result_file, "--second", other,
               "--out", tmp_path / "c.json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "c.json").read_text())["difference"]["ar"]["value"] > 0


def test_annotation_leaves_what_is_there_and_replaces_it_when_told(made_dataset, tmp_path):
    copy = tmp_path / "made"
    shutil.copytree(made_dataset, copy)
    info = copy / "test" / "000001" / "scene_gt_info.json"
    before = info.read_text()
    info.write_text("{}")
    assert "left as it is" in run("annotate.py", "--dataset", copy).stdout
    assert info.read_text() == "{}"
    assert run("annotate.py", "--dataset", copy, "--overwrite").returncode == 0
    assert json.loads(info.read_text()) == json.loads(before)
