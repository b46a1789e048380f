"""Compiled loops of the light that arrives at the pixels of a picture (see `shading`), from a quarter of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from pose_models.compiled import carray, kernel


@kernel("i8", "i8", "i8", "f4*", "f4*", "i4*", "f4*", "f4*", "i8", "f4*", "f4*", "f4*", "f8", "f8", "i8*", "f4*", "f4*")
def light_queries(
    height: int, width: int, origin_: Any, direction_: Any, body_: Any, depth_: Any, normal_: Any,
    lamps: int, lamp_: Any, sphere_: Any, ball_: Any, offset: float, reach: float,
    cell_: Any, start_: Any, target_: Any,
) -> int:  # fmt: skip # pragma: no cover - compiled
    """Shadow rays of every second pixel of every second row: cells with a surface, starts, vectors to lamps and around.

    lamp: (lamps, 4) position and radius. target: (lamps + 1, cells, 3), the last for the surroundings.
    """
    origin, direction = carray(origin_, (3,)), carray(direction_, (height, width, 3))
    body, depth = carray(body_, (height, width)), carray(depth_, (height, width))
    normal, lamp = carray(normal_, (height, width, 3)), carray(lamp_, (lamps, 4))
    sphere, ball = carray(sphere_, (16, 3)), carray(ball_, (16, 3))
    rows, columns = (height + 1) // 2, (width + 1) // 2
    cell, start = carray(cell_, (rows * columns,)), carray(start_, (rows * columns, 3))
    target = carray(target_, (lamps + 1, rows * columns, 3))
    count = 0
    # Blocks of 16 x 16 cells, and in each those of one place in the pattern together: packets of rays almost alike.
    for number in range((rows + 15) // 16 * ((columns + 15) // 16) * 256):
        block, pattern, member = number // 256, number // 16 % 16, number % 16
        row = block // ((columns + 15) // 16) * 16 + member // 4 * 4 + pattern // 4
        column = block % ((columns + 15) // 16) * 16 + member % 4 * 4 + pattern % 4
        y, x = 2 * row, 2 * column
        if y >= height or x >= width or body[y, x] < 0:
            continue
        cell[count] = row * columns + column
        square = 0.0
        for axis in range(3):
            place = origin[axis] + depth[y, x] * direction[y, x, axis]
            start[count, axis] = place + offset * normal[y, x, axis]
            for index in range(lamps):
                jitter = lamp[index, 3] * ball[(pattern + 5 * index) % 16, axis]
                target[index, count, axis] = lamp[index, axis] + jitter - place
            # Normal plus a point of the unit sphere: a direction distributed like the cosine.
            around = normal[y, x, axis] + 0.999 * sphere[pattern, axis]
            target[lamps, count, axis] = around
            square += around * around
        scale = reach / max(np.sqrt(square), 1e-6)
        for axis in range(3):
            target[lamps, count, axis] *= scale
        for index in range(lamps):
            toward = target[index, count]
            if toward[0] * normal[y, x, 0] + toward[1] * normal[y, x, 1] + toward[2] * normal[y, x, 2] <= 0.0:
                # Its light falls on the other side, whatever stands between: a ray of no length is answered fast.
                for axis in range(3):
                    target[index, count, axis] = np.float32(1e-3) * normal[y, x, axis]
        count += 1
    return count


@kernel("void", "i8", "i8", "i8", "i4*", "f4*", "f4*", "f4*", "f4*", "u1*")
def smooth_light(
    height: int, width: int, channels: int, body_: Any, normal_: Any, raw_: Any, work_: Any, smooth_: Any,
    is_plain_: Any,
) -> None:  # fmt: skip # pragma: no cover - compiled
    """Average the light of cells (every second pixel) over 4 x 4 cells of the same body and like orientation.

    is_plain: whether the next cells right and below show the same surface too, so that light between is bilinear.
    work: (11 + 2 * channels, 68), rows for 64 cells at a time and their neighbours (see `shade_samples`).
    """
    rows, columns = (height + 1) // 2, (width + 1) // 2
    body, normal = carray(body_, (height, width)), carray(normal_, (height, width, 3))
    raw, smooth = carray(raw_, (rows, columns, channels)), carray(smooth_, (rows, columns, channels))
    is_plain, w = carray(is_plain_, (rows, columns)), carray(work_, (11 + 2 * channels, 68))
    one, zero = np.float32(1.0), np.float32(0.0)
    for row in range(rows):
        for first in range(0, columns, 64):
            filled = min(64, columns - first)
            # Rows: 0 body, 1-3 normal; 4 cells alike, 5 those of the next ones; 6 whether a neighbour is alike;
            # 7 body and 8-10 normal of a row of neighbours, two more on either side; 11 light, sums of light.
            for j in range(64):
                c = 2 * min(first + j, columns - 1)
                w[0, j], w[4, j], w[5, j] = np.float32(body[2 * row, c]), zero, zero
                w[1, j], w[2, j], w[3, j] = normal[2 * row, c, 0], normal[2 * row, c, 1], normal[2 * row, c, 2]
                for channel in range(channels):
                    w[11 + channels + channel, j] = zero
            for r in range(max(row - 2, 0), min(row + 2, rows)):
                for j in range(68):
                    c = min(max(first + j - 2, 0), columns - 1)
                    w[7, j] = np.float32(body[2 * r, 2 * c]) if c == first + j - 2 else np.float32(-2.0)
                    for axis in range(3):
                        w[8 + axis, j] = normal[2 * r, 2 * c, axis]
                    for channel in range(channels):
                        w[11 + channel, j] = raw[r, c, channel]
                for side in range(4):
                    next_ones = one if r >= row and side >= 2 else zero
                    for j in range(64):
                        k = j + side
                        cosine = w[1, j] * w[8, k] + w[2, j] * w[9, k] + w[3, j] * w[10, k]
                        same = one if (w[0, j] == w[7, k]) & (cosine > np.float32(0.9)) else zero
                        w[4, j] += same
                        w[5, j] += same * next_ones
                        w[6, j] = same
                    for channel in range(channels):
                        for j in range(64):
                            w[11 + channels + channel, j] += w[6, j] * w[11 + channel, j + side]
            for j in range(filled):
                hit = w[0, j] >= zero
                is_plain[row, first + j] = hit and w[5, j] == np.float32(4.0)
                for channel in range(channels):
                    smooth[row, first + j, channel] = w[11 + channels + channel, j] / w[4, j] if hit else zero


@kernel("void", "i8", "i8", "i8*", "f4*", "i8", "i8", "i8", "i4*", "f4*", "i4*", "f4*", "f4*", "u1*", "f4*")
def light_at(
    pixels: int, samples: int, pixel_: Any, offset_: Any, height: int, width: int, channels: int,
    map_body_: Any, map_normal_: Any, body_: Any, normal_: Any, light_: Any, is_plain_: Any, received_: Any,
) -> None:  # fmt: skip # pragma: no cover - compiled
    """Light (pixels * samples, channels) at samples, from the cells around them that show the same surface.

    pixel: indices (pixels,); samples: a power of two.
    offset: (samples, 2) px from the pixel's centre. Cells are weighted by nearness; where none of the nearest four
    has the orientation, those of the same body around them count, and where there is none, nothing is shadowed.
    """
    total, rows, columns = pixels * samples, (height + 1) // 2, (width + 1) // 2
    pixel, offset = carray(pixel_, (pixels,)), carray(offset_, (samples, 2))
    map_body, map_normal = carray(map_body_, (height, width)), carray(map_normal_, (height, width, 3))
    body, normal = carray(body_, (total,)), carray(normal_, (total, 3))
    light, received = carray(light_, (rows, columns, channels)), carray(received_, (total, channels))
    is_plain, one = carray(is_plain_, (rows, columns)), np.float32(1.0)
    exponent = 0
    while 1 << exponent < samples:
        exponent += 1
    y = 0
    for i in range(total):
        place, sample = pixel[i >> exponent], i & (samples - 1)
        if place < y * width or place >= (y + 1) * width:
            y = place // width
        b = body[i]
        if b < 0:
            continue
        x = place - y * width
        v, u = np.float32(0.5) * (y + offset[sample, 1]), np.float32(0.5) * (x + offset[sample, 0])
        weight = np.float32(0.0)
        for channel in range(channels):
            received[i, channel] = 0.0
        r, c = y // 2, x // 2
        m = map_normal[2 * r, 2 * c]
        cosine = normal[i, 0] * m[0] + normal[i, 1] * m[1] + normal[i, 2] * m[2]
        if is_plain[r, c] and map_body[2 * r, 2 * c] == b and cosine > 0.9:
            fu, fv = max(u - np.float32(c), np.float32(0.0)), max(v - np.float32(r), np.float32(0.0))
            for channel in range(channels):
                upper = light[r, c, channel] + fu * (light[r, c + 1, channel] - light[r, c, channel])
                lower = light[r + 1, c, channel] + fu * (light[r + 1, c + 1, channel] - light[r + 1, c, channel])
                received[i, channel] = upper + fv * (lower - upper)
            continue
        for wide in range(2):
            if weight > 0.0:
                break
            least = np.float32(0.05) * wide
            for r in range(max(y // 2 - wide, 0), min(y // 2 + 2 + wide, rows)):
                for c in range(max(x // 2 - wide, 0), min(x // 2 + 2 + wide, columns)):
                    near = max(one - abs(u - np.float32(c)), least) * max(one - abs(v - np.float32(r)), least)
                    if near == 0.0 or map_body[2 * r, 2 * c] != b:
                        continue
                    if wide == 0:
                        m = map_normal[2 * r, 2 * c]
                        if normal[i, 0] * m[0] + normal[i, 1] * m[1] + normal[i, 2] * m[2] <= 0.9:
                            continue
                    weight += near
                    for channel in range(channels):
                        received[i, channel] += near * light[r, c, channel]
        for channel in range(channels):
            received[i, channel] = received[i, channel] / weight if weight > 0.0 else one
