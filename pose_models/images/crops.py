"""Square, possibly rotated crops around an object (surfemb.md section 4.1).

A crop is an affine map M (2, 3) from source pixels to crop pixels, both with pixel centres at integers. The box's
centre lands at side / 2 (not at (side - 1) / 2): the crop's intrinsics account for it.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pose_models.geometry.cameras import crop_intrinsics

Array = NDArray[np.float64]

INTERPOLATIONS = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_AREA, cv2.INTER_CUBIC)


@dataclasses.dataclass(frozen=True)
class CropJitter:
    """Random part of a crop: rotation theta rad, scale factor, shift (x, y) in crop pixels."""

    theta: float = 0.0
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)


def draw_jitter(
    rng: np.random.Generator, side: int, crop_scale: float, max_angle: float, strength: float
) -> CropJitter:
    """Draw a training crop's jitter: theta, then the scale factor, then the shift.

    Args:
        side: crop side in pixels.
        crop_scale: the crop's side over the box's longer side.
        max_angle: theta is uniform in +-max_angle rad.
        strength: 0 for no jitter of scale and shift, 1 for the paper's (5 % scale, box stays inside the crop).
    """
    theta = float(rng.uniform(-max_angle, max_angle))
    scale = float(rng.uniform(1 - 0.05 * strength, 1 + 0.05 * strength))
    offset = strength * (side - side / crop_scale) / 2
    return CropJitter(theta, scale, (float(rng.uniform(-offset, offset)), float(rng.uniform(-offset, offset))))


@dataclasses.dataclass(frozen=True)
class Crop:
    """A crop of an image: M (2, 3) maps source to crop pixels, `side` is the crop's width and height."""

    M: Array
    side: int

    @classmethod
    def from_mask(cls, mask: NDArray[np.bool_], side: int, crop_scale: float, jitter: CropJitter) -> Crop:
        """Crop around the pixels of a mask (H, W) as seen after the rotation.

        Raises:
            ValueError: the mask is empty.
        """
        rows, columns = np.nonzero(mask)
        if len(rows) == 0:
            raise ValueError("empty mask")
        return cls.around_points(np.stack([columns, rows], axis=1), side, crop_scale, jitter)

    @classmethod
    def around_points(cls, points: ArrayLike, side: int, crop_scale: float, jitter: CropJitter) -> Crop:
        """Crop around pixels (N, 2) (x, y) as seen after the rotation; a mask's convex hull stands for the mask."""
        rotated = _rotation(jitter.theta) @ np.asarray(points, dtype=np.float64).T
        return cls._around(rotated, side, crop_scale, jitter)

    @classmethod
    def from_box(cls, box_ltrb: ArrayLike, side: int, crop_scale: float, jitter: CropJitter | None = None) -> Crop:
        """Crop around a box (left, top, right, bottom) in pixels; the reference rounds boxes to integers first."""
        left, top, right, bottom = np.asarray(box_ltrb, dtype=np.float64)
        jitter = jitter or CropJitter()
        corners = np.array([[left, right, right, left], [top, top, bottom, bottom]])
        return cls._around(_rotation(jitter.theta) @ corners, side, crop_scale, jitter)

    @classmethod
    def _around(cls, rotated: Array, side: int, crop_scale: float, jitter: CropJitter) -> Crop:
        low, high = rotated.min(axis=1), rotated.max(axis=1)
        gain = side / max(float((high - low).max()), 1e-6) / crop_scale * jitter.scale
        M = gain * np.column_stack([_rotation(jitter.theta), -(low + high) / 2])
        M[:, 2] += side / 2 + np.asarray(jitter.shift)
        return cls(M, side)

    def moved(self, x: float, y: float) -> Crop:
        """The same crop of an image whose content was moved by (x, y) pixels."""
        M = self.M.copy()
        M[:, 2] -= M[:, :2] @ np.array([x, y], dtype=np.float64)
        return Crop(M, self.side)

    def intrinsics(self, K: ArrayLike) -> Array:
        """Intrinsics (3, 3) of the crop; not upper-triangular after a rotation."""
        return crop_intrinsics(self.M, K)

    def covering_box(self) -> tuple[int, int, int, int]:
        """Source region (left, top, right, bottom), right and bottom exclusive, that the crop shows.

        Left and top are clipped to 0 and the box is at least one pixel wide; right and bottom may exceed the image.
        """
        corners = np.array([[0, 0, self.side, self.side], [0, self.side, 0, self.side]]) - 0.5
        source = np.linalg.inv(self.M[:, :2]) @ (corners - self.M[:, 2:])
        left, top = np.maximum(np.floor(source.min(axis=1)), 0).astype(int)
        right, bottom = np.ceil(source.max(axis=1)).astype(int) + 1
        return int(left), int(top), max(int(right), int(left) + 1), max(int(bottom), int(top) + 1)

    def warp(self, image: NDArray[np.generic], interpolation: int = cv2.INTER_LINEAR) -> NDArray[np.generic]:
        """Warp an image (H, W) or (H, W, C) into the crop; 0 outside the source."""
        return np.asarray(cv2.warpAffine(np.asarray(image), self.M, (self.side, self.side), flags=interpolation))


def _rotation(theta: float) -> Array:
    cos, sin = np.cos(theta), np.sin(theta)
    return np.array([[cos, -sin], [sin, cos]])
