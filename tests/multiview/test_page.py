"""The page of a custom scenario in a browser: turning the 3D view shows another picture."""

import base64
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

from pose_models.meshes.mesh import Mesh
from pose_models.report.scene_page import MOST_FACES, _coarse

ROOT = Path(__file__).resolve().parents[2]


def picture(browser):
    """BGRA of the 3D view."""
    content = browser.execute_script("return document.querySelector('canvas.scene').toDataURL('image/png')")
    return cv2.imdecode(np.frombuffer(base64.b64decode(content.partition(",")[2]), np.uint8), cv2.IMREAD_UNCHANGED)


def objects(image):
    """Where objects are drawn: they are coloured, cameras and their names are not."""
    return (np.ptp(image[..., :3].astype(int), axis=2) > 25).astype(np.uint8)


def assert_zooms_about_the_mouse(browser, canvas, before):
    """What is under the mouse stays there; a double click puts everything back."""
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

    height, width = before.shape[:2]
    scale = width / canvas.size["width"]
    ActionChains(browser).scroll_from_origin(ScrollOrigin.from_element(canvas, 180, -70), 0, -300).perform()
    mouse = np.array([width / 2 + scale * 180, height / 2 - scale * 70])
    factor = np.exp(300 / 800)
    overlaps = []
    for center in (mouse, np.array([width, height]) / 2):
        warp = np.c_[factor * np.eye(2), (1 - factor) * center]
        expected = cv2.warpAffine(objects(before), warp, (width, height)) > 0
        drawn = objects(picture(browser)) > 0
        overlaps.append((expected & drawn).sum() / (expected | drawn).sum())
    assert overlaps[0] > 0.9
    assert overlaps[1] < 0.6
    ActionChains(browser).double_click(canvas).perform()


def test_the_scene_turns_and_comes_nearer(browser, scenario):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    program = ROOT / "workflow_scripts" / "reconstruct_scene.py"
    subprocess.run([sys.executable, program, scenario], check=True, capture_output=True, cwd=ROOT)
    browser.get((scenario / "results" / "scene.html").as_uri())
    before = picture(browser)
    drawn = before[..., 3] > 0
    assert drawn.any()
    assert not np.r_[drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1]].any()  # all objects and cameras fit in
    canvas = browser.find_element(By.CSS_SELECTOR, "canvas.scene")
    ActionChains(browser).click_and_hold(canvas).move_by_offset(160, -40).release().perform()
    turned = picture(browser)
    assert ((turned != before).any(axis=-1)).mean() > 0.005
    ActionChains(browser).move_by_offset(60, 0).perform()
    np.testing.assert_array_equal(picture(browser), turned)  # the button is up
    assert_zooms_about_the_mouse(browser, canvas, turned)
    np.testing.assert_array_equal(picture(browser), before)
    figure = browser.find_element(By.CSS_SELECTOR, ".views figure")
    small = figure.size["width"]
    figure.click()
    assert figure.size["width"] > 2 * small
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    assert browser.get_log("browser") == []


def test_fine_meshes_are_made_coarser_and_keep_their_shape():
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    rows = [np.c_[np.cos(angle) * np.cos(v), np.sin(angle) * np.cos(v), np.full(200, np.sin(v))]
            for v in np.linspace(-1.5, 1.5, 100)]  # fmt: skip
    i, j = (grid.ravel() for grid in np.meshgrid(np.arange(99), np.arange(200), indexing="ij"))
    corner = [200 * (i + a) + (j + b) % 200 for a, b in ((0, 0), (0, 1), (1, 1), (1, 0))]
    faces = np.r_[np.c_[corner[0], corner[1], corner[2]], np.c_[corner[0], corner[2], corner[3]]]
    vertices, few = _coarse(Mesh(40 * np.concatenate(rows), faces))
    assert 300 < len(few) <= MOST_FACES
    assert (few[:, 0] != few[:, 1]).all()
    np.testing.assert_allclose(np.linalg.norm(vertices[np.unique(few)], axis=1), 40, atol=1.5)
