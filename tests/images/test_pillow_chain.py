"""The filters and backgrounds of CosyPose's training."""

import numpy as np

from pose_models.images.pillow_chain import filtered, with_background

NOISE = np.random.default_rng(0).integers(60, 190, (24, 32, 3), dtype=np.uint8)


def test_filters_are_drawn_on_their_own_with_the_published_probabilities():
    count = 600
    unchanged = sum(np.array_equal(filtered(NOISE, np.random.default_rng(n), blur=0), NOISE) for n in range(count))
    expected = 0.7 * 0.7 * 0.5 * 0.7  # no sharpness, contrast, brightness, saturation
    assert abs(unchanged / count - expected) < 4 * (expected * (1 - expected) / count) ** 0.5


def test_every_image_is_blurred_unless_told_otherwise():
    def roughness(image):
        return np.abs(np.diff(image.astype(float), axis=1)).mean()

    alone = [n for n in range(60) if np.array_equal(filtered(NOISE, np.random.default_rng(n), blur=0), NOISE)]
    images = [filtered(NOISE, np.random.default_rng(n)) for n in range(60)]
    assert len(alone) > 3
    assert all(not np.array_equal(image, NOISE) for image in images)
    assert np.median([roughness(image) for image in images]) < roughness(NOISE)


def test_colours_go_where_they_are_asked_to_and_the_other_filters_stay_as_they_were():
    is_grey = 0
    for n in range(60):
        colored, image = (filtered(NOISE, np.random.default_rng(n), blur=0, grey=grey) for grey in (0, 0.5))
        if not np.array_equal(image, colored):
            is_grey += 1
            weighted = colored.astype(float) @ [0.2989, 0.5870, 0.1140]  # cosypose.md 7.3
            np.testing.assert_allclose(image, np.repeat(weighted[..., None], 3, axis=2), atol=1)
    assert 15 < is_grey < 45


def test_the_same_generator_gives_the_same_image_and_the_input_stays():
    before = NOISE.copy()
    first, again = (filtered(NOISE, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(NOISE, before)


def test_a_photograph_is_stretched_behind_the_objects():
    photo = np.zeros((5, 9, 3), np.uint8)
    photo[:, 5:] = [10, 20, 30]
    is_object = np.zeros((24, 32), bool)
    is_object[3:9, 20:30] = True
    image = with_background(NOISE, is_object, photo)
    np.testing.assert_array_equal(image[is_object], NOISE[is_object])
    assert (image[:, :14][~is_object[:, :14]] == 0).all()
    np.testing.assert_array_equal(image[20, 31], [10, 20, 30])
