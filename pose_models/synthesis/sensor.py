"""From radiance to a camera's picture: exposure, vignette, lens blur, noise, colour, tone curve, 8 bits."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from pose_models.render.scene import Float
from pose_models.render.shading import blur
from pose_models.synthesis.config import Look
from pose_models.synthesis.sensor_kernels import develop

Range = tuple[float, float]
STEPS = 8192  # of the tone curve's table
BRIGHTEST = 4.0  # linear value at its end; 1 is white


@dataclasses.dataclass(frozen=True)
class SensorRanges:
    """Ranges of a look's camera.

    exposure: grey value that the mean is brought to, linear. vignette: loss at the corners. blur_px: Gaussian sigma.
    shot, read: noise standard deviation at full scale, and at black (linear, full scale 1). white: largest gain error
    of red and blue. gamma: exponent of the tone curve. contrast: strength of an S curve.
    quality: of the JPEG that is written, in percent; None for PNG, as published test images are.
    """

    exposure: Range
    vignette: Range
    blur_px: Range
    shot: Range
    read: Range
    white: float
    gamma: Range
    contrast: Range
    quality: Range | None


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
        quality=None,
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
    "cosypose": SensorRanges(  # the recording adds no noise and stores at quality 100; augmentation comes in training
        exposure=(0.25, 0.25),
        vignette=(0.0, 0.0),
        blur_px=(0.0, 0.0),
        shot=(0.0, 0.0),
        read=(0.0, 0.0),
        white=0.0,
        gamma=(2.2, 2.2),
        contrast=(0.0, 0.0),
        quality=(100, 100),
    ),
}


def expose(radiance: Float, look: Look, rng: np.random.Generator, noise: Float) -> NDArray[np.uint8]:
    """Picture (H, W, 3) uint8 RGB of linear radiance (H, W, 3).

    Args:
        noise: (H * W * 3,) standard normal numbers.
    """
    ranges = SENSORS[look]
    height, width = radiance.shape[:2]
    sparse = radiance[::2, ::2]  # enough for a mean
    mean = float(np.minimum(sparse, 4 * sparse.mean() + 1e-6).mean())
    gain = rng.uniform(*ranges.exposure) / max(mean, 1e-4)
    vignette = rng.uniform(*ranges.vignette)
    image = np.ascontiguousarray(blur(radiance, rng.uniform(*ranges.blur_px)), dtype=np.float32)
    shot, read = rng.uniform(*ranges.shot), rng.uniform(*ranges.read)
    white = (1 + rng.uniform(-ranges.white, ranges.white, 3) * [1, 0, 1]).astype(np.float32)
    curve = tone_curve(rng.uniform(*ranges.gamma), rng.uniform(*ranges.contrast))
    picture = np.empty((height, width, 3), dtype=np.uint8)
    noise = np.ascontiguousarray(noise, dtype=np.float32)
    work = np.zeros((3, 64), dtype=np.float32)
    develop(height, width, image, noise, gain, vignette, white, shot, read, curve, len(curve), BRIGHTEST, work, picture)
    return picture


def tone_curve(gamma: float, contrast: float) -> NDArray[np.uint8]:
    """Bytes (STEPS,) of linear values whose square roots go evenly from 0 to that of BRIGHTEST."""
    value = np.linspace(0, 1, STEPS) ** 2 * BRIGHTEST
    # A soft shoulder instead of hard clipping: highlights keep some gradation.
    value = np.where(value > 0.8, 0.8 + 0.2 * np.tanh((value - 0.8) / 0.4), value) ** (1 / gamma)
    value = value + contrast * (value * value * (3 - 2 * value) - value)
    return np.round(np.clip(value, 0, 1) * 255).astype(np.uint8)


def jpeg_quality(look: Look, rng: np.random.Generator) -> int | None:
    """Quality in percent of the JPEG that a look's camera writes; None where it writes PNG."""
    quality = SENSORS[look].quality
    return None if quality is None else int(rng.integers(int(quality[0]), int(quality[1]) + 1))


def measure_depth(depth: Float, noise_mm: float, depth_scale: float, noise: Float) -> NDArray[np.uint16]:
    """Depth image (H, W) uint16 in units of depth_scale mm; 0 stays 0 and noise never makes a measurement 0.

    Args:
        noise: (H * W,) standard normal numbers.
    """
    units = depth * np.float32(1 / depth_scale)
    if noise_mm > 0:
        units += noise.reshape(depth.shape) * np.float32(noise_mm / depth_scale)
    np.rint(units, out=units)
    np.clip(units, 1, 65535, out=units)
    units[(depth <= 0) | (depth >= 65535 * depth_scale)] = 0
    return units.astype(np.uint16)
