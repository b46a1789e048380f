"""Compiled loop over the rays that meet a model with a texture of its own (see `shading.albedo_at`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from pose_models.compiled import carray, kernel


@kernel(
    "void", "i8", "i8", "i4*", "i4*", "f4*", "f4*", "i8", "f4*", "i8", "i8", "f4*", "f4*",
)  # fmt: skip
def own_texture(
    count: int, which: int, body_: Any, face_: Any, u_: Any, v_: Any, faces: int, uv_: Any,
    height: int, width: int, texel_: Any, albedo_: Any,
) -> None:  # fmt: skip # pragma: no cover - compiled
    """Multiply the albedo (count, 3) of rays that meet body `which` by its texture; bound it to 0.01..0.97.

    uv: (faces, 3, 2) of the corners, u right, v up from the lower edge; the texture repeats beyond its borders.
    """
    body, face = carray(body_, (count,)), carray(face_, (count,))
    u, v, uv = carray(u_, (count,)), carray(v_, (count,)), carray(uv_, (faces, 3, 2))
    texel, albedo = carray(texel_, (height, width, 3)), carray(albedo_, (count, 3))
    one, half = np.float32(1.0), np.float32(0.5)
    for i in range(count):
        if body[i] != which:
            continue
        f, w1, w2 = face[i], u[i], v[i]
        w0 = one - w1 - w2
        across = w0 * uv[f, 0, 0] + w1 * uv[f, 1, 0] + w2 * uv[f, 2, 0]
        up = w0 * uv[f, 0, 1] + w1 * uv[f, 1, 1] + w2 * uv[f, 2, 1]
        x, y = across * np.float32(width) - half, (one - up) * np.float32(height) - half
        left, top = np.floor(x), np.floor(y)
        x, y = x - left, y - top
        j, k = int(left) % width, int(top) % height
        jj, kk = (j + 1) % width, (k + 1) % height
        for c in range(3):
            upper = texel[k, j, c] + x * (texel[k, jj, c] - texel[k, j, c])
            lower = texel[kk, j, c] + x * (texel[kk, jj, c] - texel[kk, j, c])
            value = albedo[i, c] * (upper + y * (lower - upper))
            albedo[i, c] = min(max(value, np.float32(0.01)), np.float32(0.97))
