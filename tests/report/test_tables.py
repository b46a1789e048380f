"""A paper's tables: published numbers beside what lies under results/, and what is missing with its reason."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pose_models.files import InputError, write_json
from pose_models.report import published
from pose_models.report.published import Paper, paper_names, read_paper
from pose_models.report.tables import gather, html, markdown
from pose_models.settings import validate
from pose_models.workflow import DEFAULT_RUNS

SCRIPT = Path(__file__).parents[2] / "workflow_scripts" / "make_table.py"
SMALL = {
    "title": "A <paper>", "authors": "A. Author", "venue": "X 2020", "link": "https://example.org/x",
    "tables": [{
        "title": "recall", "source": "table 1", "score": "bop19_average_recall",
        "columns": [{"name": "One", "dataset": "one"}, {"name": "obj 5", "dataset": "two", "score": "per_object.5.ar"}],
        "rows": [{"name": "m", "run": "a", "runs": {"two": "b"}, "values": [50.0, 20.0], "mean": 35.0, "seconds": 2},
                 {"name": "other", "values": [40.0, None]}],
    }],
}  # fmt: skip


def paper(**changes) -> Paper:
    table = {**SMALL["tables"][0], **changes}
    return validate(Paper, {**SMALL, "tables": [table]}, "small")


def scores(results: Path, dataset: str, run: str, **content) -> Path:
    path = results / dataset / run / content.pop("file", "scores.json")
    write_json(path, {"protocol": "bop19", "seconds_per_image": 0.5, **content})
    return path


@pytest.mark.parametrize("name", paper_names())
def test_every_paper_can_be_read_and_names_runs_that_are_there(name, tmp_path):
    assert {run for _, run, _ in read_paper(name).results()} <= set(DEFAULT_RUNS)
    content = gather(read_paper(name), tmp_path / "results", tmp_path / "data")
    assert json.loads(json.dumps(content)) == content


def test_published_means_are_those_of_the_published_values():
    for name in paper_names():
        for table in read_paper(name).tables:
            for row in table.rows:
                if row.mean is not None and row.values and None not in row.values:
                    assert row.mean == pytest.approx(sum(row.values) / len(row.values), abs=0.06), row.name


def test_ours_stands_beside_the_published_number(tmp_path):
    scores(tmp_path, "one", "a", bop19_average_recall=0.625)
    scores(tmp_path, "two", "b", per_object={"5": {"ar": 0.125}}, seconds_per_image=-1)
    write_json(tmp_path / "one" / "a" / "inference.json", {"device": "a GPU"})
    (row, other), missing = (gather(paper(), tmp_path, tmp_path)["tables"][0][key] for key in ("rows", "missing"))
    assert [cell["ours"] for cell in row["cells"]] == [62.5, 12.5]
    assert [cell["difference"] for cell in row["cells"]] == [12.5, -7.5]
    assert row["mean"] == {"published": 35.0, "ours": 37.5, "difference": 2.5}
    assert row["seconds"] == {"published": 2.0, "ours": 0.5}
    assert row["devices"] == ["a GPU"]
    assert [cell["ours"] for cell in other["cells"]] == [None, None]
    assert missing == []
    page = html(gather(paper(), tmp_path, tmp_path))
    assert "A &lt;paper&gt;" in page
    assert "+12.5" in page
    assert re.search(r'behind">-7\.5', page)
    assert "| ours (a) | 62.5 | 12.5 | 37.5 | 0.50 |" in markdown(gather(paper(), tmp_path, tmp_path))


def test_lower_may_be_better(tmp_path):
    scores(tmp_path, "one", "a", bop19_average_recall=0.625)
    assert re.search(r'behind">\+12\.5', html(gather(paper(better="lower"), tmp_path, tmp_path)))


def test_what_is_missing_is_named_with_its_reason(tmp_path):
    results, data = tmp_path / "results", tmp_path / "data"

    def reason():
        (table,) = gather(paper(), results, data)["tables"]
        assert table["rows"][0]["mean"]["ours"] is None
        return next(entry["reason"] for entry in table["missing"] if entry["column"] == "One")

    assert reason() == "not run yet; the dataset is not here and will be fetched"
    (data / "one").mkdir(parents=True)
    assert reason() == "not run yet"
    run = results / "one" / "a"
    run.mkdir(parents=True)
    (run / "model.ckpt").touch()
    assert reason() == "trained, no estimates yet"
    (run / "estimates.csv").touch()
    assert reason() == "estimates are there, not scored yet"
    scores(results, "one", "a", protocol="classic")
    assert reason() == "scored, but not with protocol bop19"
    scores(results, "one", "a", file="scores_bop19.json", bop19_mean=1)
    assert reason() == "its scores have no number 'bop19_average_recall'"


def test_hidden_ground_truth_is_a_reason_of_its_own(tmp_path):
    surfemb = gather(read_paper("surfemb"), tmp_path / "results", tmp_path / "data")["tables"][0]["missing"]
    hidden = {entry["column"]: entry for entry in surfemb if "hidden ground truth" in entry["reason"]}
    assert set(hidden) == {"ITODD", "HB"}
    assert hidden["HB"]["command"].endswith("hb/surfemb-rgbd/scores.json")


def test_simulated_boxes_are_said(tmp_path):
    scores(tmp_path, "one", "a", bop19_average_recall=0.6)
    write_json(tmp_path / "one" / "detections" / "simulated.json", [])
    assert "Boxes of One are simulated" in markdown(gather(paper(), tmp_path, tmp_path))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("title: [", "not valid YAML"),
        ("title: x", "authors is missing"),
        (json.dumps({**SMALL, "tables": [{**SMALL["tables"][0], "rows": [{"name": "r", "values": [1]}]}]}),
         "row 'r' has 1 values for 2 columns"),
        (json.dumps({**SMALL, "tables": [{**SMALL["tables"][0], "rows": [{"name": "r", "runs": {"x": "a"}}]}]}),
         "no column is of dataset 'x'"),
    ],
)  # fmt: skip
def test_wrong_files_give_one_sentence(monkeypatch, tmp_path, text, sentence):
    monkeypatch.setattr(published, "FOLDER", tmp_path)
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_paper("mine")


def test_the_program_writes_three_files_and_refuses_unknown_papers(tmp_path):
    scores(tmp_path, "lmo", "surfemb", bop19_average_recall=0.66)
    command = [
        sys.executable,
        SCRIPT,
        "--results",
        tmp_path,
        "--data",
        tmp_path,
        "--out",
        tmp_path / "t" / "surfemb.html",
    ]
    done = subprocess.run([*map(str, command), "--paper", "surfemb"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "2 of 28 numbers are there" in done.stdout  # LM-O stands in two rows: it has no real images
    content = json.loads((tmp_path / "t" / "surfemb.json").read_text())
    assert content["tables"][0]["rows"][0]["cells"][0]["difference"] == pytest.approx(0.4)
    assert {path.suffix for path in (tmp_path / "t").iterdir()} == {".html", ".json", ".md"}
    done = subprocess.run([*map(str, command), "--paper", "surfem"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "paper 'surfem' is not known; did you mean 'surfemb'?" in done.stderr
