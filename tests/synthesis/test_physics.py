"""Parts dropped into a bin come to rest inside it, on the floor or on each other, always the same way."""

import numpy as np
import pytest

from pose_models.geometry.transforms import apply
from pose_models.meshes.shapes import box
from pose_models.synthesis.parts import demo_parts
from pose_models.synthesis.physics import settle


@pytest.fixture(scope="module")
def settled():
    parts = demo_parts(0)
    pieces = [parts[obj_id].convex_pieces for obj_id in (1, 2, 3, 1, 2, 3)]
    return pieces, settle(pieces, (230, 200), np.random.default_rng(4))


def test_bodies_rest_above_the_floor_and_within_the_walls(settled):
    pieces, poses = settled
    for body, T in zip(pieces, poses, strict=True):
        points = np.concatenate([apply(T, piece.vertices) for piece in body])
        assert points[:, 2].min() > -1.0
        assert points[:, 2].min() < 60
        assert (np.abs(points[:, :2]).max(axis=0) < [116.5, 101.5]).all()
        np.testing.assert_allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3), atol=1e-9)
    assert min(apply(T, p.vertices)[:, 2].min() for b, T in zip(pieces, poses, strict=True) for p in b) < 0.5


def test_same_start_gives_bitwise_the_same_rest(settled):
    pieces, poses = settled
    again = settle(pieces, (230, 200), np.random.default_rng(4))
    np.testing.assert_array_equal(np.stack(poses), np.stack(again))


def test_a_flat_box_lies_on_a_face():
    (T,) = settle([[box([60, 40, 20])]], (200, 200), np.random.default_rng(0))
    up = np.abs(T[2, :3])
    assert up.max() == pytest.approx(1, abs=1e-3)
    half = np.array([30, 20, 10])[up.argmax()]
    assert T[2, 3] == pytest.approx(half, abs=0.5)


def test_settled_bodies_hardly_overlap():
    poses = settle([[box([50, 50, 50])], [box([50, 50, 50])], [box([50, 50, 50])]], (90, 80), np.random.default_rng(1))
    for i in range(3):
        for j in range(i):
            rng = np.random.default_rng(i + 10 * j)
            inside = apply(poses[i], rng.uniform(-25, 25, (20000, 3)))
            local = apply(np.linalg.inv(poses[j]), inside)
            depth = 25 - np.abs(local).max(axis=1)
            assert depth.max() < 2.0
