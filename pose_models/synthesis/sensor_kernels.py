"""Compiled loop of the camera model (see `sensor.expose`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from pose_models.compiled import carray, compile_all, kernel


@kernel("void", "i8", "i8", "f4*", "f4*", "f8", "f8", "f4*", "f8", "f8", "u1*", "i8", "f8", "f4*", "u1*")
def develop(
    height: int, width: int, radiance_: Any, noise_: Any, gain: float, vignette: float, white_: Any, shot: float,
    read: float, curve_: Any, steps: int, brightest: float, work_: Any, picture_: Any,
) -> None:  # fmt: skip # pragma: no cover - compiled
    """Radiance to bytes: gain, vignette, noise, white balance, tone curve.

    curve: (steps,) bytes over the square root of the value, 0 to brightest. work: (3, 64), as many pixels at a time:
    loops of fixed length over them are what the compiler turns into vector instructions.
    """
    radiance, noise = carray(radiance_, (height, width, 3)), carray(noise_, (height, width, 3))
    white, curve = carray(white_, (3,)), carray(curve_, (steps,))
    picture = carray(picture_, (height, width, 3))
    f = np.float32
    factor, loss = f(gain), f(vignette)
    shot_square, read_square, zero, one = f(shot * shot), f(read * read), f(0.0), f(1.0)
    resolution, last = f((steps - 1) / np.sqrt(brightest)), f(steps - 1)
    work = carray(work_, (3, 64))
    for y in range(height):
        v = f((y - (height - 1) / 2) / (height / 2))
        for first in range(0, width, 64):
            start = max(min(first, width - 64), 0)  # the last pixels may be done twice
            filled = min(64, width)
            for c in range(3):
                balance = white[c]
                for j in range(filled):
                    work[0, j], work[1, j] = radiance[y, start + j, c], noise[y, start + j, c]
                for j in range(64):
                    u = f(2.0 / width) * f(start + j) - f((width - 1) / width)
                    value = work[0, j] * (factor * (one - loss * (u * u + v * v) * f(0.5)))
                    value += np.sqrt(shot_square * min(max(value, zero), one) + read_square) * work[1, j]
                    step = np.sqrt(max(value * balance, zero)) * resolution
                    work[2, j] = min(step, last) + f(0.5)
                for j in range(filled):
                    picture[y, start + j, c] = curve[int(work[2, j])]


if __name__ == "__main__":
    print("compiled: " + ", ".join(compile_all()))
