"""Procedural textures: range, wrapping, sampling, seeds."""

import numpy as np
import pytest

from pose_models.synthesis.textures import random_color, sample_wrapped, texture, value_noise, wood


@pytest.mark.parametrize("make", [texture, wood])
def test_textures_are_float_colours_of_the_size_asked_for(make):
    for seed in range(12):
        image = make(64, np.random.default_rng(seed))
        assert image.shape == (64, 64, 3)
        assert image.dtype == np.float32
        assert image.min() >= 0
        assert image.max() <= 1
        assert image.std() > 1e-3


def test_noise_fills_its_range_and_is_finer_with_more_cells():
    coarse, fine = (value_noise(128, cells, 1, np.random.default_rng(0)) for cells in (2, 32))
    for noise in (coarse, fine):
        assert noise.min() == 0
        assert noise.max() == 1
    assert np.abs(np.diff(fine, axis=1)).mean() > 4 * np.abs(np.diff(coarse, axis=1)).mean()


def test_same_seed_same_texture():
    first, again = (texture(64, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_colours_of_no_saturation_are_grey():
    color = random_color(np.random.default_rng(0), (0.0, 0.0))
    assert np.ptp(color) < 1e-6


def test_sampling_is_bilinear_and_wraps():
    image = np.random.default_rng(0).random((8, 8, 3), dtype=np.float32)
    exact = sample_wrapped(image, np.array([[3.0, 5.0], [3.0 + 8, 5.0 - 16], [7.5, 2.0], [2.0, 6.25]]))
    np.testing.assert_allclose(exact[0], image[5, 3])
    np.testing.assert_allclose(exact[1], image[5, 3])
    np.testing.assert_allclose(exact[2], (image[2, 7] + image[2, 0]) / 2, rtol=1e-6)
    np.testing.assert_allclose(exact[3], 0.75 * image[6, 2] + 0.25 * image[7, 2], rtol=1e-6)
