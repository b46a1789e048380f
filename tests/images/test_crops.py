"""Crops: where points land, what a crop covers, and that every augmentation keeps type and shape."""

import numpy as np
import pytest

from pose_models.images import augment
from pose_models.images.crops import Crop, CropJitter, draw_jitter


def test_box_centre_lands_in_the_middle_and_its_longer_side_fills_the_crop():
    crop = Crop.from_box((10, 20, 50, 40), side=96, crop_scale=1.2)
    np.testing.assert_allclose(crop.M @ [30, 30, 1], [48, 48])
    np.testing.assert_allclose(crop.M @ [50, 30, 1] - crop.M @ [10, 30, 1], [80, 0], atol=1e-12)


@pytest.mark.parametrize("theta", [0.0, 0.7, -2.5])
def test_a_point_projects_to_the_same_place_through_image_and_crop(theta):
    K = np.array([[600, 0, 320], [0, 610, 240], [0, 0, 1.0]])
    crop = Crop.from_box((100, 80, 180, 200), 64, 1.2, CropJitter(theta, 1.03, (2.0, -1.0)))
    uvw = K @ [30, -20, 500]
    direct = crop.intrinsics(K) @ [30, -20, 500]
    np.testing.assert_allclose(crop.M @ [*uvw[:2] / uvw[2], 1], direct[:2] / direct[2])


def test_convex_hull_stands_for_the_mask():
    import cv2

    rng = np.random.default_rng(0)
    mask = rng.random((40, 60)) > 0.97
    jitter = CropJitter(1.1)
    hull = cv2.convexHull(cv2.findNonZero(mask.astype(np.uint8))).reshape(-1, 2)
    np.testing.assert_allclose(
        Crop.from_mask(mask, 64, 1.2, jitter).M, Crop.around_points(hull, 64, 1.2, jitter).M, atol=1e-12
    )
    with pytest.raises(ValueError, match="empty mask"):
        Crop.from_mask(np.zeros((4, 4), bool), 64, 1.2, jitter)


def test_warping_the_covered_region_equals_warping_the_image():
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (120, 160, 3), dtype=np.uint8)
    crop = Crop.from_box((40, 30, 90, 80), 64, 1.2, CropJitter(0.4))
    left, top, right, bottom = crop.covering_box()
    part = crop.moved(-left, -top).warp(image[top:bottom, left:right])
    difference = np.abs(part.astype(int) - crop.warp(image))
    assert (difference <= 1).mean() > 0.99  # fixed-point coordinates of the warp differ by 1/32 px


def test_jitter_keeps_the_object_inside_the_crop():
    rng = np.random.default_rng(2)
    for _ in range(200):
        jitter = draw_jitter(rng, 96, 1.2, np.pi, strength=1)
        assert max(np.abs(jitter.shift)) <= (96 - 80) / 2
        assert 0.95 <= jitter.scale <= 1.05


@pytest.mark.parametrize("shape", [(64, 64), (5, 7), (1, 1), (2, 90)])
def test_augmentation_takes_regions_of_any_size_and_repeats_with_its_seed(shape):
    image = np.random.default_rng(3).integers(0, 256, (*shape, 3), dtype=np.uint8)
    for seed in range(20):
        results = [augment.photometric(image, np.random.default_rng(seed)) for _ in range(2)]
        assert results[0].shape == image.shape
        assert results[0].dtype == np.uint8
        np.testing.assert_array_equal(*results)
        assert augment.on_crop(results[0], np.random.default_rng(seed)).shape == image.shape


def test_augmentation_leaves_its_input_alone():
    image = np.random.default_rng(4).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    before = image.copy()
    for seed in range(10):
        augment.on_crop(augment.photometric(image, np.random.default_rng(seed)), np.random.default_rng(seed))
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("mean", [0.02, 0.7, 5.0, 30.0])
def test_tabulated_poisson_noise_has_the_right_moments(mean):
    drawn = augment._poisson(mean, (400, 400), np.random.default_rng(5))
    assert abs(drawn.mean() - mean) < 5 * (mean / drawn.size) ** 0.5 + 1e-4 * mean
    assert abs(drawn.var() / mean - 1) < 0.03


def test_dropout_makes_at_most_eight_black_rectangles():
    crop = np.full((224, 224, 3), 255, np.uint8)
    dropped = (augment.coarse_dropout(crop, np.random.default_rng(6)) == 0).all(axis=-1).sum()
    assert 8 * 8 <= dropped <= 8 * 16 * 16
