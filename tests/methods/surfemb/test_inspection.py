"""Inspection: the numbers behind the twelve views, the contact sheet, and the page in a real browser."""

import base64
import json
import re

import cv2
import numpy as np
import pytest

from pose_models.datasets.bop import BopScene
from pose_models.detections.coco import read_detections
from pose_models.methods.surfemb.api import SurfEmb
from pose_models.methods.surfemb.inspection import POSES, Source, inspect_instances, score_maps
from pose_models.methods.surfemb.maps import make_maps
from pose_models.methods.surfemb.scoring import score_poses
from pose_models.methods.surfemb.views import VIEWS, score_picture, softmax, views
from pose_models.report.inspection import contact_sheet, inspection_page
from tests.methods.conftest import run

POINTS = 300


@pytest.fixture(scope="module")
def estimator(untrained):
    return SurfEmb.from_checkpoint(untrained, device="cpu").estimator


@pytest.fixture(scope="module")
def items(small, estimator):
    """One instance by its box, one by its ground truth."""
    scene, found = BopScene(small / "test" / "000001"), read_detections(small / "simulated.json")
    instance = scene.ground_truth[0][0]
    sources = [
        Source(scene, 0, int(found.obj_id[0]), box_ltrb=found.bbox_ltrb[0]),
        Source(scene, 0, instance.obj_id, gt_id=instance.gt_id),
    ]
    return list(inspect_instances(estimator, sources, POINTS))


def test_score_maps_are_the_parts_of_the_score(estimator, view):
    image, K, boxes, obj_ids, _ = view
    surface, settings = estimator.surface(obj_ids[0]), estimator.settings
    box = np.concatenate([boxes[0, :2], boxes[0, :2] + boxes[0, 2:]])
    answer = estimator.answer(image, K, obj_ids[0], box)
    maps = make_maps(
        answer.mask_logits, answer.queries, surface.keys, answer.K, settings.downsample,
        max_pool=settings.max_pool, average_queries=settings.average_queries,
    )  # fmt: skip
    best = estimator.estimate(answer, obj_ids[0], np.random.default_rng(0)).T_unrefined
    aside, behind = best.copy(), best.copy()
    aside[0, 3] += 40
    behind[2, 3] *= -1
    expected = score_poses(maps, surface.keys, surface.points, np.stack([best, aside, behind])[:, :3])
    for index, T in enumerate((best, aside, behind)):
        mask, coordinates = score_maps(maps, surface, T)
        assert mask.mean() == pytest.approx(expected.mask[index], abs=1e-5)
        covered = np.isfinite(coordinates)
        mean = coordinates[covered].mean() if covered.any() else -np.inf
        assert mean == pytest.approx(expected.coordinates[index], abs=1e-5)


def test_the_pose_of_the_nearest_instance_is_the_ground_truth(small, items):
    scene, found = BopScene(small / "test" / "000001"), read_detections(small / "simulated.json")
    own = [i.T_cam_obj for i in scene.ground_truth[0] if i.obj_id == found.obj_id[0]]
    assert any((items[0].posed["truth"].T_cam_obj == T).all() for T in own)
    np.testing.assert_array_equal(items[1].posed["truth"].T_cam_obj, scene.ground_truth[0][0].T_cam_obj)
    assert set(items[1].posed) <= set(POSES)
    assert np.isfinite(items[1].score) == ("refined" in items[1].posed)


def test_there_are_twelve_views_of_a_pixel(items):
    item = items[1]
    x, y = item.surest_pixel
    pictures = views(item)
    assert tuple(pictures) == VIEWS
    assert all(p.shape == item.crop.shape and p.dtype == np.uint8 for p in pictures.values())
    np.testing.assert_array_equal(pictures["crop"], item.crop)
    truth = item.posed["truth"]
    assert not pictures["key"][~truth.mask].any()
    red = pictures["dist"][..., 0].astype(int) - pictures["dist"][..., 1]
    rows, columns = np.nonzero(truth.mask)
    most = int(np.argmax(softmax(truth.keys @ item.queries[y, x])))
    assert red[rows[most], columns[most]] == red.max() > 0
    assert not red[~truth.mask].any()
    for plane in ("xy", "xz", "yz"):  # the most likely place is as red as the pixel is the object's, grey is 0.1
        assert pictures[plane][..., 0].max() == round(255 * float(item.mask_prob[y, x]))
        assert set(np.unique(pictures[plane][..., 1:])) == {0, 26}


def test_another_pixel_and_another_pose_change_what_depends_on_them(items):
    item = items[1]
    x, y = item.surest_pixel
    first, pixel = views(item), views(item, ((x + 20) % 64, (y + 20) % 64))
    assert {name for name in VIEWS if (first[name] != pixel[name]).any()} >= {"xy", "xz", "yz"}
    assert {name for name in VIEWS if (first[name] != pixel[name]).any()} <= {"xy", "xz", "yz", "dist"}
    name = next(name for name in item.posed if name != "truth")
    pose = views(item, pose=name)
    changed = {view for view in VIEWS if (first[view] != pose[view]).any()}
    assert "key" in changed
    assert changed <= {"key", "dist", "pose", "mask score", "coord score"}


def test_perfect_cells_are_white_and_cells_that_take_no_part_black():
    picture = score_picture(np.array([[0.0, -2.0], [np.nan, -1.0]]), 4)
    np.testing.assert_allclose(picture[::2, ::2], [[1, 0], [0, 0.5]])


def _integers(text, kind):
    return np.frombuffer(base64.b64decode(text), kind).astype(np.float64) / np.iinfo(kind).max


def test_the_page_carries_the_numbers_and_loads_nothing(items):
    page = inspection_page(items, "a <title> & more")
    assert "a &lt;title&gt; &amp; more" in page
    assert not re.search(r"(src|href)=[\"'](?!data:)|https?://|@import", page)
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL).group(1))
    for item, entry in zip(items, data["instances"], strict=True):
        queries = _integers(entry["queries"], np.int16) * entry["queryScale"]
        np.testing.assert_allclose(queries, item.queries.ravel(), atol=1e-4 * entry["queryScale"])
        own = data["objects"][str(entry["object"])]
        keys = _integers(own["keys"], np.int16) * own["keyScale"]
        np.testing.assert_allclose(keys, item.shown.keys.ravel(), atol=1e-4 * own["keyScale"])
        assert own["shown"] == POINTS
        for name, shown in item.posed.items():
            bits = np.unpackbits(np.frombuffer(base64.b64decode(entry["poses"][name]["mask"]), np.uint8),
                                 bitorder="little")  # fmt: skip
            np.testing.assert_array_equal(bits.astype(bool), shown.mask.ravel())


def test_the_contact_sheet_has_a_row_per_instance(items):
    one, two = contact_sheet(items[:1], 64), contact_sheet(items, 64)
    assert two.shape[1] == one.shape[1] > 12 * 64
    assert two.shape[0] - one.shape[0] > 64
    np.testing.assert_array_equal(two[: len(one)], one)


def _hover(browser, tile, item, x, y):
    """Put the mouse onto a crop pixel of a tile."""
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    canvas = browser.find_element(By.CSS_SELECTOR, f"#tile-{tile} canvas")
    size, side = canvas.size, len(item.crop)
    offset = [int((value + 0.5) / side * size[key] - size[key] / 2) for value, key in ((x, "width"), (y, "height"))]
    ActionChains(browser).move_to_element_with_offset(canvas, *offset).perform()


def _pixels(browser, tile):
    """RGBA of a tile's canvas."""
    script = "const c = document.querySelector(arguments[0]); return c.toDataURL('image/png')"
    content = base64.b64decode(browser.execute_script(script, tile).partition(",")[2])
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)


def _wait(browser, condition):
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 20).until(lambda _: condition())


def test_hovering_shows_where_the_pixel_could_lie(items, browser, tmp_path):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    def readout():
        return browser.find_element(By.ID, "readout").text

    (tmp_path / "index.html").write_text(inspection_page(items, "inspection"))
    browser.get((tmp_path / "index.html").as_uri())
    _wait(browser, lambda: items[0].title in readout())
    item = items[0]
    browser.execute_script("document.getElementById('spin').click()")
    before, solid = _pixels(browser, "#tile-xy canvas"), _pixels(browser, "#solid canvas")
    _hover(browser, "crop", item, 20, 40)
    assert "x 20, y 40" in readout()
    p = softmax(item.shown.keys @ item.queries[40, 20])
    shown = re.search(r"most likely point ([\d.e+-]+) %.*about (\d+) of 300", readout())
    assert float(shown[1]) == pytest.approx(100 * p.max(), rel=0.06)
    assert int(shown[2]) == pytest.approx(2 ** -(p * np.log2(p)).sum(), abs=1)
    assert (_pixels(browser, "#tile-xy canvas") != before).any()
    assert (_pixels(browser, "#solid canvas") != solid).any()

    expected = cv2.resize(views(item, (20, 40))["dist"], (448, 448), interpolation=cv2.INTER_NEAREST)
    drawn = _pixels(browser, "#tile-dist canvas")[..., 2::-1]
    assert np.abs(drawn.astype(int) - expected).max(axis=-1).mean() < 6  # but for the cross

    browser.find_element(By.ID, "frozen").click()
    _hover(browser, "mask", item, 30, 30)
    assert "x 20, y 40" in readout()
    browser.find_element(By.ID, "frozen").click()

    truth = _pixels(browser, "#tile-key canvas")
    name, key = ("estimate", "e") if "estimate" in item.posed else ("refined", "f")
    browser.find_element(By.TAG_NAME, "body").send_keys(key)
    assert browser.find_element(By.CSS_SELECTOR, f"#poses input[value={name}]").is_selected()
    assert (_pixels(browser, "#tile-key canvas") != truth).any()
    outlined = _pixels(browser, "#tile-crop canvas")
    browser.find_element(By.CSS_SELECTOR, "#outlines input[value=truth]").click()
    assert (_pixels(browser, "#tile-crop canvas") != outlined).any()

    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.ARROW_RIGHT)
    _wait(browser, lambda: items[1].title in readout())
    turned = _pixels(browser, "#solid canvas")
    browser.execute_script("document.getElementById('spin').click()")
    _wait(browser, lambda: (_pixels(browser, "#solid canvas") != turned).any())
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    browser.save_screenshot(str(tmp_path / "page.png"))
    assert len(np.unique(cv2.imread(str(tmp_path / "page.png")).reshape(-1, 3), axis=0)) > 200


def test_the_program_writes_sheet_and_page(untrained, small, tmp_path):
    run("inspect_surfemb.py", "--checkpoint", untrained, "--dataset", small, "--split", "train_synt", "--count", 2,
        "--device", "cpu", "--out", tmp_path / "out")  # fmt: skip
    assert cv2.imread(str(tmp_path / "out" / "sheet.png")).shape[1] > 12 * 160
    assert "run on small, train_synt" in (tmp_path / "out" / "index.html").read_text()
