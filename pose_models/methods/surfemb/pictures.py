"""Pictures of what the networks say of a crop (surfemb.md sections 9 and 14)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pose_models.images.colors import visualise_embedding

Image = NDArray[np.uint8]


def query_colors(queries: ArrayLike) -> Image:
    """Colours (H, W, 3) of queries (H, W, E)."""
    return _image(visualise_embedding(queries))


def key_colors(keys: ArrayLike, mask: NDArray[np.bool_], mean_key: ArrayLike) -> Image:
    """Colours (H, W, 3) of keys (H, W, E) about the surface's mean key (E,); black outside the mask (H, W)."""
    return _image(visualise_embedding(keys, mask=mask, demean=mean_key) * mask[..., None])


def strip(crop: Image, mask_prob: ArrayLike, queries: Image, keys: Image) -> Image:
    """Crop (H, H, 3), mask probability (h, h), query and key colours (h, h, 3) side by side: (H, 4 H, 3)."""
    side = crop.shape[0]
    mask = np.repeat(_image(np.asarray(mask_prob, dtype=np.float32))[..., None], 3, axis=-1)
    panels = [cv2.resize(panel, (side, side), interpolation=cv2.INTER_NEAREST) for panel in (mask, queries, keys)]
    return np.asarray(np.concatenate([crop, *panels], axis=1), dtype=np.uint8)


def _image(values: NDArray[np.float32]) -> Image:
    """Values 0..1 as uint8."""
    return np.asarray(np.round(values * 255), dtype=np.uint8)
