"""Shading once more, in plain numpy: what the compiled loops of `render.shading` are held against."""

import numpy as np

SIDE_AXES = np.array([[1, 2], [0, 2], [0, 1]])


def albedo(caster, hits, paints, textures):
    """Albedo (M, 3) of hits: bilinear samples of wrapped textures over six sides."""
    local, side = caster.local_positions(hits).astype(float), caster.sides(hits)
    result = np.empty((len(hits.ray), 3))
    for i, body in enumerate(hits.body):
        paint = paints[body]
        color = paint.tints[side[i]].astype(float)
        if paint.texture is not None:
            image = textures[paint.texture]
            size = len(image)
            u, v = local[i, SIDE_AXES[side[i] // 2]] * paint.pixels_per_mm + paint.offsets[side[i]]
            j, k = int(np.floor(u)), int(np.floor(v))
            fu, fv = u - j, v - k
            corners = [image[(k + b) % size, (j + a) % size] for b in (0, 1) for a in (0, 1)]
            weights = [(1 - fu) * (1 - fv), fu * (1 - fv), (1 - fu) * fv, fu * fv]
            color = color * sum(w * c for w, c in zip(weights, corners, strict=True))
        if paint.keeps_own and caster.has_colors[body]:
            color = color * (caster.colors[hits.face[i]] * hits.barycentric[i][:, None]).sum(axis=0)
        result[i] = np.clip(color, 0.01, 0.97)
    return result


def radiance(position, normal, view, albedo, body, materials, lighting, received):
    """Radiance (M, 3) towards `view` (M, 3) of points with the given albedo and light received (M, lamps + 1)."""
    metal, shininess = materials.metalness[body][:, None], materials.shininess[body]
    up = 0.5 + 0.5 * normal[:, 2:]
    diffuse = (lighting.ground + up * (lighting.sky - lighting.ground)) * (0.25 + 0.75 * received[:, -1:])
    facing = (normal * view).sum(axis=1)
    mirrored = 2 * facing[:, None] * normal - view
    sharp = np.clip(0.5 + 1.5 * mirrored[:, 2:], 0, 1)
    fresnel = materials.specular[body] * (0.3 + 0.7 * (1 - np.clip(facing, 0, 1)) ** 5)
    gloss = (fresnel * (0.3 + 0.7 * received[:, -1]))[:, None] * (
        lighting.ground + sharp * (lighting.sky - lighting.ground)
    )
    for index, lamp in enumerate(lighting.lamps):
        to_lamp = lamp.position - position
        to_lamp = to_lamp / np.linalg.norm(to_lamp, axis=1, keepdims=True)
        cosine = np.maximum((normal * to_lamp).sum(axis=1), 0) * received[:, index]
        diffuse = diffuse + cosine[:, None] * lamp.color
        half = to_lamp + view
        half = half / np.linalg.norm(half, axis=1, keepdims=True)
        peak = np.maximum((normal * half).sum(axis=1), 0) ** shininess
        strength = materials.specular[body] * (0.2 + 0.05 * shininess) * peak * received[:, index] * (cosine > 0)
        gloss = gloss + strength[:, None] * lamp.color
    return albedo * diffuse * (1 - 0.7 * metal) + gloss * (1 - metal + metal * albedo)


def edges(body, normal, depth):
    """Pixels (H, W) beside a change of body, orientation or depth."""
    result = np.zeros(body.shape, dtype=bool)
    for axis in (0, 1):
        near, far = [slice(None)] * 2, [slice(None)] * 2
        near[axis], far[axis] = slice(1, None), slice(None, -1)
        a, b = tuple(far), tuple(near)
        change = body[a] != body[b]
        seen = body[a] >= 0
        change |= seen & ((normal[a] * normal[b]).sum(axis=2) < 0.75)
        change |= seen & (np.abs(depth[a] - depth[b]) > 0.02 * depth[a])
        result[a] |= change
        result[b] |= change
    return result


def smooth_light(received, body, normal):
    """Average (h, w, C) over 4 x 4 cells of the same body (H, W) and like orientation (H, W, 3)."""
    body, normal = body[::2, ::2], normal[::2, ::2]
    result = np.zeros_like(received)
    for r, c in zip(*np.nonzero(body >= 0), strict=True):
        window = (slice(max(r - 2, 0), r + 2), slice(max(c - 2, 0), c + 2))
        like = (body[window] == body[r, c]) & (normal[window] @ normal[r, c] > 0.9)
        result[r, c] = received[window][like].mean(axis=0)
    return result
