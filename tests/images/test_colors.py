"""Colours of embeddings."""

import numpy as np
import pytest

from pose_models.images.colors import visualise_embedding


def test_zero_embedding_is_grey():
    np.testing.assert_array_equal(visualise_embedding(np.zeros((2, 3, 12))), np.full((2, 3, 3), 0.5, np.float32))


def test_extreme_value_is_full_color_and_scale_does_not_matter():
    embedding = np.random.default_rng(0).standard_normal((4, 5, 12))
    colors = visualise_embedding(embedding)
    assert np.abs(colors - 0.5).max() == pytest.approx(0.5, abs=1e-6)
    np.testing.assert_allclose(visualise_embedding(100 * embedding), colors, atol=1e-6)


def test_outside_of_the_mask_is_grey_and_has_no_influence():
    embedding = np.random.default_rng(0).standard_normal((4, 5, 12))
    mask = np.zeros((4, 5), bool)
    mask[1:3, 1:3] = True
    loud = np.where(mask[..., None], embedding, 1e6)
    np.testing.assert_allclose(
        visualise_embedding(loud, mask, demean=True), visualise_embedding(embedding, mask, demean=True), atol=1e-6
    )
    assert (visualise_embedding(loud, mask)[~mask] == 0.5).all()


def test_given_mean_is_subtracted():
    embedding = np.random.default_rng(0).standard_normal((4, 5, 6))
    shift = np.arange(6.0)
    np.testing.assert_allclose(
        visualise_embedding(embedding + shift, demean=shift), visualise_embedding(embedding), atol=1e-6
    )


def test_empty_mask_and_wrong_width():
    assert (visualise_embedding(np.ones((2, 2, 3)), np.zeros((2, 2), bool), demean=True) == 0.5).all()
    with pytest.raises(ValueError, match="4 channels"):
        visualise_embedding(np.ones((2, 2, 4)))
