"""Compiled loops over the pixels and samples of a picture; `shading` says what they compute and checks their input.

Per-ray arrays come as Embree gives them: body (int32, -1 for a miss), face within the body (int32), barycentric u, v
and ray parameter (float32). Tables over the faces of all bodies hold three corners per row.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pose_models.compiled import carray, compile_all, kernel


@kernel("void", "i8", "i8", "f8*", "i8", "f4*", "i8", "i8*", "f8*", "i4*", "i4*", "f4*", "f4*")
def nearest_faces(
    height: int, width: int, projection_: Any, faces: int, corners_: Any, bodies: int, first_: Any,
    inverse_: Any, body_: Any, face_: Any, u_: Any, v_: Any,
) -> None:  # fmt: skip # pragma: no cover - compiled
    """What pixel centres see, by rasterising all faces; the images hold 1/depth 0 and body -1 before.

    projection: (3, 4) world to homogeneous pixels. With the corners' homogeneous pixels as columns of M, M^-1 (x, y, 1)
    are the barycentric weights over the depth (Olano and Greer, Triangle scan conversion using 2D homogeneous
    coordinates, 1997): nothing is clipped, also not where a face reaches behind the camera.
    """
    P, corners = carray(projection_, (3, 4)), carray(corners_, (faces, 3, 3))
    first, inverse = carray(first_, (bodies,)), carray(inverse_, (height, width))
    body, face = carray(body_, (height, width)), carray(face_, (height, width))
    u, v = carray(u_, (height, width)), carray(v_, (height, width))
    b = 0
    for f in range(faces):
        while b + 1 < bodies and f >= first[b + 1]:
            b += 1
        px, py, pz = corners[f, 0, 0], corners[f, 0, 1], corners[f, 0, 2]
        ax = P[0, 0] * px + P[0, 1] * py + P[0, 2] * pz + P[0, 3]
        ay = P[1, 0] * px + P[1, 1] * py + P[1, 2] * pz + P[1, 3]
        az = P[2, 0] * px + P[2, 1] * py + P[2, 2] * pz + P[2, 3]
        px, py, pz = corners[f, 1, 0], corners[f, 1, 1], corners[f, 1, 2]
        bx = P[0, 0] * px + P[0, 1] * py + P[0, 2] * pz + P[0, 3]
        by = P[1, 0] * px + P[1, 1] * py + P[1, 2] * pz + P[1, 3]
        bz = P[2, 0] * px + P[2, 1] * py + P[2, 2] * pz + P[2, 3]
        px, py, pz = corners[f, 2, 0], corners[f, 2, 1], corners[f, 2, 2]
        cx = P[0, 0] * px + P[0, 1] * py + P[0, 2] * pz + P[0, 3]
        cy = P[1, 0] * px + P[1, 1] * py + P[1, 2] * pz + P[1, 3]
        cz = P[2, 0] * px + P[2, 1] * py + P[2, 2] * pz + P[2, 3]
        left, right, top, bottom = 0, width - 1, 0, height - 1
        if az > 1e-3 and bz > 1e-3 and cz > 1e-3:
            left = int(max(np.ceil(min(ax / az, bx / bz, cx / cz)), 0.0))
            right = int(min(np.floor(max(ax / az, bx / bz, cx / cz)), width - 1.0))
            top = int(max(np.ceil(min(ay / az, by / bz, cy / cz)), 0.0))
            bottom = int(min(np.floor(max(ay / az, by / bz, cy / cz)), height - 1.0))
        elif az <= 1e-3 and bz <= 1e-3 and cz <= 1e-3:
            continue
        if left > right or top > bottom:
            continue
        ex, ey, ez = by * cz - bz * cy, bz * cx - bx * cz, bx * cy - by * cx
        determinant = ax * ex + ay * ey + az * ez
        if determinant == 0.0:
            continue
        scale = 1.0 / determinant
        ex, ey, ez = ex * scale, ey * scale, ez * scale
        gx, gy, gz = (cy * az - cz * ay) * scale, (cz * ax - cx * az) * scale, (cx * ay - cy * ax) * scale
        hx, hy, hz = (ay * bz - az * by) * scale, (az * bx - ax * bz) * scale, (ax * by - ay * bx) * scale
        # Where the lines through the sides cross rows: thin faces need not look at all of their box.
        e_slope, g_slope, h_slope = 1.0 / ex, 1.0 / gx, 1.0 / hx
        for y in range(top, bottom + 1):
            e0, g0, h0 = ey * y + ez, gy * y + gz, hy * y + hz
            low, high = float(left), float(right)
            for side in range(3):
                step, slope, start = (
                    (ex, e_slope, e0) if side == 0 else (gx, g_slope, g0) if side == 1 else (hx, h_slope, h0)
                )
                if step > 0.0:
                    low = max(low, -start * slope - 1.0)
                elif step < 0.0:
                    high = min(high, -start * slope + 1.0)
            if not low <= high:
                continue
            for x in range(int(low), int(high) + 1):
                e, g, h = e0 + ex * x, g0 + gx * x, h0 + hx * x
                # The tolerance closes the seams between neighbours; it is far below any visible size.
                if e >= -1e-12 and g >= -1e-12 and h >= -1e-12:
                    near = e + g + h
                    if near > inverse[y, x]:
                        inverse[y, x] = near
                        body[y, x], face[y, x] = b, f - first[b]
                        u[y, x], v[y, x] = g / near, h / near


@kernel("void", "i8", "i4*", "i4*", "f4*", "f4*", "f4*", "i8", "i8*", "i8", "f4*", "f4*", "f4*")
def surface_normals(
    count: int, body_: Any, face_: Any, u_: Any, v_: Any, direction_: Any, bodies: int, first_: Any, faces: int,
    corner_normals_: Any, flat_: Any, normal_: Any,
) -> None:  # fmt: skip # pragma: no cover - compiled
    """Shading normals (count, 3), turned against the rays; 0 for misses."""
    body, face = carray(body_, (count,)), carray(face_, (count,))
    u, v, direction = carray(u_, (count,)), carray(v_, (count,)), carray(direction_, (count, 3))
    first, corners = carray(first_, (bodies,)), carray(corner_normals_, (faces, 3, 3))
    flat, normal = carray(flat_, (faces, 3)), carray(normal_, (count, 3))
    for i in range(count):
        if body[i] < 0:
            normal[i, 0] = normal[i, 1] = normal[i, 2] = 0.0
            continue
        f = first[body[i]] + face[i]
        b, c = u[i], v[i]
        a = np.float32(1.0) - b - c
        x = a * corners[f, 0, 0] + b * corners[f, 1, 0] + c * corners[f, 2, 0]
        y = a * corners[f, 0, 1] + b * corners[f, 1, 1] + c * corners[f, 2, 1]
        z = a * corners[f, 0, 2] + b * corners[f, 1, 2] + c * corners[f, 2, 2]
        length = np.sqrt(x * x + y * y + z * z)
        scale = np.float32(1.0) / max(length, np.float32(1e-12))
        # A smooth normal may lean over at the silhouette: what counts for front and back is the face itself.
        if flat[f, 0] * direction[i, 0] + flat[f, 1] * direction[i, 1] + flat[f, 2] * direction[i, 2] > 0.0:
            scale = -scale
        normal[i, 0], normal[i, 1], normal[i, 2] = x * scale, y * scale, z * scale


@kernel("i8", "i8", "i8", "i4*", "f4*", "f4*", "i8*", "u1*")
def find_edges(
    height: int, width: int, body_: Any, normal_: Any, depth_: Any, chosen_: Any, is_edge_: Any
) -> int:  # pragma: no cover - compiled
    """Pixels beside a change of body, orientation or depth: their indices, ascending, and how many there are."""
    body, normal = carray(body_, (height, width)), carray(normal_, (height, width, 3))
    depth = carray(depth_, (height, width))
    chosen, is_edge = carray(chosen_, (height * width,)), carray(is_edge_, (height, width))
    for y in range(height):
        for x in range(width):
            is_edge[y, x] = 0
    for y in range(height):
        for x in range(width):
            for side in range(2):
                xx, yy = (x + 1, y) if side == 0 else (x, y + 1)
                if xx >= width or yy >= height:
                    continue
                differs = body[y, x] != body[yy, xx]
                if not differs and body[y, x] >= 0:
                    cosine = (
                        normal[y, x, 0] * normal[yy, xx, 0]
                        + normal[y, x, 1] * normal[yy, xx, 1]
                        + normal[y, x, 2] * normal[yy, xx, 2]
                    )
                    differs = cosine < 0.75 or abs(depth[y, x] - depth[yy, xx]) > 0.02 * depth[y, x]
                if differs:
                    is_edge[y, x] = is_edge[yy, xx] = 1
    count = 0
    for y in range(height):
        for x in range(width):
            if is_edge[y, x]:
                chosen[count] = y * width + x
                count += 1
    return count


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


@kernel("void", "i8", "i8", "i8", "i4*", "f4*", "f4*", "f4*", "u1*")
def smooth_light(
    height: int, width: int, channels: int, body_: Any, normal_: Any, raw_: Any, smooth_: Any, is_plain_: Any
) -> None:  # pragma: no cover - compiled
    """Average the light of cells (every second pixel) over 4 x 4 cells of the same body and like orientation.

    is_plain: whether the next cells right and below show the same surface too, so that light between is bilinear.
    """
    rows, columns = (height + 1) // 2, (width + 1) // 2
    body, normal = carray(body_, (height, width)), carray(normal_, (height, width, 3))
    raw, smooth = carray(raw_, (rows, columns, channels)), carray(smooth_, (rows, columns, channels))
    is_plain = carray(is_plain_, (rows, columns))
    for row in range(rows):
        for column in range(columns):
            for channel in range(channels):
                smooth[row, column, channel] = 0.0
            here = body[2 * row, 2 * column]
            is_plain[row, column] = 0
            if here < 0:
                continue
            nx, ny, nz = normal[2 * row, 2 * column]
            weight, alike = np.float32(0.0), 0
            for r in range(max(row - 2, 0), min(row + 2, rows)):
                for c in range(max(column - 2, 0), min(column + 2, columns)):
                    if body[2 * r, 2 * c] != here:
                        continue
                    m = normal[2 * r, 2 * c]
                    if nx * m[0] + ny * m[1] + nz * m[2] <= 0.9:
                        continue
                    weight += np.float32(1.0)
                    alike += r >= row and c >= column
                    for channel in range(channels):
                        smooth[row, column, channel] += raw[r, c, channel]
            for channel in range(channels):
                smooth[row, column, channel] /= weight
            is_plain[row, column] = alike == 4


@kernel(
    "void", "i8", "i4*", "i4*", "f4*", "f4*", "i8", "i8*", "i8", "f4*", "u1*", "f4*",
    "i8*", "u1*", "f4*", "f4*", "f4*", "i8", "i8", "f4*", "f4*",
)  # fmt: skip
def albedo_at(
    count: int, body_: Any, face_: Any, u_: Any, v_: Any, bodies: int, first_: Any,
    faces: int, local_: Any, side_: Any, corner_colors_: Any,
    texture_of_: Any, own_: Any, scale_: Any, shift_: Any, tint_: Any, textures: int, size: int, texel_: Any,
    albedo_: Any,
) -> None:  # fmt: skip # pragma: no cover - compiled
    """Albedo (count, 3) in 0.01..0.97: tint of the side, times texture laid over the sides, times own colours.

    own: 1 where vertex colours count, 2 where `texture_kernels.own_texture` goes on from the unbounded product.
    """
    body, face, first = carray(body_, (count,)), carray(face_, (count,)), carray(first_, (bodies,))
    u, v = carray(u_, (count,)), carray(v_, (count,))
    local, side = carray(local_, (faces, 3, 3)), carray(side_, (faces,))
    corner_colors, texel = carray(corner_colors_, (faces, 3, 3)), carray(texel_, (textures, size, size, 3))
    texture_of, own, scale = carray(texture_of_, (bodies,)), carray(own_, (bodies,)), carray(scale_, (bodies,))
    shift, tint = carray(shift_, (bodies, 6, 2)), carray(tint_, (bodies, 6, 3))
    albedo = carray(albedo_, (count, 3))
    for i in range(count):
        b = body[i]
        if b < 0:
            continue
        f = first[b] + face[i]
        w1, w2 = u[i], v[i]
        w0 = np.float32(1.0) - w1 - w2
        s, t = side[f], texture_of[b]
        for channel in range(3):
            albedo[i, channel] = tint[b, s, channel]
        if t >= 0:
            p, q = (1 if s < 2 else 0), (2 if s < 4 else 1)
            x = (w0 * local[f, 0, p] + w1 * local[f, 1, p] + w2 * local[f, 2, p]) * scale[b] + shift[b, s, 0]
            y = (w0 * local[f, 0, q] + w1 * local[f, 1, q] + w2 * local[f, 2, q]) * scale[b] + shift[b, s, 1]
            left, top = np.floor(x), np.floor(y)
            x, y = x - left, y - top
            j, k = int(left) % size, int(top) % size
            jj, kk = (j + 1) % size, (k + 1) % size
            for channel in range(3):
                upper = texel[t, k, j, channel] + x * (texel[t, k, jj, channel] - texel[t, k, j, channel])
                lower = texel[t, kk, j, channel] + x * (texel[t, kk, jj, channel] - texel[t, kk, j, channel])
                albedo[i, channel] *= upper + y * (lower - upper)
        for channel in range(3):
            value = albedo[i, channel]
            if own[b] == 2:
                continue
            if own[b]:
                c = corner_colors[f, 0, channel] * w0 + corner_colors[f, 1, channel] * w1
                value *= c + corner_colors[f, 2, channel] * w2
            albedo[i, channel] = min(max(value, np.float32(0.01)), np.float32(0.97))


@kernel("void", "i8", "i8", "i8*", "f4*", "i8", "i8", "i8", "i4*", "f4*", "i4*", "f4*", "f4*", "u1*", "f4*")
def light_at(
    pixels: int, samples: int, pixel_: Any, offset_: Any, height: int, width: int, channels: int,
    map_body_: Any, map_normal_: Any, body_: Any, normal_: Any, light_: Any, is_plain_: Any, received_: Any,
) -> None:  # fmt: skip # pragma: no cover - compiled
    """Light (pixels * samples, channels) at samples, from the cells around them that show the same surface.

    offset: (samples, 2) px from the pixel's centre. Cells are weighted by nearness; where none of the nearest four
    has the orientation, those of the same body around them count, and where there is none, nothing is shadowed.
    """
    total, rows, columns = pixels * samples, (height + 1) // 2, (width + 1) // 2
    pixel, offset = carray(pixel_, (pixels,)), carray(offset_, (samples, 2))
    map_body, map_normal = carray(map_body_, (height, width)), carray(map_normal_, (height, width, 3))
    body, normal = carray(body_, (total,)), carray(normal_, (total, 3))
    light, received = carray(light_, (rows, columns, channels)), carray(received_, (total, channels))
    is_plain, one = carray(is_plain_, (rows, columns)), np.float32(1.0)
    for i in range(total):
        b = body[i]
        if b < 0:
            continue
        place, sample = pixel[i // samples], i % samples
        y, x = place // width, place % width
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


@kernel(
    "void", "i8", "i8", "i8*", "i8", "f4*", "f4*", "i4*", "f4*", "f4*", "f4*", "f4*",
    "i8", "f4*", "f4*", "i8", "f4*", "i8", "f4*", "f4*", "f4*",
)  # fmt: skip
def shade_samples(
    pixels: int, samples: int, pixel_: Any, all_pixels: int, origin_: Any, direction_: Any,
    body_: Any, depth_: Any, normal_: Any, albedo_: Any, received_: Any,
    lamps: int, lamp_: Any, ambient_: Any, bodies: int, material_: Any, steps: int, peak_: Any, background_: Any,
    radiance_: Any,
) -> None:  # fmt: skip # pragma: no cover - compiled
    """Radiance of chosen pixels, the mean of `samples` rays each: Lambert, Blinn-Phong, Schlick's mirrored sky.

    lamp: (lamps, 7) position, radius, colour. ambient: (2, 3) sky, ground. material: (bodies, 3) specular strength,
    shininess, metalness. peak: (bodies, steps + 1) cos^shininess over shininess (1 - cos), 0 to 9.
    background and radiance: (all_pixels, 3).
    """
    total, channels = pixels * samples, lamps + 1
    pixel, origin = carray(pixel_, (pixels,)), carray(origin_, (3,))
    direction, body, depth = carray(direction_, (total, 3)), carray(body_, (total,)), carray(depth_, (total,))
    normal, albedo = carray(normal_, (total, 3)), carray(albedo_, (total, 3))
    received, lamp = carray(received_, (total, channels)), carray(lamp_, (lamps, 7))
    ambient, material = carray(ambient_, (2, 3)), carray(material_, (bodies, 3))
    peak, resolution = carray(peak_, (bodies, steps + 1)), np.float32(steps / 9.0)
    background, radiance = carray(background_, (all_pixels, 3)), carray(radiance_, (all_pixels, 3))
    one, half, zero = np.float32(1.0), np.float32(0.5), np.float32(0.0)
    for index in range(pixels):
        red = green = blue = np.float32(0.0)
        for i in range(index * samples, (index + 1) * samples):
            b = body[i]
            if b < 0:
                red += background[pixel[index], 0]
                green += background[pixel[index], 1]
                blue += background[pixel[index], 2]
                continue
            dx, dy, dz = direction[i, 0], direction[i, 1], direction[i, 2]
            nx, ny, nz = normal[i, 0], normal[i, 1], normal[i, 2]
            px, py, pz = origin[0] + depth[i] * dx, origin[1] + depth[i] * dy, origin[2] + depth[i] * dz
            factor = -one / np.sqrt(dx * dx + dy * dy + dz * dz)
            vx, vy, vz = dx * factor, dy * factor, dz * factor
            specular, shininess, metal = material[b, 0], material[b, 1], material[b, 2]
            # Surroundings: from above and below, and in the mirror direction, brighter at grazing angles.
            lit = received[i, lamps]
            upward, share = half + half * nz, np.float32(0.25) + np.float32(0.75) * lit
            facing = nx * vx + ny * vy + nz * vz
            sharp = min(max(half + np.float32(1.5) * (facing * nz + facing * nz - vz), zero), one)
            grazing = one - min(max(facing, zero), one)
            grazing = grazing * grazing * grazing * grazing * grazing
            gloss = specular * (np.float32(0.3) + np.float32(0.7) * grazing) * (np.float32(0.3) + np.float32(0.7) * lit)
            lr, gr = (
                share * (ambient[1, 0] + upward * (ambient[0, 0] - ambient[1, 0])),
                gloss * (ambient[1, 0] + sharp * (ambient[0, 0] - ambient[1, 0])),
            )
            lg, gg = (
                share * (ambient[1, 1] + upward * (ambient[0, 1] - ambient[1, 1])),
                gloss * (ambient[1, 1] + sharp * (ambient[0, 1] - ambient[1, 1])),
            )
            lb, gb = (
                share * (ambient[1, 2] + upward * (ambient[0, 2] - ambient[1, 2])),
                gloss * (ambient[1, 2] + sharp * (ambient[0, 2] - ambient[1, 2])),
            )
            for k in range(lamps):
                lit = received[i, k]
                if lit == 0.0:
                    continue
                ox, oy, oz = lamp[k, 0] - px, lamp[k, 1] - py, lamp[k, 2] - pz
                factor = one / np.sqrt(ox * ox + oy * oy + oz * oz)
                ox, oy, oz = ox * factor, oy * factor, oz * factor
                cosine = nx * ox + ny * oy + nz * oz
                if cosine <= 0.0:
                    continue
                hx, hy, hz = ox + vx, oy + vy, oz + vz
                half_cosine = (nx * hx + ny * hy + nz * hz) / max(
                    np.sqrt(hx * hx + hy * hy + hz * hz), np.float32(1e-6)
                )
                gloss = zero
                off = max(shininess * (one - half_cosine), zero) * resolution
                if off < steps:  # beyond, the power is below exp(-9), because log(p) <= p - 1
                    step = int(off)
                    power = peak[b, step] + (off - step) * (peak[b, step + 1] - peak[b, step])
                    gloss = specular * (np.float32(0.2) + np.float32(0.05) * shininess) * power * lit
                cosine = cosine * lit
                lr, gr = lr + cosine * lamp[k, 4], gr + gloss * lamp[k, 4]
                lg, gg = lg + cosine * lamp[k, 5], gg + gloss * lamp[k, 5]
                lb, gb = lb + cosine * lamp[k, 6], gb + gloss * lamp[k, 6]
            dull = one - np.float32(0.7) * metal
            red += albedo[i, 0] * lr * dull + gr * (one - metal + metal * albedo[i, 0])
            green += albedo[i, 1] * lg * dull + gg * (one - metal + metal * albedo[i, 1])
            blue += albedo[i, 2] * lb * dull + gb * (one - metal + metal * albedo[i, 2])
        share = one / np.float32(samples)
        place = pixel[index]
        radiance[place, 0], radiance[place, 1], radiance[place, 2] = red * share, green * share, blue * share


if __name__ == "__main__":
    print("compiled: " + ", ".join(compile_all()))
