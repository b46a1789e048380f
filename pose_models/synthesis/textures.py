"""Procedural textures: noise, stripes, checkers, wood, blobs and print-like layers, as float32 RGB images in 0..1.

All wrap around at their borders, more or less visibly, and are drawn from a generator only.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]


def value_noise(size: int, cells: int, octaves: int, rng: np.random.Generator) -> Float:
    """Smooth noise (size, size) in 0..1: octaves of random grids, the first with `cells` cells per side."""
    total = np.zeros((size, size), dtype=np.float32)
    for octave in range(octaves):
        count = min(cells * 2**octave, size)
        grid = np.pad(rng.random((count, count), dtype=np.float32), ((0, 2), (0, 2)), mode="wrap")
        # The padded grid is enlarged and cut, so that opposite borders meet.
        enlarged = cv2.resize(grid, None, fx=size / count, fy=size / count, interpolation=cv2.INTER_CUBIC)
        start = int(0.5 * size / count)
        total += enlarged[start : start + size, start : start + size] * np.float32(0.5**octave)
    low, high = total.min(), total.max()
    return np.asarray((total - low) / max(high - low, 1e-6), dtype=np.float32)


def random_color(rng: np.random.Generator, saturation: tuple[float, float] = (0.0, 1.0)) -> Float:
    """A linear RGB colour (3,) in 0.02..0.95 of any hue, of the given range of saturation."""
    hue, s, v = rng.random(), rng.uniform(*saturation), rng.uniform(0.08, 0.95)
    channel = np.abs((hue * 6 + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1
    return np.asarray(np.clip(v * (1 + s * (np.clip(channel, 0, 1) - 1)), 0.02, 0.95), dtype=np.float32)


def _ramp(values: Float, rng: np.random.Generator) -> Float:
    """Colour a field (H, W) by a random ramp of three colours."""
    colors = np.stack([random_color(rng) for _ in range(3)])
    stops = np.array([0.0, rng.uniform(0.3, 0.7), 1.0])
    return np.stack([np.interp(values, stops, colors[:, c]) for c in range(3)], axis=-1).astype(np.float32)


def _noise(size: int, rng: np.random.Generator) -> Float:
    return _ramp(value_noise(size, int(rng.integers(2, 17)), int(rng.integers(1, 6)), rng), rng)


def _gradient(size: int, rng: np.random.Generator) -> Float:
    angle = rng.uniform(0, 2 * np.pi)
    u, v = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size))
    field = 0.5 + 0.4 * (np.cos(angle) * u + np.sin(angle) * v)
    return _ramp(field.astype(np.float32), rng)


def _checker(size: int, rng: np.random.Generator) -> Float:
    cell = size // int(rng.choice([4, 8, 16, 32]))
    index = np.arange(size) // cell
    board = (index[:, None] + index) % 2
    return np.where(board[..., None] == 0, random_color(rng), random_color(rng)).astype(np.float32)


def _stripes(size: int, rng: np.random.Generator) -> Float:
    """Straight or wavy stripes; wavy and fine ones look like wood."""
    u, v = np.meshgrid(np.arange(size), np.arange(size))
    direction = rng.integers(0, 2)
    warp = rng.choice([0.0, 0.15, 0.5]) * value_noise(size, 3, 3, rng)
    phase = ((u if direction else v) / size + warp) * rng.integers(2, 25)
    wave = 0.5 + 0.5 * np.sin(2 * np.pi * phase)
    if rng.random() < 0.4:
        wave = (wave > 0.5).astype(np.float32)
    return _ramp(wave.astype(np.float32), rng)


def _shapes(size: int, rng: np.random.Generator) -> Float:
    """Print-like: rectangles, ellipses, polygons, lines and letters over a plain or noisy ground."""
    image = np.ascontiguousarray(
        _noise(size, rng) if rng.random() < 0.3 else np.tile(random_color(rng), (size, size, 1))
    )
    for _ in range(rng.integers(4, 22)):
        color = tuple(float(c) for c in random_color(rng))
        x, y = (int(value) for value in rng.integers(0, size, 2))
        w, h = (int(value) for value in size * rng.uniform(0.03, 0.35, 2))
        kind = rng.integers(0, 5)
        if kind == 0:
            cv2.rectangle(image, (x - w, y - h), (x + w, y + h), color, -1)
        elif kind == 1:
            cv2.ellipse(image, (x, y), (w, h), float(rng.uniform(0, 180)), 0, 360, color, -1, cv2.LINE_AA)
        elif kind == 2:
            corners = np.array([x, y]) + rng.integers(-w - 2, w + 2, (int(rng.integers(3, 7)), 2))
            cv2.fillPoly(image, [corners.astype(np.int32)], color, cv2.LINE_AA)
        elif kind == 3:
            end = (int(x + rng.integers(-size, size)), int(y + rng.integers(-size, size)))
            cv2.line(image, (x, y), end, color, int(rng.integers(1, 8)), cv2.LINE_AA)
        else:
            text = "".join(chr(c) for c in rng.integers(48, 91, int(rng.integers(2, 9))))
            scale = float(rng.uniform(0.5, 3.0)) * size / 256
            font = int(rng.integers(0, 8))
            cv2.putText(image, text, (x - w, y), font, scale, color, int(rng.integers(1, 6)), cv2.LINE_AA)
    return image


def texture(size: int, rng: np.random.Generator) -> Float:
    """A random texture (size, size, 3) of any kind, sometimes with fine grain over it."""
    image = KINDS[rng.integers(0, len(KINDS))](size, rng)
    if rng.random() < 0.5:
        image = image * (1 + 0.4 * rng.random() * (value_noise(size, 32, 3, rng)[..., None] - 0.5))
    return np.clip(image, 0.0, 1.0).astype(np.float32)


def wood(size: int, rng: np.random.Generator) -> Float:
    """Board of light or brown wood (size, size, 3)."""
    coarse, fine = value_noise(size, 2, 2, rng), value_noise(size, 32, 3, rng)
    along = [cv2.resize(np.ascontiguousarray(noise[:, : size // 16]), (size, size)) for noise in (coarse, fine)]
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * 7 * (coarse * 0.15 + along[0]))  # grain runs along the rows
    field = 0.35 * rings + 0.65 * along[1]
    light = np.array([0.60, 0.42, 0.24]) * rng.uniform(0.5, 1.3)
    return np.asarray(np.clip(light * (0.75 + 0.4 * field[..., None]), 0.02, 0.95).astype(np.float32))


KINDS = (_noise, _gradient, _checker, _stripes, wood, _shapes, _shapes)


def sample_wrapped(image: Float, uv: NDArray[np.floating]) -> Float:
    """Bilinear samples (N, 3) of an image (S, S, 3) at uv (N, 2) in pixels, wrapping at the borders."""
    size = image.shape[0]
    floor = np.floor(uv)
    fraction = (uv - floor).astype(np.float32)
    index = floor.astype(np.int64) % size
    after = (index + 1) % size
    flat = image.reshape(-1, 3)
    fu, fv = fraction[:, :1], fraction[:, 1:]
    top = flat[index[:, 1] * size + index[:, 0]] * (1 - fu) + flat[index[:, 1] * size + after[:, 0]] * fu
    bottom = flat[after[:, 1] * size + index[:, 0]] * (1 - fu) + flat[after[:, 1] * size + after[:, 0]] * fu
    return np.asarray(top * (1 - fv) + bottom * fv)
