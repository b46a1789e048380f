"""Compiled loop of the camera model (see `sensor.expose`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from pose_models.compiled import carray, compile_all, kernel


@kernel("void", "i8", "i8", "f4*", "f4*", "f8", "f8", "f4*", "f8", "f8", "u1*", "i8", "f8", "u1*")
def develop(
    height: int, width: int, radiance_: Any, noise_: Any, gain: float, vignette: float, white_: Any, shot: float,
    read: float, curve_: Any, steps: int, brightest: float, picture_: Any,
) -> None:  # fmt: skip # pragma: no cover - compiled
    """Radiance to bytes: gain, vignette, noise, white balance, tone curve.

    curve: (steps,) bytes over the square root of the value, 0 to brightest.
    """
    radiance, noise = carray(radiance_, (height, width, 3)), carray(noise_, (height, width, 3))
    white, curve = carray(white_, (3,)), carray(curve_, (steps,))
    picture = carray(picture_, (height, width, 3))
    f = np.float32
    factor, loss = f(gain), f(vignette)
    shot_square, read_square, zero, one = f(shot * shot), f(read * read), f(0.0), f(1.0)
    resolution, last = f((steps - 1) / np.sqrt(brightest)), f(steps - 1)
    for y in range(height):
        v = f((y - (height - 1) / 2) / (height / 2))
        for x in range(width):
            u = f((x - (width - 1) / 2) / (width / 2))
            scale = factor * (one - loss * (u * u + v * v) * f(0.5))
            for c in range(3):
                value = radiance[y, x, c] * scale
                value += np.sqrt(shot_square * min(max(value, zero), one) + read_square) * noise[y, x, c]
                step = np.sqrt(max(value * white[c], zero)) * resolution
                picture[y, x, c] = curve[int(min(step, last) + f(0.5))]


if __name__ == "__main__":
    print("compiled: " + ", ".join(compile_all()))
