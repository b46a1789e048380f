"""Result files: what is written reads back, and what is wrong is named with its line."""

import numpy as np
import pytest

from pose_models.datasets.estimates import HEADER, Estimates, read_estimates, write_estimates
from pose_models.files import InputError
from pose_models.geometry.transforms import random_rotation

GOOD = "1,{im},3,0.5,1 0 0 0 1 0 0 0 1,10 20 {z},0.25"


def made(count, seed=0):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 5, (3, count))
    return Estimates(*ids, rng.normal(size=count), random_rotation(rng, count), rng.normal(size=(count, 3)) * 500,
                     np.full(count, 0.125))  # fmt: skip


@pytest.mark.parametrize("count", [0, 1, 30])
def test_written_estimates_read_back_exactly(tmp_path, count):
    estimates = made(count)
    write_estimates(tmp_path / "a.csv", estimates)
    again = read_estimates(tmp_path / "a.csv")
    for name in ("scene_id", "im_id", "obj_id", "score", "R", "t", "time"):
        np.testing.assert_array_equal(getattr(again, name), getattr(estimates, name))


def lines_with(line, at):
    lines = [HEADER] + [GOOD.format(im=i, z=500 + i) for i in range(2, at + 3)]
    lines[at - 1] = line
    return "\n".join(lines) + "\n"


BAD = {
    "1,7,3,0.5,1 0 0 0 1 0 0 0 1,10 nan 500,0.25": "t contains nan",
    "1,7,3,0.5,1 0 0 0 1 0 0 0 1,10 20 500,0.25,8": "8 fields instead of 7",
    "1,7,3,0.5,1 0 0 0 1 0 0 0,10 20 500,0.25": "R has 8 numbers instead of 9",
    "1,7,3,x,1 0 0 0 1 0 0 0 1,10 20 500,0.25": "'x' in score is not a number",
    "1,7,3,0.5,1 0 0 0 1 0 0 0 2,10 20 500,0.25": "R is no rotation",
    "1,7,3,0.5,1 0 0 0 1 0 0 0 -1,10 20 500,0.25": "R is no rotation",
    "1,7.5,3,0.5,1 0 0 0 1 0 0 0 1,10 20 500,0.25": "im_id must be a whole number",
    "-1,7,3,0.5,1 0 0 0 1 0 0 0 1,10 20 500,0.25": "scene_id must be a whole number",
    "1,2,3,0.1,1 0 0 0 1 0 0 0 1,10 20 500,0.75": "says 0.25 s",
    GOOD.format(im=3, z=503): "repeats line",
    "1,7,3,inf,1 0 0 0 1 0 0 0 1,10 20 500,0.25": "score contains inf",
}


@pytest.mark.parametrize("line", BAD)
@pytest.mark.parametrize("at", [5, 4711])
def test_a_bad_line_is_named(tmp_path, line, at):
    path = tmp_path / "bad.csv"
    path.write_text(lines_with(line, at))
    with pytest.raises(InputError) as error:
        read_estimates(path)
    assert str(error.value).startswith(f"{path}: line {at}: ")
    assert BAD[line] in str(error.value)


def test_the_header_is_optional_and_windows_line_ends_are_read(tmp_path):
    (tmp_path / "a.csv").write_bytes((GOOD.format(im=1, z=5) + "\r\n" + GOOD.format(im=2, z=6) + "\r\n").encode())
    assert read_estimates(tmp_path / "a.csv").im_id.tolist() == [1, 2]


def test_missing_and_binary_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv: file not found"):
        read_estimates(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not a text file"):
        read_estimates(tmp_path / "b.csv")


def test_mean_time_counts_images_once_and_is_unknown_if_any_is():
    estimates = made(3)
    ids = np.array([1, 1, 2])
    timed = Estimates(ids, ids, ids, estimates.score, estimates.R, estimates.t, np.array([1.0, 1.0, 4.0]))
    assert timed.mean_time() == 2.5
    assert Estimates(ids, ids, ids, estimates.score, estimates.R, estimates.t, np.array([1.0, 1, -1])).mean_time() == -1
    assert timed.take(np.zeros(0, dtype=np.int64)).mean_time() == -1
