"""Image augmentation of SurfEmb's training (surfemb.md section 4.2) on uint8 RGB images.

Every function is pure; random ones take a `numpy.random.Generator`. `photometric` is stage A (on the original image
inside the crop's covering box), `on_crop` is stage B (on the warped crop).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import pdtr

Image = NDArray[np.uint8]

CHANNEL_ORDERS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))


def photometric(image: Image, rng: np.random.Generator) -> Image:
    """Stage A: blur, sensor noise, demosaicing artefacts, sharpening, local contrast."""
    if rng.random() < 0.5:
        image = blur(image, rng)
    if rng.random() < 0.5:
        image = iso_noise(image, rng, intensity=rng.uniform(0.1, 0.5), color_shift=rng.uniform(0.01, 0.05))
    if rng.random() < 0.5:
        image = gaussian_noise(image, rng, variance=rng.uniform(10, 50))
    if rng.random() < 0.25:
        order = CHANNEL_ORDERS[rng.integers(len(CHANNEL_ORDERS))]
        image = debayer(image, order, edge_aware=bool(rng.random() < 0.5))
    if rng.random() < 0.25:
        image = unsharpen(image, int(rng.choice([3, 5, 7])), rng.uniform(0, 2))
    if rng.random() < 0.5:
        image = clahe(image, rng.uniform(1, 4))
    if rng.random() < 0.5:
        image = blur(image, rng)
    return image


def on_crop(crop: Image, rng: np.random.Generator) -> Image:
    """Stage B: eight dropped rectangles, colour jitter."""
    if rng.random() < 0.5:
        crop = coarse_dropout(crop, rng)
    if rng.random() < 0.5:
        crop = color_jitter(crop, rng)
    return crop


def blur(image: Image, rng: np.random.Generator) -> Image:
    """Gaussian blur with a 3x3 kernel (sigma 0.8) in two of three cases, else nothing."""
    return _image(cv2.GaussianBlur(image, (3, 3), 0.8)) if rng.random() < 2 / 3 else image


def iso_noise(image: Image, rng: np.random.Generator, intensity: float, color_shift: float) -> Image:
    """Noise of a sensor at high gain: normal noise on the hue, Poisson noise on the lightness (HLS space)."""
    hls = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2HLS)
    lightness = hls[..., 1]
    shot = _poisson(255 * intensity * float(lightness.std()), lightness.shape, rng) / 255
    hue = rng.standard_normal(lightness.shape, dtype=np.float32) * np.float32(360 * color_shift * intensity)
    hls[..., 0] = (hls[..., 0] + hue) % 360
    hls[..., 1] = np.clip(lightness + shot * (1 - lightness), 0, 1)
    return _image(cv2.cvtColor(hls, cv2.COLOR_HLS2RGB) * 255)


def _poisson(mean: float, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Poisson noise by looking 16-bit random numbers up in the distribution: twenty times faster than drawing it."""
    counts = np.arange(int(mean + 8 * mean**0.5) + 8)
    cumulative = np.round(pdtr(counts, mean) * 65536).astype(np.int64)
    cumulative[-1] = 65536
    table = np.repeat(counts.astype(np.float32), np.diff(cumulative, prepend=0))
    return np.asarray(table[rng.integers(0, 65536, size=shape, dtype=np.uint16)])


def gaussian_noise(image: Image, rng: np.random.Generator, variance: float) -> Image:
    """Zero-mean normal noise of the given variance (8-bit scale), independent per channel."""
    noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(variance**0.5)
    return _image(image + noise)


def debayer(image: Image, order: tuple[int, int, int], edge_aware: bool) -> Image:
    """Artefacts of a colour filter array: mosaic the image and demosaic it again.

    Args:
        order: permutation of the channels, `order[j]` is the source channel.
        edge_aware: OpenCV's edge-aware demosaicing instead of the bilinear one.
    """
    mosaic = np.empty(image.shape[:2], dtype=np.uint8)
    mosaic[::2, ::2] = image[::2, ::2, order[2]]
    mosaic[1::2, ::2] = image[1::2, ::2, order[1]]
    mosaic[::2, 1::2] = image[::2, 1::2, order[1]]
    mosaic[1::2, 1::2] = image[1::2, 1::2, order[0]]
    if min(mosaic.shape) < 3:  # OpenCV's demosaicing needs a neighbourhood
        return image
    code = cv2.COLOR_BayerBG2BGR_EA if edge_aware else cv2.COLOR_BayerBG2BGR
    return _image(cv2.cvtColor(mosaic, code)[..., np.argsort(order)])


def unsharpen(image: Image, kernel: int, strength: float) -> Image:
    """Unsharp mask: (1 + strength) image - strength blurred, kernel side in pixels, sigma kernel / 3."""
    blurred = cv2.GaussianBlur(image, (kernel, kernel), kernel / 3)
    return _image(cv2.addWeighted(image, 1 + strength, blurred, -strength, 0))


def clahe(image: Image, clip_limit: float) -> Image:
    """Contrast-limited adaptive histogram equalisation of the lightness (Lab), 8x8 tiles."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(clipLimit=clip_limit, tileGridSize=(8, 8)).apply(lab[..., 0])
    return _image(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB))


def coarse_dropout(crop: Image, rng: np.random.Generator, holes: int = 8, low: int = 8, high: int = 16) -> Image:
    """Black rectangles of `low`..`high` pixels (on a 224 px crop; scaled with the crop's side), inside the crop."""
    crop = crop.copy()
    height, width = crop.shape[:2]
    unit = height / 224
    for _ in range(holes):
        h, w = (max(1, round(int(n) * unit)) for n in rng.integers(low, high + 1, size=2))
        top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
        crop[top : top + h, left : left + w] = 0
    return crop


def color_jitter(crop: Image, rng: np.random.Generator, factor: float = 0.2, hue: float = 0.1) -> Image:
    """Brightness, contrast, saturation factors in 1 +- factor, hue shift in +-hue turns, in random order."""
    image = crop.astype(np.float32)
    for which in rng.permutation(4):
        gain = np.float32(rng.uniform(1 - factor, 1 + factor))
        if which == 0:
            image = image * gain
        elif which == 1:
            image = (image - _luma(image).mean()) * gain + _luma(image).mean()
        elif which == 2:
            grey = _luma(image)[..., None]
            image = (image - grey) * gain + grey
        else:
            hsv = cv2.cvtColor(np.clip(image, 0, 255).astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
            hsv[..., 0] = (hsv[..., 0] + 360 * rng.uniform(-hue, hue)) % 360
            image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * np.float32(255)
        image = np.clip(image, 0, 255)
    return _image(image)


def _luma(image: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(image @ np.array([0.299, 0.587, 0.114], dtype=np.float32))


def _image(values: NDArray[np.generic]) -> Image:
    return np.asarray(np.clip(values, 0, 255), dtype=np.uint8)
