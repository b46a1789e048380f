"""Pickles of arrays are read; anything else in them is refused and never executed."""

import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest

from pose_models.datasets.pickles import load_arrays
from pose_models.files import InputError

CONTENT = {
    "48/000001": {"rois": np.arange(14.0).reshape(2, 7), "labels_txt": ["obj_000001", "obj_000002"]},
    "masks": np.eye(5, dtype=bool)[..., None],
    "names": np.array(["a", "b"], dtype=object),
    "scalar": np.float32(0.5),
    "order": OrderedDict(a=(1, None), b={2}),
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_containers_of_every_protocol_are_read(tmp_path, protocol):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(CONTENT, protocol=protocol))
    content = load_arrays(path)
    np.testing.assert_array_equal(content["48/000001"]["rois"], CONTENT["48/000001"]["rois"])
    np.testing.assert_array_equal(content["masks"], CONTENT["masks"])
    np.testing.assert_array_equal(content["fortran"], CONTENT["fortran"])
    assert content["names"].tolist() == ["a", "b"]
    assert content["scalar"] == np.float32(0.5)
    assert content["order"] == CONTENT["order"]


def test_names_of_older_numpy_and_python_2_are_known(tmp_path):
    """Protocol 2 with numpy.core (before numpy 2) and 8-bit strings, as Python 2 wrote them."""
    raw = pickle.dumps({"a": np.arange(3, dtype=np.uint8)}, protocol=2).replace(
        b"numpy._core.multiarray", b"numpy.core.multiarray"
    )
    raw = raw.replace(b"X\x01\x00\x00\x00aq", b"U\x01aq")  # SHORT_BINSTRING
    (tmp_path / "old.pkl").write_bytes(raw)
    np.testing.assert_array_equal(load_arrays(tmp_path / "old.pkl")["a"], [0, 1, 2])


class _Call:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize(
    ("function", "arguments"), [(os.system, "touch {}"), (eval, "open('{}', 'w')"), (exec, "open('{}', 'w')")]
)
def test_a_malicious_pickle_is_refused_and_not_executed(tmp_path, protocol, function, arguments):
    mark = tmp_path / "executed"
    path = tmp_path / "bad.pkl"
    path.write_bytes(
        pickle.dumps({"rois": np.zeros(3), "x": _Call(function, arguments.format(mark))}, protocol=protocol)
    )
    with pytest.raises(
        InputError, match=rf"bad\.pkl: the pickle names \w+\.{function.__name__}, which arrays do not need"
    ):
        load_arrays(path)
    assert not mark.exists()


def test_dotted_names_do_not_reach_into_allowed_modules(tmp_path):
    # The opcode of protocol 4 follows dots; the attributes of allowed names stay closed too.
    raw = b"\x80\x04\x8c\x05numpy\x94\x8c\x11ndarray.__class__\x94\x93\x94."
    (tmp_path / "dotted.pkl").write_bytes(raw)
    with pytest.raises(InputError, match=r"names numpy\.ndarray\.__class__"):
        load_arrays(tmp_path / "dotted.pkl")


@pytest.mark.parametrize("content", [b"", b"not a pickle", pickle.dumps(CONTENT)[:-40], b"\x80\x04K\x01\x86R."])
def test_a_broken_pickle_is_named(tmp_path, content):
    path = tmp_path / "broken.pkl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.pkl: broken pickle"):
        load_arrays(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="file not found"):
        load_arrays(tmp_path / "none.pkl")
