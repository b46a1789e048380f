"""Masks as PNG files, put together from compressed pieces: every reader has to accept them."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from pose_models.datasets.bop_writer import encode_mask


def _masks():
    rng = np.random.default_rng(0)
    spot = np.zeros((48, 65), bool)
    spot[10:20, 30:50] = rng.random((10, 20)) < 0.7
    first, last = np.zeros((2, 33, 40), bool)
    first[0, 0] = last[-1, -1] = True
    return {"none": np.zeros((20, 31), bool), "all": np.ones((20, 31), bool), "spot": spot, "first": first,
            "last": last, "noise": rng.random((480, 640)) < 0.5, "one": np.ones((1, 1), bool)}  # fmt: skip


@pytest.mark.parametrize("name", _masks())
def test_masks_come_back_and_all_checksums_hold(name):
    mask = _masks()[name]
    content = encode_mask(mask)
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, mask * 255)
    assert content.endswith(b"IEND\xaeB`\x82")
    position, kinds = 8, []
    while position < len(content):
        (length,) = struct.unpack(">I", content[position : position + 4])
        kind, data = content[position + 4 : position + 8], content[position + 8 : position + 8 + length]
        assert struct.unpack(">I", content[position + 8 + length : position + 12 + length])[0] == zlib.crc32(
            kind + data
        )
        kinds.append(kind)
        if kind == b"IDAT":
            rows = np.frombuffer(zlib.decompress(data), np.uint8).reshape(len(mask), -1)  # checks Adler-32 too
            np.testing.assert_array_equal(rows[:, 1:], mask * 255)
        position += 12 + length
    assert kinds == [b"IHDR", b"IDAT", b"IEND"]
