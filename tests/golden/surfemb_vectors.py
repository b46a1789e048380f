"""How the SurfEmb reference vectors are found and the weights that some of them are made with."""

import zlib

import numpy as np
import pytest


def vectors(golden_dir, pattern):
    """All reference files of a kind, loaded; the kind is a pattern such as `01_*.npz`."""
    files = sorted((golden_dir / "surfemb").glob(pattern))
    if not files:
        pytest.skip(f"needs {pattern} in {golden_dir / 'surfemb'} (set BOPFLOW_GOLDEN)")
    return [np.load(file, allow_pickle=False) for file in files]


def formula_weight(name, shape, std):
    """The reference's stand-in for a trained weight: normal numbers seeded by the tensor's name."""
    state = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF)
    return (state.standard_normal(shape) * std).astype(np.float32)
