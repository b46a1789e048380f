"""Compiled loops over the pixels and samples of a picture; `shading` says what they compute and checks their input.

Those of the light that arrives are in `light_kernels`.

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
    """Pixels beside a change of body, orientation or depth: their indices, and how many there are.

    In tiles of 4 x 4 pixels, so that the rays of a packet lie close together.
    """
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
    for tile in range((height + 3) // 4 * ((width + 3) // 4)):
        top, left = tile // ((width + 3) // 4) * 4, tile % ((width + 3) // 4) * 4
        for y in range(top, min(top + 4, height)):
            for x in range(left, min(left + 4, width)):
                if is_edge[y, x]:
                    chosen[count] = y * width + x
                    count += 1
    return count


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
            j, k = np.int32(left) % np.int32(size), np.int32(top) % np.int32(size)  # half the time of 64 bits
            jj, kk = (j + 1 if j + 1 < size else 0), (k + 1 if k + 1 < size else 0)
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


@kernel(
    "void", "i8", "i8", "i8*", "i8", "f4*", "f4*", "i4*", "f4*", "f4*", "f4*", "f4*",
    "i8", "f4*", "f4*", "i8", "f4*", "f4*", "f4*", "f4*",
)  # fmt: skip
def shade_samples(
    pixels: int, samples: int, pixel_: Any, all_pixels: int, origin_: Any, direction_: Any,
    body_: Any, depth_: Any, normal_: Any, albedo_: Any, received_: Any,
    lamps: int, lamp_: Any, ambient_: Any, bodies: int, material_: Any, background_: Any, work_: Any, radiance_: Any,
) -> None:  # fmt: skip # pragma: no cover - compiled
    """Radiance of chosen pixels, the mean of `samples` (a power of two up to 64) rays each: Lambert, Blinn-Phong,
    Schlick's mirrored sky.

    lamp: (lamps, 7) position, radius, colour. ambient: (2, 3) sky, ground. material: (bodies, 3) specular strength,
    shininess, metalness. background and radiance: (all_pixels, 3). work: (23, 64), rows that 64 samples at a time
    are laid out in: loops of fixed length over them are what the compiler turns into vector instructions.
    """
    total, channels = pixels * samples, lamps + 1
    pixel, origin = carray(pixel_, (pixels,)), carray(origin_, (3,))
    direction, body, depth = carray(direction_, (total, 3)), carray(body_, (total,)), carray(depth_, (total,))
    normal, albedo = carray(normal_, (total, 3)), carray(albedo_, (total, 3))
    received, lamp = carray(received_, (total, channels)), carray(lamp_, (lamps, 7))
    ambient, material = carray(ambient_, (2, 3)), carray(material_, (bodies, 3))
    background, radiance = carray(background_, (all_pixels, 3)), carray(radiance_, (all_pixels, 3))
    w = carray(work_, (23, 64))
    one, half, zero = np.float32(1.0), np.float32(0.5), np.float32(0.0)
    share = one / np.float32(samples)
    for first in range(0, total, 64):
        filled = min(64, total - first)
        # Rows: 0-2 ray, then position; 3-5 normal; 6-8 to the camera; 9-11 material; 12-14 albedo; 15 depth, then
        # light received; 16-18 diffuse light; 19-21 gloss; 22 light of the surroundings.
        for j in range(filled):  # misses are worked on too, whatever they hold, and left away in the end
            i = first + j
            for axis in range(3):
                w[axis, j], w[3 + axis, j], w[12 + axis, j] = direction[i, axis], normal[i, axis], albedo[i, axis]
            w[15, j], w[22, j] = depth[i], received[i, lamps]
        for j in range(filled):
            b = max(body[first + j], 0)
            w[9, j], w[10, j], w[11, j] = material[b, 0], material[b, 1], material[b, 2]
        for j in range(64):
            dx, dy, dz = w[0, j], w[1, j], w[2, j]
            nx, ny, nz = w[3, j], w[4, j], w[5, j]
            factor = -one / np.sqrt(dx * dx + dy * dy + dz * dz)
            vx, vy, vz = dx * factor, dy * factor, dz * factor
            w[6, j], w[7, j], w[8, j] = vx, vy, vz
            away = w[15, j]
            w[0, j], w[1, j], w[2, j] = origin[0] + away * dx, origin[1] + away * dy, origin[2] + away * dz
            # Surroundings: from above and below, and in the mirror direction, brighter at grazing angles.
            lit = w[22, j]
            upward, part = half + half * nz, np.float32(0.25) + np.float32(0.75) * lit
            facing = nx * vx + ny * vy + nz * vz
            sharp = min(max(half + np.float32(1.5) * (facing * nz + facing * nz - vz), zero), one)
            grazing = one - min(max(facing, zero), one)
            grazing = grazing * grazing * grazing * grazing * grazing
            gloss = w[9, j] * (np.float32(0.3) + np.float32(0.7) * grazing) * (np.float32(0.3) + np.float32(0.7) * lit)
            w[16, j] = part * (ambient[1, 0] + upward * (ambient[0, 0] - ambient[1, 0]))
            w[17, j] = part * (ambient[1, 1] + upward * (ambient[0, 1] - ambient[1, 1]))
            w[18, j] = part * (ambient[1, 2] + upward * (ambient[0, 2] - ambient[1, 2]))
            w[19, j] = gloss * (ambient[1, 0] + sharp * (ambient[0, 0] - ambient[1, 0]))
            w[20, j] = gloss * (ambient[1, 1] + sharp * (ambient[0, 1] - ambient[1, 1]))
            w[21, j] = gloss * (ambient[1, 2] + sharp * (ambient[0, 2] - ambient[1, 2]))
        for k in range(lamps):
            for j in range(filled):
                w[15, j] = received[first + j, k]
            lx, ly, lz, red, green, blue = lamp[k, 0], lamp[k, 1], lamp[k, 2], lamp[k, 4], lamp[k, 5], lamp[k, 6]
            for j in range(64):
                nx, ny, nz = w[3, j], w[4, j], w[5, j]
                ox, oy, oz = lx - w[0, j], ly - w[1, j], lz - w[2, j]
                factor = one / np.sqrt(ox * ox + oy * oy + oz * oz)
                ox, oy, oz = ox * factor, oy * factor, oz * factor
                cosine = max(nx * ox + ny * oy + nz * oz, zero)
                hx, hy, hz = ox + w[6, j], oy + w[7, j], oz + w[8, j]
                long = max(np.sqrt(hx * hx + hy * hy + hz * hz), np.float32(1e-6))
                near = (nx * hx + ny * hy + nz * hz) / long
                # near^shininess = exp(-y), y = 2 shininess atanh((1 - near) / (1 + near)), exp by four squarings.
                z = (one - near) / (one + max(near, zero))
                q = z * z
                series = np.float32(1 / 7) + q * np.float32(1 / 9)
                series = one + q * (np.float32(1 / 3) + q * (np.float32(1 / 5) + q * series))
                y = np.float32(-0.125) * w[10, j] * z * series
                power = np.float32(1 / 24) + y * np.float32(1 / 120)
                power = one + y * (one + y * (half + y * (np.float32(1 / 6) + y * power)))
                power = power * power
                power = power * power
                power = power * power
                power = power * power
                power = power if y > np.float32(-0.5625) else zero  # exp(-9)
                lit = w[15, j] if cosine > zero else zero
                gloss = w[9, j] * (np.float32(0.2) + np.float32(0.05) * w[10, j]) * power * lit
                cosine = cosine * lit
                w[16, j] += cosine * red
                w[17, j] += cosine * green
                w[18, j] += cosine * blue
                w[19, j] += gloss * red
                w[20, j] += gloss * green
                w[21, j] += gloss * blue
        for j in range(64):
            metal = w[11, j]
            dull = one - np.float32(0.7) * metal
            for c in range(3):
                color = w[12 + c, j]
                w[16 + c, j] = share * (color * w[16 + c, j] * dull + w[19 + c, j] * (one - metal + metal * color))
        for j in range(0, filled, samples):
            place = pixel[(first + j) // samples]
            for c in range(3):
                value = zero
                for s in range(j, j + samples):
                    value += w[16 + c, s] if body[first + s] >= 0 else share * background[place, c]
                radiance[place, c] = value


if __name__ == "__main__":
    print("compiled: " + ", ".join(compile_all()))
