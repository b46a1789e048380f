"""The doctor's page: complete, self-contained, escaped; its pictures show posed models, masks and depth."""

import re
import shutil

import cv2
import numpy as np
import pytest

from pose_models.evaluation.doctor.dataset import examine
from pose_models.files import write_json
from pose_models.report.doctor_page import _window, render


@pytest.fixture(scope="module")
def page(dataset) -> str:
    return render(examine(dataset.root, rendered=2), pictures=2)


def test_every_image_and_object_is_shown(page):
    assert page.count('class="gallery"') == 1
    assert len(re.findall(r"<figcaption>scene 1, image \d ·", page)) == 2
    assert len(re.findall(r"<h3><span class=\"key c\d\"></span>object \d</h3>", page)) == 2
    crops = re.findall(r"<figcaption>scene 1, image \d, instance \d", page)
    assert len(crops) == 4
    assert re.search(r'<path class="model c1" d="M\d', page)
    assert re.search(r'<path class="truth" d="M\d', page)


def test_it_refers_to_nothing_outside(page):
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "url(" not in page


def test_what_a_file_says_is_escaped(dataset, tmp_path):
    root = tmp_path / "mine"
    shutil.copytree(dataset.root, root)
    write_json(root / "test_targets_bop19.json", [{"scene_id": "<script>"}])
    info = root / "test" / "000001" / "scene_gt_info.json"
    info.write_text('{"0": "<script>alert(1)</script>"}')
    report = examine(root)
    assert {"targets-broken", "info-count"} <= {finding.code for finding in report.findings}
    assert render(report).count("<script>") == 1  # the page's own


def test_broken_images_leave_the_rest_of_the_page(dataset, tmp_path):
    root = tmp_path / "mine"
    shutil.copytree(dataset.root, root)
    for path in (root / "test" / "000001" / "rgb").glob("*"):
        path.write_bytes(b"")
    page = render(examine(root))
    assert "the image cannot be read" in page
    assert "<h2>Models</h2>" in page
    assert 'class="gallery"' not in page


def test_a_window_beyond_the_image_is_padded():
    image = np.arange(1, 13, dtype=np.uint8).reshape(3, 4)
    expected = cv2.copyMakeBorder(image, 1, 1, 1, 0, cv2.BORDER_CONSTANT, value=0)[:, :5]
    np.testing.assert_array_equal(_window(image, -1, -1, 5), expected)
    assert not _window(image, 10, 10, 3).any()
