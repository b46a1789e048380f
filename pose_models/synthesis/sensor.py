"""From radiance to a camera's picture: exposure, vignette, lens blur, noise, white balance, tone curve, 8 bits."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from pose_models.render.scene import Float
from pose_models.render.shading import blur
from pose_models.synthesis.config import Look

Range = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class SensorRanges:
    """Ranges of a look's camera.

    exposure: grey value that the mean is brought to, linear. vignette: loss at the corners. blur_px: Gaussian sigma.
    shot, read: noise standard deviation at full scale, and at black (linear, full scale 1). white: largest gain error
    of red and blue. gamma: exponent of the tone curve. contrast: strength of an S curve.
    """

    exposure: Range
    vignette: Range
    blur_px: Range
    shot: Range
    read: Range
    white: float
    gamma: Range
    contrast: Range


SENSORS: dict[Look, SensorRanges] = {
    "train": SensorRanges(
        (0.12, 0.35), (0.0, 0.3), (0.3, 0.9), (0.0, 0.02), (0.0, 0.008), 0.12, (2.0, 2.4), (0.0, 0.3)
    ),
    "test": SensorRanges(
        (0.24, 0.30), (0.15, 0.25), (0.55, 0.75), (0.012, 0.018), (0.003, 0.005), 0.04, (2.2, 2.2), (0.1, 0.2)
    ),
    "random": SensorRanges(
        (0.10, 0.40), (0.0, 0.4), (0.3, 1.3), (0.0, 0.025), (0.0, 0.01), 0.2, (1.8, 2.6), (0.0, 0.5)
    ),
}


def expose(radiance: Float, look: Look, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Picture (H, W, 3) uint8 RGB of linear radiance (H, W, 3)."""
    ranges = SENSORS[look]
    height, width = radiance.shape[:2]
    mean = float(np.minimum(radiance, 4 * radiance.mean() + 1e-6).mean())
    image = radiance * np.float32(rng.uniform(*ranges.exposure) / max(mean, 1e-4))
    image = image * _vignette(width, height, rng.uniform(*ranges.vignette))
    image = blur(image, rng.uniform(*ranges.blur_px))
    shot, read = rng.uniform(*ranges.shot), rng.uniform(*ranges.read)
    deviation = np.sqrt(np.float32(shot**2) * np.clip(image, 0, 1) + np.float32(read**2))
    image = image + deviation * rng.standard_normal(image.shape, dtype=np.float32)
    white = 1 + rng.uniform(-ranges.white, ranges.white, 3) * [1, 0, 1]
    image = np.clip(image * white.astype(np.float32), 0, None)
    # A soft shoulder instead of hard clipping: highlights keep some gradation.
    image = np.where(image > 0.8, 0.8 + 0.2 * np.tanh((image - 0.8) / 0.4), image)
    image = np.clip(image, 0, 1) ** np.float32(1 / rng.uniform(*ranges.gamma))
    strength = np.float32(rng.uniform(*ranges.contrast))
    image = image + strength * (image * image * (3 - 2 * image) - image)
    return np.asarray(np.round(np.clip(image, 0, 1) * 255), dtype=np.uint8)


def _vignette(width: int, height: int, loss: float) -> Float:
    x = (np.arange(width, dtype=np.float32) - (width - 1) / 2) / (width / 2)
    y = (np.arange(height, dtype=np.float32) - (height - 1) / 2) / (height / 2)
    return np.asarray(1 - np.float32(loss) * (x[None, :] ** 2 + y[:, None] ** 2)[..., None] / 2)


def measure_depth(depth: Float, noise_mm: float, depth_scale: float, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Depth image (H, W) uint16 in units of depth_scale mm; 0 stays 0 and noise never makes a measurement 0."""
    noisy = depth
    if noise_mm > 0:
        noisy = depth + np.float32(noise_mm) * rng.standard_normal(depth.shape, dtype=np.float32)
    units = np.clip(np.round(noisy / np.float32(depth_scale)), 1, 65535)
    return np.where((depth > 0) & (depth < 65535 * depth_scale), units, 0).astype(np.uint16)
