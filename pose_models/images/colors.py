"""Colours for looking at embeddings."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def visualise_embedding(
    embedding: ArrayLike, mask: ArrayLike | None = None, demean: bool | ArrayLike = False
) -> NDArray[np.float32]:
    """Colours of an embedding image (surfemb.md section 14): means of consecutive channels, no PCA.

    Args:
        embedding: (..., E), E a multiple of 3 (12 in SurfEmb).
        mask: (...) bool; outside, the colour is grey and does not take part in the scaling.
        demean: subtract the mean over the mask (True), or the given vector (E,), such as the object's mean key.

    Returns:
        (..., 3) float32 in 0..1; 0.5 is zero, the largest absolute value is 0 or 1.
    """
    values = np.asarray(embedding, dtype=np.float64)
    inside = np.ones(values.shape[:-1], dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
    if values.shape[-1] % 3:
        raise ValueError(f"embedding has {values.shape[-1]} channels, expected a multiple of 3")
    if demean is not False:
        if demean is True:
            demean = values[inside].mean(axis=0) if inside.any() else 0.0
        values = values - np.asarray(demean)
    colors = values.reshape(*values.shape[:-1], 3, -1).mean(axis=-1)
    colors[~inside] = 0
    colors /= np.abs(colors).max(initial=0.0) + 1e-9
    return np.asarray(0.5 + 0.5 * colors, dtype=np.float32)
