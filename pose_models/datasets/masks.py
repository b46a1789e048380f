"""Binary masks as COCO run lengths: column-major runs that start with the zeros, plain or as COCO's compressed text."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def encode(mask: Mask) -> dict[str, Any]:
    """Uncompressed run lengths {counts, size: [height, width]} of a mask (H, W)."""
    flat = np.asarray(mask, dtype=bool).ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(np.r_[0, changes, len(flat)]).tolist()
    return {"counts": [0, *counts] if len(flat) and flat[0] else counts, "size": list(mask.shape)}


def decode(rle: dict[str, Any]) -> Mask:
    """Mask (H, W) of run lengths.

    Raises:
        ValueError: the runs do not fill the image.
    """
    height, width = rle["size"]
    counts = rle["counts"]
    runs = np.array(_decompress(counts) if isinstance(counts, str | bytes) else counts, dtype=np.int64)
    if runs.sum() != height * width or (runs < 0).any():
        raise ValueError(f"run lengths add up to {runs.sum()} pixels instead of {height} x {width}")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.asarray(flat.reshape((height, width), order="F"))


def _decompress(text: str | bytes) -> list[int]:
    """Runs from COCO's text: 5 bits per character, least significant first; from the third run on, differences."""
    codes = [code - 48 for code in (text.encode() if isinstance(text, str) else text)]
    runs: list[int] = []
    value = shift = 0
    for code in codes:
        value |= (code & 0x1F) << shift
        shift += 5
        if code & 0x20:
            continue
        if code & 0x10:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    return runs


def mask_box(mask: Mask) -> list[int]:
    """COCO box [x, y, w, h] of a mask (H, W), w = max - min + 1; zeros if it is empty."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        return [0, 0, 0, 0]
    left, top = int(columns[0]), int(rows[0])
    return [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1]
