"""Images of any aspect at one size."""

import numpy as np
import pytest

from pose_models.images.resize import box_of_label, to_size


def ramp(height, width):
    """An image whose red is its column and green its row."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns, rows, np.zeros_like(rows)], axis=2).astype(np.uint8)


@pytest.mark.parametrize(("shape", "size"), [((120, 160), (60, 80)), ((100, 200), (60, 80)), ((160, 120), (90, 120))])
def test_intrinsics_follow_the_pixels(shape, size):
    """A pixel of the result shows what its ray through the new K met under the old one."""
    K = np.array([[100.0, 0, 70], [0, 110, 50], [0, 0, 1]])
    mask = np.zeros(shape, dtype=np.uint16)
    mask[40:60, 50:80] = 300
    image, labels, K_new = to_size(ramp(*shape), mask, K, size)
    assert image.shape == (*size, 3)
    for row, column in ((30, 40), (25, 31), (40, 60)):
        ray = np.linalg.inv(K_new) @ [column, row, 1]
        u, v, _ = K @ ray
        np.testing.assert_allclose(image[row, column, :2], [u, v], atol=1.01)  # truncated to whole grey levels
    box = box_of_label(labels, 300)
    center = K_new @ np.linalg.inv(K) @ [64.5, 49.5, 1]
    np.testing.assert_allclose((box[:2] + box[2:]) / 2, center[:2], atol=1)


def test_what_lies_outside_is_black_and_lost_objects_have_no_box():
    mask = np.zeros((160, 120), dtype=np.uint8)
    mask[:10] = 1
    image, labels, _ = to_size(np.full((160, 120, 3), 255, np.uint8), mask, np.eye(3), (90, 120))
    assert image.min() == 255
    assert box_of_label(labels, 1) is None  # cut off
    image, _, _ = to_size(np.full((50, 120, 3), 255, np.uint8), mask[:50], np.eye(3), (90, 120))
    assert image[:19].max() == 0
    assert image[25:65].min() == 255


def test_an_image_of_the_size_is_left_alone():
    image, mask, K = ramp(60, 80), np.zeros((60, 80)), np.eye(3)
    same = to_size(image, mask, K, (60, 80))
    assert same[0] is image
    assert same[1] is mask
