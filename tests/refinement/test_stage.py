"""The stage: it comes nearer to the truth, also where depth lies beside colour, and it never loses a good estimate."""

import numpy as np
import pytest

from pose_models.datasets.bop import BopDataset
from pose_models.datasets.estimates import read_estimates
from pose_models.refinement.config import DepthRefinementSettings
from pose_models.refinement.refine import DepthImage
from pose_models.refinement.stage import depth_offset, refine_estimates, refiner_of
from tests.refinement.conftest import HEIGHT, WIDTH, K


def refined(made, folder, **settings):
    dataset = BopDataset(made.root)
    refiner = refiner_of(dataset, DepthRefinementSettings(**{"min_points": 300, **settings}))
    return refine_estimates(dataset, "test", read_estimates(made.estimates), refiner, folder / "out.csv")


def test_estimates_come_nearer_to_the_truth(table, tmp_path):
    before, _ = table.errors(read_estimates(table.estimates))
    result = refined(table, tmp_path)
    after, _ = table.errors(result.estimates)
    assert np.median(before) > 8
    assert np.median(after) < 1.5
    assert (after <= before + 1).all()
    assert result.accepted.mean() > 0.9
    np.testing.assert_array_equal(result.offset_px, 0)
    assert (result.estimates.time > 0.25).all()


def test_depth_beside_colour_is_found_and_allowed_for(misaligned, tmp_path):
    _, before = misaligned.errors(read_estimates(misaligned.estimates))
    result = refined(misaligned, tmp_path)
    np.testing.assert_allclose(result.offset_px, [3, -2], atol=0.75)
    _, after = misaligned.errors(result.estimates)
    assert after.mean() < 0.7 * before.mean()
    trusting = refined(misaligned, tmp_path, register_depth=False)
    assert misaligned.errors(trusting.estimates)[1].mean() > before.mean()


def test_what_is_published_goes_where_depth_goes(misaligned, tmp_path):
    _, before = misaligned.errors(read_estimates(misaligned.estimates))
    result = refined(misaligned, tmp_path, faithful=True)
    assert result.accepted.mean() > 0.8
    np.testing.assert_array_equal(result.offset_px, 0)
    assert misaligned.errors(result.estimates)[1].mean() > before.mean()


def test_an_offset_counts_where_it_is_certain():
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(depth_offset(rng.normal(0, 2, (200, 2))), 0)
    np.testing.assert_allclose(depth_offset(rng.normal([1.5, 0], 2, (200, 2))), [1.5, 0], atol=0.5)
    np.testing.assert_array_equal(depth_offset(np.full((5, 2), 3.0)), 0)


@pytest.mark.parametrize("what", ["outside", "behind", "no depth", "few points", "perfect"])
def test_an_estimate_stays_as_it_is(table, what):
    settings = DepthRefinementSettings(min_points=10**6 if what == "few points" else 300)
    dataset = BopDataset(table.root)
    depth = dataset.scene("test", 1).depth(0)
    T = table.truth[0].copy()
    if what == "outside":
        T[0, 3] = 1000
    elif what == "behind":
        T[2, 3] = -400
    elif what == "no depth":
        depth = np.zeros((HEIGHT, WIDTH))
    result = refiner_of(dataset, settings).refine(DepthImage(depth, K, settings), 1, T)
    assert not result.accepted
    np.testing.assert_array_equal(result.T_cam_obj, T)
