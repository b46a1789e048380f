"""The report as a whole: complete, self-contained, honest about what is missing."""

import base64
import html.parser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from pose_models.datasets.estimates import read_estimates, write_estimates
from pose_models.evaluation.protocols import Run, score_files
from pose_models.evaluation.world import World
from pose_models.files import InputError, read_json, write_json
from pose_models.report.gather import read_benchmarks, read_metrics
from pose_models.report.page import ReportInputs, inline_svg, render, seconds_text

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = ["scores", "objects", "bins", "photos", "crops", "images", "training", "times", "graph", "settings"]
VOID = {"meta", "br", "input", "img", "link", "hr"}


class _Page(html.parser.HTMLParser):
    """Tags, ids, links and texts of a page; complains about tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [value for key, value in attrs if key in ("href", "src", "xlink:href", "action", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.links += [value for key, value in attrs if key in ("href", "src", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))


@pytest.fixture
def graph(tmp_path) -> Path:
    path = tmp_path / "graph.svg"
    path.write_text('<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><rect/></svg>')
    return path


@pytest.fixture
def page(dataset, results, detections, graph) -> str:
    return render(ReportInputs(dataset.root, results, ("exact", "bare"), "test", detections, graph))


def test_every_section_is_there(page):
    ids = _Page(page).ids
    assert [name for name in ids if name in SECTIONS] == SECTIONS


def test_page_loads_nothing_from_outside(page):
    for link in _Page(page).links:
        assert link.startswith(("data:image/", "#")), link[:80]
    assert not re.search(r"(https?:)?//[a-z]", re.sub(r"base64,[A-Za-z0-9+/=]+", "", page))
    assert "@import" not in page
    assert not re.search(r"url\(", page)


def test_every_picture_decodes(page):
    uris = [link for link in _Page(page).links if link.startswith("data:")]
    # Four crops of five pictures; of two runs: two images, four close-ups.
    assert len(uris) == 4 * 5 + 2 * (2 + 4)
    for uri in uris:
        content = np.frombuffer(base64.b64decode(uri.partition("base64,")[2]), np.uint8)
        assert cv2.imdecode(content, cv2.IMREAD_UNCHANGED) is not None


def test_simulated_detections_are_named_as_such(page):
    assert '<span class="flag">simulated</span>' in page
    assert "Boxes come from the ground truth" in _Page(page).text


def test_scores_of_the_evaluation_are_shown(page, results):
    import json

    scores = json.loads((results / "exact" / "scores.json").read_text())
    text = _Page(page).text
    for key in ("bop19_average_recall", "bop19_average_recall_mssd", "bop19_average_recall_mspd"):
        assert f"{scores[key]:.3f}" in text
    for entry in scores["per_object"].values():
        assert f"{entry['ar']:.3f}" in text


def test_intervals_bins_and_recall_curves_of_the_evaluation_are_shown(page, results):
    import json

    scores = json.loads((results / "exact" / "scores.json").read_text())
    ar = scores["intervals"]["ar"]
    assert f"{ar['low']:.3f} to {ar['high']:.3f}" in _Page(page).text
    assert page.count('class="whisker"') == 4
    assert page.count('class="bars"') == 2 * 3  # two objects, three errors
    text = _Page(page).text
    for entry in scores["by_distance_mm"]:
        assert f"{entry['from']:.0f} to {entry['to']:.0f} mm" in text
    assert len(scores["by_visibility"]) == 1
    assert "0.9 to 1" in text


def test_protocols_of_papers_have_a_table_of_objects(dataset, results, tmp_path):
    shutil.copytree(results / "exact", tmp_path / "exact")
    (scores,) = score_files(World(dataset, "test"), "ycbv-auc", [tmp_path / "exact" / "estimates.csv"], Run())
    write_json(tmp_path / "exact" / "scores_ycbv-auc.json", scores)
    page = render(ReportInputs(dataset.root, tmp_path, ("exact",)))
    table = page[page.index("exact, ycbv-auc: objects, in percent") :]
    table = table[: table.index("</table>")]
    assert re.findall(r'<th class="num">([^<]+)', table) == ["ADD-S", "ADD(-S)", "ADD"]
    rows = re.findall(r'scope="row">([^<]+)</th>(.*?)</tr>', table)
    assert [name for name, _ in rows] == ["1 flat box", "2", "mean"]
    shown = [[float(value) for value in re.findall(r">([\d.]+)<", row)] for _, row in rows]
    own = scores["per_object"]
    for line, obj_id in zip(shown, (1, 2), strict=False):
        np.testing.assert_allclose(line, [100 * own[obj_id][k] for k in ("add_s", "add(-s)", "add")], atol=0.051)
    np.testing.assert_allclose(shown[2], np.mean(shown[:2], axis=0), atol=0.11)
    assert shown[1][2] < 95 < shown[0][2]  # the second object is 20 mm off


def test_perfect_ranking_is_marked_on_the_bars(page, results):
    import json

    scores = json.loads((results / "exact" / "scores.json").read_text())
    assert page.count('class="mark"') == 4
    assert f"{scores['perfect_ranking']['ar']:.3f} AR if the same estimates were ranked perfectly" in _Page(page).text


@pytest.fixture(scope="module")
def compared(dataset, results, tmp_path_factory) -> Path:
    """Results of `exact` and of `bare`, whose object 1 is far off in image 1, and the program's comparison of both."""
    root = tmp_path_factory.mktemp("compared") / "results"
    shutil.copytree(results, root)
    file = root / "bare" / "estimates.csv"
    estimates = read_estimates(file)
    estimates.t[(estimates.im_id == 1) & (estimates.obj_id == 1), 0] += 200
    write_estimates(file, estimates)
    command = [sys.executable, str(ROOT / "workflow_scripts" / "compare_estimates.py"), "--dataset", str(dataset.root)]
    command += ["--first", str(root / "exact" / "estimates.csv"), "--second", str(file)]
    command += ["--out", str(root / "comparisons" / "bare_vs_exact.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return root


def test_comparison_shows_differences_and_the_images_behind_them(dataset, compared):
    page = render(ReportInputs(dataset.root, compared, ("exact", "bare")))
    section = page.partition('<section id="comparisons">')[2].partition("</section>")[0]
    content = read_json(compared / "comparisons" / "bare_vs_exact.json")
    assert content["difference"]["ar"]["value"] < 0
    rows = [content["difference"]["ar"] | {"difference": content["difference"]["ar"]["value"]}]
    for row in (*rows, *content["per_object"].values()):
        assert f"{row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})" in section
    assert "AR of bare minus exact" in section
    # Only image 1 differs: two estimates of either run and the ground truth are drawn over it.
    assert section.count("<image") == 1
    assert "scene 1, image 1 · AR" in section
    assert "image 0" not in section
    for name, count in (("truth", 1), ("first", 2), ("second", 2)):
        assert section.count(f'<path class="{name}"') == count
    assert _Page(page).ids.count("comparisons") == 1


def test_comparison_tolerates_what_is_absent(dataset, compared, tmp_path):
    shutil.copytree(compared, tmp_path / "results")
    file = tmp_path / "results" / "comparisons" / "bare_vs_exact.json"
    elsewhere = {"scene_id": 7, "im_id": 7, "first": 0.1, "second": 0.2}
    write_json(file, {"difference": {"ar": {"value": 0.1}}, "most_different_images": [elsewhere]})
    page = render(ReportInputs(dataset.root, tmp_path / "results", ("exact", "bare")))
    section = page.partition('<section id="comparisons">')[2].partition("</section>")[0]
    assert "<svg" not in section
    file.unlink()
    assert 'id="comparisons"' not in render(ReportInputs(dataset.root, tmp_path / "results", ("exact", "bare")))


def test_a_comparison_that_could_be_made_is_named_as_missing(dataset, results, tmp_path):
    shutil.copytree(results / "exact", tmp_path / "exact")
    shutil.copytree(results / "exact", tmp_path / "other")
    text = _Page(render(ReportInputs(dataset.root, tmp_path, ("exact", "other")))).text
    assert "other: no comparisons/other_vs_exact.json (run compare_estimates.py)" in text


def test_estimates_are_graded_by_their_error(page):
    # Object 1 is exact; object 2 is 20 mm off at a diameter of 65.6 mm: 30.5 %.
    assert page.count('class="estimate good"') == 2 + 2 * (2 + 2)
    assert page.count('class="estimate bad"') == 2 + 2 * (2 + 2)
    assert "30.5 % of d" in page
    assert "no pose found" in page


def test_silhouette_overlap_is_shown_with_reference_and_outline(page):
    text = _Page(page).text
    assert "a ruler" in text
    assert "1.000" in text  # exact poses cover their reference
    assert "IoU with the drawn outline" in text


def test_times_are_summed_over_jobs(results, page):
    stages = {stage.stage: stage for stage in read_benchmarks(results)}
    assert stages["demo scene"].jobs == 2
    assert stages["demo scene"].seconds == 30
    assert stages["demo scene"].longest == 20
    assert stages["demo scene"].peak_mb == 200
    assert stages["train · exact"].cpu_seconds == 150
    assert np.isnan(stages["targets"].peak_mb)
    assert "1 min 23 s" in page


def test_training_log_leaves_out_empty_cells(results):
    metrics = read_metrics(results / "exact" / "train" / "metrics.csv")
    assert metrics["valid/loss"] == [(20, 2.75), (30, 2.5), (40, 2.4)]
    assert len(metrics["train/loss"]) == 4


def test_what_is_missing_is_named(page):
    text = _Page(page).text
    for clause in ("bare: no scores.json", "bare: no train/metrics.csv", "bare: no inspect.npz", "bare: no settings"):
        assert clause in text
    assert "exact: no" not in text


def test_empty_results_give_a_report_that_says_so(dataset, tmp_path):
    (tmp_path / "new").mkdir()
    text = _Page(render(ReportInputs(dataset.root, tmp_path, ("new",)))).text
    for sentence in ("No BOP'19 scores", "No inspected crops", "No training curves", "No benchmark files",
                     "No picture of the graph", "source of detections not given", "no results yet"):  # fmt: skip
        assert sentence in text


def test_settings_and_versions_are_shown(page):
    text = _Page(page).text
    assert "train.steps" in text
    assert "abc1234" in text


def test_unknown_run_is_refused(dataset, results):
    with pytest.raises(InputError, match="folder of run 'other' not found"):
        render(ReportInputs(dataset.root, results, ("other",)))


def test_damaged_inspection_is_named(dataset, results, tmp_path):
    shutil.copytree(results / "exact", tmp_path / "exact")
    file = tmp_path / "exact" / "inspect.npz"
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"inspect\.npz: unreadable"):
        render(ReportInputs(dataset.root, tmp_path, ("exact",)))


@pytest.mark.parametrize(
    "content", ["no drawing", '<svg><script>1</script></svg>', '<svg><image href="http://x.org/a.png"/></svg>',
                '<svg onload="a()"></svg>'],
)  # fmt: skip
def test_drawings_with_links_or_scripts_are_refused(tmp_path, content):
    (tmp_path / "g.svg").write_text(content)
    with pytest.raises(InputError, match="draw the graph again"):
        inline_svg(tmp_path / "g.svg")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.5 s"), (12.4, "12 s"), (83, "1 min 23 s"), (3725, "1 h 02 min"), (float("nan"), "–")],
)
def test_seconds_read_well(value, text):
    assert seconds_text(value) == text


def test_program_writes_the_page_and_repeats_itself(dataset, results, detections, tmp_path):
    command = [sys.executable, str(ROOT / "workflow_scripts" / "report.py"), "--dataset", str(dataset.root)]
    command += ["--results", str(results), "--runs", "exact", "--detections", str(detections)]
    pages = []
    for name in ("a.html", "b.html"):
        done = subprocess.run([*command, "--out", str(tmp_path / name)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        pages.append((tmp_path / name).read_bytes())
    assert pages[0] == pages[1]
