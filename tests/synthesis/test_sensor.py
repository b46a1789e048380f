"""The camera model: exposure, noise, depth units."""

import dataclasses

import numpy as np
import pytest

from pose_models.synthesis.config import PRESETS
from pose_models.synthesis.sensor import BRIGHTEST, SENSORS, STEPS, expose, measure_depth, tone_curve


def _noise(shape, seed=9):
    return np.random.default_rng(seed).standard_normal(int(np.prod(shape)), dtype=np.float32)


def _expose(radiance, look, seed):
    return expose(radiance, look, np.random.default_rng(seed), _noise(radiance.shape))


def _measure(depth, noise_mm):
    return measure_depth(depth, noise_mm, 0.1, _noise(depth.shape))


@pytest.mark.parametrize("look", PRESETS)
def test_picture_does_not_depend_on_the_unit_of_radiance(look):
    radiance = np.random.default_rng(0).random((40, 50, 3), dtype=np.float32)
    first = _expose(radiance, look, 1).astype(int)
    second = _expose(1000 * radiance, look, 1).astype(int)
    assert first.shape == (40, 50, 3)
    assert np.abs(first - second).max() <= 1


@pytest.mark.parametrize("look", PRESETS)
def test_noise_level_is_within_the_look_s_range(look):
    flat = np.ones((200, 200, 3), dtype=np.float32)
    picture = _expose(flat, look, 2).astype(np.float64)
    # Differences of neighbours hide the vignette.
    noise = np.diff(picture, axis=1).std() / np.sqrt(2) / 255
    ranges = SENSORS[look]
    assert noise < 3 * (ranges.shot[1] + ranges.read[1]) + 1e-9
    assert (noise > 0) == (ranges.shot[1] > 0)


def test_brighter_radiance_gives_brighter_pixels():
    ramp = np.repeat(np.linspace(0, 2, 256, dtype=np.float32)[None, :, None], 3, axis=2).repeat(64, axis=0)
    columns = _expose(ramp, "test", 0).mean(axis=(0, 2))
    assert (np.diff(columns[::16]) > 0).all()
    assert columns.min() < 40
    assert columns.max() > 180


def test_black_picture_stays_finite():
    assert _expose(np.zeros((8, 8, 3), np.float32), "train", 0).max() < 60


def test_depth_is_rounded_to_units_and_missing_stays_missing():
    depth = np.float32([[0.0, 500.04, 500.06, 0.01, 7000.0]])
    np.testing.assert_array_equal(_measure(depth, 0.0), [[0, 5000, 5001, 1, 0]])


def test_depth_noise_has_the_stated_deviation():
    depth = np.full((300, 300), 600.0, dtype=np.float32)
    measured = _measure(depth, 0.8) * 0.1
    assert measured.std() == pytest.approx(0.8, rel=0.05)
    assert measured.mean() == pytest.approx(600, abs=0.02)


@pytest.mark.parametrize("look", PRESETS)
def test_compiled_camera_is_its_description(look):
    """Vignette, noise, white balance and tone curve once more, in float64 and without tables."""
    radiance = np.random.default_rng(3).random((40, 60, 3), dtype=np.float32)
    noise, ranges, rng = _noise(radiance.shape).reshape(40, 60, 3), SENSORS[look], np.random.default_rng(4)
    sharp = dataclasses.replace(ranges, blur_px=(0.0, 0.0))
    SENSORS[look] = sharp
    try:
        picture = expose(radiance, look, np.random.default_rng(4), noise.ravel())
    finally:
        SENSORS[look] = ranges
    sparse = radiance[::2, ::2].astype(float)
    gain = rng.uniform(*ranges.exposure) / np.minimum(sparse, 4 * sparse.mean()).mean()
    v, u = np.meshgrid((np.arange(40) - 19.5) / 20, (np.arange(60) - 29.5) / 30, indexing="ij")
    image = radiance * gain * (1 - rng.uniform(*ranges.vignette) * (u**2 + v**2) / 2)[..., None]
    rng.uniform(*sharp.blur_px)
    shot, read = rng.uniform(*ranges.shot), rng.uniform(*ranges.read)
    image = image + np.sqrt(shot**2 * np.clip(image, 0, 1) + read**2) * noise
    image = np.maximum(image * (1 + rng.uniform(-ranges.white, ranges.white, 3) * [1, 0, 1]), 0)
    image = np.where(image > 0.8, 0.8 + 0.2 * np.tanh((image - 0.8) / 0.4), image) ** (1 / rng.uniform(*ranges.gamma))
    image = image + rng.uniform(*ranges.contrast) * (image**2 * (3 - 2 * image) - image)
    assert np.abs(picture - 255 * np.clip(image, 0, 1)).max() <= 0.75  # half a step, and the table's steps


def test_tone_curve_rises_to_white():
    curve = tone_curve(2.2, 0.3).astype(int)
    assert len(curve) == STEPS
    assert (np.diff(curve) >= 0).all()
    assert np.diff(curve).max() <= 1
    assert curve[0] == 0
    assert curve[-1] == 255
    middle = round(np.sqrt(0.2 / BRIGHTEST) * (STEPS - 1))
    assert tone_curve(2.0, 0.0)[middle] == pytest.approx(255 * np.sqrt(0.2), abs=1)
