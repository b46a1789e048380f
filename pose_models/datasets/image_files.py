"""Images as files or as members of archives: read and checked to be whole, written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_models.files import InputError


def read_image(path: Path, flags: int) -> NDArray[Any]:
    """Read an image with OpenCV (BGR order as it comes).

    Raises:
        InputError: the file is missing, truncated or no image.
    """
    if not path.exists():
        raise InputError(f"{path}: file not found")
    return decode_image(path.read_bytes(), str(path), flags)


def decode_image(content: bytes, name: str, flags: int) -> NDArray[Any]:
    """Decode an image file's content; `name` says where it lies and what it is (its suffix).

    Raises:
        InputError: truncated or no image.
    """
    if name.endswith(".png") and not content.rstrip(b"\0").endswith(b"IEND\xaeB`\x82"):
        raise InputError(f"{name}: truncated or unreadable PNG; fetch or make the file again")
    if name.endswith((".jpg", ".jpeg")) and b"\xff\xd9" not in content[-64:]:
        raise InputError(f"{name}: truncated or unreadable JPEG; fetch or make the file again")
    image = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    if image is None:
        raise InputError(f"{name}: unreadable image; fetch or make the file again")
    return np.asarray(image)


def write_png(path: Path, image: NDArray[Any]) -> None:
    """Write an image (BGR order) as a fast, lightly compressed PNG: generation waits for the compressor otherwise."""
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    if image.dtype == np.uint8 and image.ndim == 2:  # masks
        options += [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    elif image.dtype == np.uint16:  # depth: as small as with the filters that OpenCV chooses, in half the time
        options += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
    done, content = cv2.imencode(".png", np.ascontiguousarray(image), options)
    if not done:
        raise OSError(f"{path}: the image could not be encoded as PNG")
    path.write_bytes(content.tobytes())
