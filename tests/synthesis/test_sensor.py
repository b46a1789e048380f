"""The camera model: exposure, noise, depth units."""

import numpy as np
import pytest

from pose_models.synthesis.config import PRESETS
from pose_models.synthesis.sensor import SENSORS, expose, measure_depth


@pytest.mark.parametrize("look", PRESETS)
def test_picture_does_not_depend_on_the_unit_of_radiance(look):
    radiance = np.random.default_rng(0).random((40, 50, 3), dtype=np.float32)
    first = expose(radiance, look, np.random.default_rng(1)).astype(int)
    second = expose(1000 * radiance, look, np.random.default_rng(1)).astype(int)
    assert first.shape == (40, 50, 3)
    assert np.abs(first - second).max() <= 1


@pytest.mark.parametrize("look", PRESETS)
def test_noise_level_is_within_the_look_s_range(look):
    flat = np.ones((200, 200, 3), dtype=np.float32)
    picture = expose(flat, look, np.random.default_rng(2)).astype(np.float64)
    # Differences of neighbours hide the vignette.
    noise = np.diff(picture, axis=1).std() / np.sqrt(2) / 255
    ranges = SENSORS[look]
    assert 0 < noise < 3 * (ranges.shot[1] + ranges.read[1])


def test_brighter_radiance_gives_brighter_pixels():
    ramp = np.repeat(np.linspace(0, 2, 256, dtype=np.float32)[None, :, None], 3, axis=2).repeat(64, axis=0)
    columns = expose(ramp, "test", np.random.default_rng(0)).mean(axis=(0, 2))
    assert (np.diff(columns[::16]) > 0).all()
    assert columns.min() < 40
    assert columns.max() > 180


def test_black_picture_stays_finite():
    assert expose(np.zeros((8, 8, 3), np.float32), "train", np.random.default_rng(0)).max() < 60


def test_depth_is_rounded_to_units_and_missing_stays_missing():
    depth = np.float32([[0.0, 500.04, 500.06, 0.01, 7000.0]])
    np.testing.assert_array_equal(measure_depth(depth, 0.0, 0.1, np.random.default_rng(0)), [[0, 5000, 5001, 1, 0]])


def test_depth_noise_has_the_stated_deviation():
    depth = np.full((300, 300), 600.0, dtype=np.float32)
    measured = measure_depth(depth, 0.8, 0.1, np.random.default_rng(0)) * 0.1
    assert measured.std() == pytest.approx(0.8, rel=0.05)
    assert measured.mean() == pytest.approx(600, abs=0.02)
