"""The simulated source: undisturbed it is the ground truth; disturbed it errs as much as its settings say."""

import dataclasses

import numpy as np
import pytest

from pose_models.detections.config import SimulatedSettings
from pose_models.detections.simulated import box_iou, clip_box, jitter_box, simulate

EXACT = SimulatedSettings(center_jitter=0, size_jitter=0, score_noise=0, visib_half=0.1, visib_spread=1e-4)


def _run(dataset, settings=EXACT, seed=0):
    return simulate(dataset, "test", dataset.targets(), settings, seed)


def test_without_disturbance_boxes_are_the_pixel_boxes_of_the_visible_instances(dataset):
    detections = _run(dataset)
    assert len(detections) == 2 * 2 * 2  # the instances with 2 % and 0 % visible are missed
    np.testing.assert_array_equal(detections.bbox_xywh[0], [20, 30, 40, 20])
    np.testing.assert_array_equal(detections.bbox_xywh[1], [60, 10, 30, 60])
    assert detections.obj_id.tolist() == [1, 2] * 4
    assert (detections.time == 0).all()


def test_visible_box_is_used_on_demand(dataset):
    detections = _run(dataset, EXACT.model_copy(update={"box": "visible"}))
    np.testing.assert_array_equal(detections.bbox_xywh[1], [60, 10, 30, 30])


def test_score_falls_with_visibility_and_with_the_error_of_the_box(dataset):
    exact = _run(dataset)
    assert exact.score[0] == pytest.approx(0.999)
    assert exact.score[1] == pytest.approx(0.75)
    wild = _run(dataset, EXACT.model_copy(update={"center_jitter": 0.3}))
    assert (wild.score < exact.score).all()


def test_hidden_instance_is_never_found(dataset):
    keen = EXACT.model_copy(update={"visib_half": 0.0, "visib_spread": 100.0})
    for seed in range(5):
        assert not (_run(dataset, keen, seed).bbox_xywh[:, 0] == 90).any()


def test_objects_that_are_no_target_get_no_box(dataset):
    targets = [dataclasses.replace(t) for t in dataset.targets() if t.obj_id == 2 and t.scene_id == 1]
    detections = simulate(dataset, "test", targets, EXACT, 0)
    assert set(detections.obj_id.tolist()) == {2}
    assert set(detections.scene_id.tolist()) == {1}


def test_equal_seeds_give_equal_boxes_and_other_images_do_not_matter(dataset):
    settings = SimulatedSettings()
    everything, again = _run(dataset, settings, 7), _run(dataset, settings, 7)
    np.testing.assert_array_equal(everything.bbox_xywh, again.bbox_xywh)
    part = simulate(dataset, "test", [t for t in dataset.targets() if t.im_id == 8], settings, 7)
    np.testing.assert_array_equal(part.bbox_xywh, everything.select(everything.im_id == 8).bbox_xywh)
    assert not np.array_equal(_run(dataset, settings, 8).bbox_xywh, everything.bbox_xywh)


def test_boxes_stay_inside_the_image(dataset):
    settings = EXACT.model_copy(update={"visib_half": 0.0, "center_jitter": 0.1})
    for seed in range(20):
        ltrb = _run(dataset, settings, seed).bbox_ltrb
        assert (ltrb[:, :2] >= 0).all()
        assert (ltrb[:, 2] <= 160).all()
        assert (ltrb[:, 3] <= 120).all()


def test_false_positives_appear_as_often_as_asked(dataset):
    settings = EXACT.model_copy(update={"false_positives": 2.0})
    counts = [len(_run(dataset, settings, seed)) - len(_run(dataset)) for seed in range(40)]
    assert np.mean(counts) == pytest.approx(2.0 * 4, abs=1.5)


def test_jitter_has_the_stated_spread():
    box, rng = np.array([100.0, 50, 40, 80]), np.random.default_rng(0)
    boxes = np.array([jitter_box(box, rng, 0.05, 0.1) for _ in range(4000)])
    centers = boxes[:, :2] + boxes[:, 2:] / 2
    np.testing.assert_allclose(centers.std(axis=0), [2, 4], rtol=0.05)
    np.testing.assert_allclose(np.log(boxes[:, 2:]).std(axis=0), [0.1, 0.1], rtol=0.05)


def test_default_disturbance_is_that_of_a_real_detector():
    box, rng, settings = np.array([100.0, 50, 40, 80]), np.random.default_rng(0), SimulatedSettings()
    ious = [box_iou(jitter_box(box, rng, settings.center_jitter, settings.size_jitter), box) for _ in range(4000)]
    assert np.mean(ious) == pytest.approx(0.87, abs=0.01)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [([0, 0, 2, 2], [0, 0, 2, 2], 1.0), ([0, 0, 2, 2], [1, 0, 2, 2], 1 / 3), ([0, 0, 1, 1], [5, 5, 1, 1], 0.0)],
)
def test_box_iou(a, b, expected):
    assert box_iou(np.array(a, float), np.array(b, float)) == pytest.approx(expected)


def test_clip_box_outside_has_no_area():
    assert clip_box(np.array([-20.0, 5, 10, 10]), 100, 100)[2] == 0
