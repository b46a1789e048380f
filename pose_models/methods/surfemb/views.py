"""The twelve pictures of the paper's inspection tool (surfemb.md section 14) of one instance and one pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pose_models.images.colors import visualise_embedding
from pose_models.methods.surfemb.inspection import Inspected, Posed

Floats = NDArray[np.float32]
Image = NDArray[np.uint8]
VIEWS = ("crop", "mask", "query", "key", "dist", "xy", "xz", "yz", "pose", "mask score", "coord score", "query norm")
PLANES = {"xy": (0, 1), "xz": (0, 2), "yz": (1, 2)}


def softmax(logits: Floats) -> Floats:
    """Probabilities (N,) of logits (N,)."""
    weights = np.exp(logits - logits.max(initial=-np.inf))
    return np.asarray(weights / weights.sum(), dtype=np.float32)


def views(item: Inspected, pixel: tuple[int, int] | None = None, pose: str | None = None) -> dict[str, Image]:
    """The twelve pictures (H, H, 3) by name (`VIEWS`).

    Args:
        pixel: (x, y) whose distribution is shown; `surest_pixel` by default.
        pose: which pose (`POSES`); by default the ground truth for keys and distribution, the method's last pose for
            the overlay and the score maps. Where there is none, these pictures show no object.
    """
    x, y = item.surest_pixel if pixel is None else pixel
    seen = item.posed.get(pose or "truth", item.best_pose)
    judged = item.posed.get(pose or "refined", item.best_pose)
    query, certainty = item.queries[y, x], float(item.mask_prob[y, x])
    side = item.crop.shape[0]
    norm = np.linalg.norm(item.queries, axis=-1) * item.mask_prob
    pictures = {
        "crop": item.crop / np.float32(255),
        "mask": item.mask_prob,
        "query": visualise_embedding(item.queries),
        "key": key_picture(item, seen),
        "dist": _distribution(item, seen, query, certainty),
        **_planes(item, softmax(item.shown.keys @ query) * certainty, side),
        "pose": pose_picture(item, judged),
        "mask score": score_picture(None if judged is None else judged.mask_score, side),
        "coord score": score_picture(None if judged is None else judged.coord_score, side),
        "query norm": norm / max(float(norm.max()), 1e-9),
    }
    return {name: to_image(pictures[name]) for name in VIEWS}


def key_picture(item: Inspected, shown: Posed | None) -> Floats:
    """Keys where the object is, black outside; the surface's mean key is the colours' zero."""
    colors: Floats = np.zeros((*item.mask_prob.shape, 3), dtype=np.float32)
    if shown is not None and shown.mask.any():
        colors[shown.mask] = visualise_embedding(shown.keys, demean=item.shown.keys.mean(axis=0))
    return colors


def pose_picture(item: Inspected, shown: Posed | None) -> Floats:
    """Half the crop, plus a quarter of the object coordinates plus 0.25 where the object is."""
    picture = np.asarray(item.crop / np.float32(510), dtype=np.float32)
    if shown is not None:
        picture[shown.mask] += 0.25 * shown.coordinates + 0.25
    return picture


def score_picture(scores: Floats | None, side: int) -> Floats:
    """1 - score / least score, at the crop's size: white is perfect; black where a cell takes no part."""
    if scores is None:
        return np.zeros((side, side), dtype=np.float32)
    least = min(float(np.nanmin(scores, initial=0.0)), -1e-9)
    values = np.nan_to_num(1 - scores / np.float32(least), nan=0.0)
    index = np.minimum(np.arange(side) * len(scores) // side, len(scores) - 1)
    return np.asarray(values[np.ix_(index, index)], dtype=np.float32)


def _distribution(item: Inspected, shown: Posed | None, query: Floats, certainty: float) -> Floats:
    """Grey crop; red where the visible surface is likely to be what the pixel sees."""
    grey = item.crop.astype(np.float32).mean(axis=-1) / 255 / 2
    picture = np.repeat(grey[..., None], 3, axis=-1)
    if shown is not None and shown.mask.any():
        probability = softmax(shown.keys @ query)
        picture[shown.mask, 0] += 0.5 * certainty * probability / probability.max()
    return picture


def _planes(item: Inspected, weights: Floats, side: int) -> dict[str, Floats]:
    """The surface from three sides: red is the probability of what lies there, grey where there is surface.

    Where there are few points, the pictures are coarser, so that the surface is closed.
    """
    points, certainty = item.shown.points, float(weights.sum())
    cells = int(np.clip(0.7 * np.sqrt(len(points)), min(32, side), side))
    index = np.arange(side) * cells // side
    pictures = {}
    for name, (across, up) in PLANES.items():
        columns = np.clip(np.rint((points[:, across] + 1) / 2 * (cells - 1)), 0, cells - 1).astype(int)
        rows = np.clip(np.rint((1 - points[:, up]) / 2 * (cells - 1)), 0, cells - 1).astype(int)
        total = np.zeros((cells, cells), dtype=np.float32)
        np.add.at(total, (rows, columns), weights)
        picture = np.zeros((cells, cells, 3), dtype=np.float32)
        picture[rows, columns] = 0.1
        picture[..., 0] = np.maximum(picture[..., 0], certainty * total / max(float(total.max()), 1e-12))
        pictures[name] = picture[np.ix_(index, index)]
    return pictures


def to_image(values: Floats) -> Image:
    """Values 0..1, (H, W) or (H, W, 3), as (H, W, 3) uint8."""
    pixels = np.round(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return np.repeat(pixels[..., None], 3, axis=-1) if pixels.ndim == 2 else pixels
