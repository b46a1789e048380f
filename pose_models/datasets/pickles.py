"""Pickles of published results (NOCS, PoseCNN, Pix2Pose), read without running anything that they name.

A pickle is a small program. This reader resolves the names that numpy arrays and plain containers need, refuses every
other one before anything is called, and gives back arrays, numbers, texts, lists, tuples, dicts and sets only.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from pose_models.files import InputError

_NUMPY_HELPERS = {
    "multiarray": {"_reconstruct", "scalar"},  # arrays and scalars, pickle protocols 0 to 4
    "numeric": {"_frombuffer"},  # arrays, protocol 5
}
_ALLOWED = {
    *(("numpy", name) for name in ("ndarray", "dtype")),
    *(
        (f"numpy.{core}.{module}", name)
        for core in ("core", "_core")
        for module, s in _NUMPY_HELPERS.items()
        for name in s
    ),
    *(
        (module, name)
        for module in ("builtins", "__builtin__")
        for name in ("set", "frozenset", "complex", "bytearray")
    ),
    ("collections", "OrderedDict"),
    ("_codecs", "encode"),  # bytes of an array, protocols 0 to 2
}


class _Refused(pickle.UnpicklingError):
    """The pickle names something that arrays and containers do not need."""


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        # The name is compared before anything is imported; dotted names (protocol 4) would reach into attributes.
        if (module, name) not in _ALLOWED:
            raise _Refused(f"{module}.{name}")
        return super().find_class(module, name)


def load_arrays(path: str | Path) -> Any:
    """Content of a pickle that holds arrays and plain containers, made by Python 2 or 3.

    Raises:
        InputError: the file is missing, broken, or names anything but arrays and containers; nothing was executed.
    """
    try:
        with Path(path).open("rb") as stream:
            return _ArrayUnpickler(stream, encoding="latin1").load()
    except FileNotFoundError:
        raise InputError(f"{path}: file not found") from None
    except _Refused as error:
        raise InputError(
            f"{path}: the pickle names {error}, which arrays do not need; nothing was executed, fetch the file from "
            "its publisher again"
        ) from None
    except Exception as error:  # a broken pickle raises whatever its bytes lead to
        raise InputError(
            f"{path}: broken pickle ({error or type(error).__name__}); fetch or make the file again"
        ) from None
