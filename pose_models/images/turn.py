"""Images turned about the optical axis, with masks and poses."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def turned(
    image: NDArray[np.uint8], mask: NDArray[Any], K: Array, T_cam_obj: Array, angle: float
) -> tuple[NDArray[np.uint8], NDArray[Any], Array]:
    """What a camera sees that has been turned about its optical axis; its intrinsics stay.

    Args:
        image: (H, W, 3). mask: (H, W) of bool or labels. K: (3, 3), pixel centres at integers. T_cam_obj: (4, 4).
        angle: rad; things move clockwise in the image.

    Returns:
        image, bilinear, and mask, nearest, 0 where the old image has no pixels; T_cam_obj.
    """
    cosine, sine = np.cos(angle), np.sin(angle)
    turn = np.array([[cosine, -sine, 0.0, 0.0], [sine, cosine, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    in_pixels = (K @ turn[:3, :3] @ np.linalg.inv(K))[:2]
    size = (image.shape[1], image.shape[0])
    labels = mask.astype(np.uint8) if mask.dtype == np.bool_ else mask
    moved = cv2.warpAffine(labels, in_pixels, size, flags=cv2.INTER_NEAREST).astype(mask.dtype)
    return np.asarray(cv2.warpAffine(image, in_pixels, size, flags=cv2.INTER_LINEAR)), moved, turn @ T_cam_obj
