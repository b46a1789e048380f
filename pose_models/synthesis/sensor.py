"""From radiance to a camera's picture: exposure, vignette, lens blur, noise, colour, tone curve, 8 bits, JPEG."""

from __future__ import annotations

import dataclasses

import cv2
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
    quality: of the JPEG compression inside the camera, in percent.
    """

    exposure: Range
    vignette: Range
    blur_px: Range
    shot: Range
    read: Range
    white: float
    gamma: Range
    contrast: Range
    quality: Range


SENSORS: dict[Look, SensorRanges] = {
    "train": SensorRanges(
        exposure=(0.12, 0.35),
        vignette=(0.0, 0.3),
        blur_px=(0.3, 0.9),
        shot=(0.0, 0.02),
        read=(0.0, 0.008),
        white=0.12,
        gamma=(2.0, 2.4),
        contrast=(0.0, 0.3),
        quality=(60, 100),
    ),
    "test": SensorRanges(
        exposure=(0.24, 0.30),
        vignette=(0.15, 0.25),
        blur_px=(0.55, 0.75),
        shot=(0.012, 0.018),
        read=(0.003, 0.005),
        white=0.04,
        gamma=(2.2, 2.2),
        contrast=(0.1, 0.2),
        quality=(92, 96),
    ),
    "random": SensorRanges(
        exposure=(0.10, 0.40),
        vignette=(0.0, 0.4),
        blur_px=(0.3, 1.3),
        shot=(0.0, 0.025),
        read=(0.0, 0.01),
        white=0.2,
        gamma=(1.8, 2.6),
        contrast=(0.0, 0.5),
        quality=(25, 100),
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
    picture = np.asarray(np.round(np.clip(image, 0, 1) * 255), dtype=np.uint8)
    return _compressed(picture, int(rng.uniform(*ranges.quality)))


def _compressed(picture: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """A picture as it comes back from a JPEG of the given quality in percent."""
    _, content = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR), dtype=np.uint8)


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
