"""Groups from generating turns."""

import numpy as np
import pytest

from pose_models.geometry.symmetry_groups import generated_group, turn
from pose_models.geometry.transforms import apply

THIRD = 2 * np.pi / 3


@pytest.mark.parametrize(
    ("generators", "count"),
    [
        ([], 0),
        ([turn([0, 0, 1], np.pi)], 1),
        ([turn([1, 0, 0], np.pi), turn([0, 1, 0], np.pi)], 3),  # cuboid
        ([turn([0, 0, 2], THIRD), turn([1, 0, 0], np.pi)], 5),  # equilateral prism
        ([turn([0, 0, 1], np.pi / 2), turn([1, 0, 0], np.pi / 2)], 23),  # cube
        ([turn([0, 0, 1], np.pi), turn([0, 0, 1], np.pi)], 1),
    ],
)
def test_number_of_symmetries(generators, count):
    assert len(generated_group(generators)) == count


def test_group_is_closed_and_maps_the_solid_onto_itself():
    center = np.array([3.0, -2, 7])
    group = generated_group([turn([1, 0, 0], np.pi, center), turn([0, 1, 0], np.pi, center)])
    elements = [np.eye(4), *group]
    for a in elements:
        for b in elements:
            assert min(np.abs(a @ b - c).max() for c in elements) < 1e-9
    sign = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)])
    corners = center + sign * [10, 20, 30]
    for T in group:
        moved = apply(T, corners)
        assert np.linalg.norm(moved[:, None] - corners, axis=-1).min(axis=1).max() < 1e-9


def test_center_of_a_turn_stays():
    center = np.array([5.0, 1, -4])
    np.testing.assert_allclose(apply(turn([1, 2, 3], 1.1, center), center[None])[0], center, atol=1e-12)


@pytest.mark.parametrize("generators", [[turn([0, 0, 1], 1.0)], [turn([0, 0, 1], np.pi), turn([0, 0.1, 1], np.pi)]])
def test_turns_that_form_no_finite_group_are_refused(generators):
    with pytest.raises(ValueError, match="more than 120 symmetries"):
        generated_group(generators)
