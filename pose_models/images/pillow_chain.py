"""Image augmentation of CosyPose's training (cosypose.md sections 7.2 and 7.3): exchanged background, Pillow's filters.

Coarse, refiner and detector are trained with the same chain; without it their scores on real images fall by a third.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

Pixels = NDArray[np.uint8]

ENHANCEMENTS = (
    (ImageEnhance.Sharpness, 0.3, (0.0, 50.0)),
    (ImageEnhance.Contrast, 0.3, (0.2, 50.0)),
    (ImageEnhance.Brightness, 0.5, (0.1, 6.0)),
    (ImageEnhance.Color, 0.3, (0.0, 20.0)),
)
"""In this order: filter, its probability, range of its factor (1 leaves the image as it is)."""


def filtered(image: Pixels, rng: np.random.Generator, blur: float = 1.0, grey: float = 0.0) -> Pixels:
    """The image (H, W, 3) after blur, sharpness, contrast, brightness, saturation and grey, each drawn on its own.

    Args:
        blur: probability of the blur; the release's configuration says 0.4, its code blurs always.
        grey: probability that colours go; the release leaves it out, or takes 0.5.
    """
    picture = Image.fromarray(image)
    if rng.random() < blur:
        picture = picture.filter(ImageFilter.GaussianBlur(int(rng.integers(1, 4))))
    for enhancement, probability, factors in ENHANCEMENTS:
        if rng.random() < probability:
            picture = enhancement(picture).enhance(rng.uniform(*factors))
    if grey and rng.random() < grey:
        picture = picture.convert("L").convert("RGB")
    return np.asarray(picture, dtype=np.uint8)


def with_background(image: Pixels, is_object: NDArray[np.bool_], photo: Pixels) -> Pixels:
    """The image (H, W, 3) with a photograph, stretched to its size, where no object (H, W) is."""
    height, width = is_object.shape
    stretched = np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.BILINEAR), dtype=np.uint8)
    return np.where(is_object[..., None], image, stretched)
