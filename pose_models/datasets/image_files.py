"""Images as files or as members of archives, checked to be whole."""

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
