"""Shading of ray-cast scenes: Lambert and Blinn-Phong under area lamps with soft shadows and ambient occlusion.

Colours are linear RGB, float32. Soft shadows and occlusion take one ray per pixel and lamp: its target is jittered by
a 4 x 4 pattern, and the result is averaged over 4 x 4 neighbours of the same body and orientation.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_models.render.scene import Float, SceneCaster, SceneHits, camera_rays, lengths

PATTERN = 4
OCCLUSION_REACH_MM = 70.0
SUBSAMPLES = np.array([[-0.25, -0.25], [0.25, -0.25], [-0.25, 0.25], [0.25, 0.25]])


@dataclasses.dataclass(frozen=True)
class Lamp:
    """A ball of light: position (3,) mm in the world, colour (3,) linear, radius mm (softness of its shadows)."""

    position: Float
    color: Float
    radius: float


@dataclasses.dataclass(frozen=True)
class Lighting:
    """Lamps and the light of the surroundings from above and below, (3,) linear each."""

    lamps: list[Lamp]
    sky: Float
    ground: Float


@dataclasses.dataclass(frozen=True)
class Materials:
    """Per body (B bodies): specular strength (B,), shininess exponent (B,), metalness (B,) in 0..1."""

    specular: Float
    shininess: Float
    metalness: Float


@dataclasses.dataclass(frozen=True)
class Camera:
    """K (3, 3) with pixel centres at integers, T_cam_world (4, 4) mm, width and height in pixels."""

    K: NDArray[np.float64]
    T_cam_world: NDArray[np.float64]
    width: int
    height: int


@dataclasses.dataclass(frozen=True)
class PixelLight:
    """What pixel centres see, and the smoothed light there.

    body: (H, W) int32, -1 for nothing. normal: (H, W, 3). received: (H, W, lamps + 1), as from `smooth_received`.
    """

    body: NDArray[np.int32]
    normal: Float
    received: Float

    def at_samples(self, hits: SceneHits, chosen: NDArray[np.int64]) -> tuple[Float, NDArray[np.bool_]]:
        """Light at the samples of `subpixel_rays`, borrowed from the nearest of four pixels with the same surface.

        Returns:
            received (M, lamps + 1), and (M,) whether there was such a pixel; 0 where not.
        """
        height, width = self.body.shape
        rows, columns = np.divmod(chosen[hits.ray // 4], width)
        toward = np.sign(SUBSAMPLES).astype(np.int64)[hits.ray % 4]
        received = np.zeros((len(hits.ray), self.received.shape[-1]), dtype=np.float32)
        known = np.zeros(len(hits.ray), dtype=bool)
        for step_x, step_y in ((0, 0), (1, 0), (0, 1), (1, 1)):
            x = np.clip(columns + step_x * toward[:, 0], 0, width - 1)
            y = np.clip(rows + step_y * toward[:, 1], 0, height - 1)
            same = ~known & (self.body[y, x] == hits.body)
            same &= np.einsum("ij,ij->i", self.normal[y, x], hits.normal) > 0.9
            received[same] = self.received[y[same], x[same]]
            known |= same
        return received, known


def light_received(caster: SceneCaster, hits: SceneHits, lighting: Lighting, pattern: NDArray[np.int64]) -> Float:
    """How much of each lamp, and of the surroundings, reaches hits: (M, lamps + 1) of 0 or 1.

    Args:
        pattern: (M,) index below 16 into the jitter pattern of each hit.
    """
    offsets = _ball_pattern(PATTERN**2)
    received = np.empty((len(hits.ray), len(lighting.lamps) + 1), dtype=np.float32)
    for index, lamp in enumerate(lighting.lamps):
        target = lamp.position + lamp.radius * offsets[(pattern + 5 * index) % len(offsets)]
        received[:, index] = caster.is_lit(hits, target - hits.position)
    # Normal plus a point of the unit sphere: a direction distributed like the cosine.
    around = hits.normal + 0.999 * _sphere_pattern(PATTERN**2)[pattern]
    around *= OCCLUSION_REACH_MM / np.maximum(lengths(around), 1e-6)
    received[:, -1] = caster.is_lit(hits, around)
    return received


def shade(
    hits: SceneHits, view: Float, albedo: Float, materials: Materials, lighting: Lighting, received: Float
) -> Float:
    """Radiance (M, 3) of hits towards the camera.

    Args:
        view: (M, 3) unit vectors from the hits to the camera. albedo: (M, 3). received: from `light_received`.
    """
    metal = materials.metalness[hits.body][:, None]
    shininess = materials.shininess[hits.body]
    up = (0.5 + 0.5 * hits.normal[:, 2:]).astype(np.float32)
    ambient = (lighting.ground + up * (lighting.sky - lighting.ground)) * (0.25 + 0.75 * received[:, -1:])
    diffuse, gloss = ambient, np.zeros_like(albedo)
    mirrored = 2 * np.einsum("ij,ij->i", hits.normal, view)[:, None] * hits.normal - view
    # Surroundings in the mirror direction, brighter at grazing angles (Schlick).
    sharp_up = np.clip(0.5 + 1.5 * mirrored[:, 2:], 0, 1)
    facing = np.clip(np.einsum("ij,ij->i", hits.normal, view), 0, 1)
    grazing = np.square(np.square(1 - facing)) * (1 - facing)
    fresnel = materials.specular[hits.body] * (0.3 + 0.7 * grazing)
    gloss += (fresnel * (0.3 + 0.7 * received[:, -1]))[:, None] * (
        lighting.ground + sharp_up * (lighting.sky - lighting.ground)
    )
    for index, lamp in enumerate(lighting.lamps):
        to_lamp = lamp.position - hits.position
        to_lamp /= lengths(to_lamp)
        cosine = np.maximum(np.einsum("ij,ij->i", hits.normal, to_lamp), 0) * received[:, index]
        diffuse = diffuse + cosine[:, None] * lamp.color
        half = to_lamp + view
        half /= np.maximum(lengths(half), 1e-6)
        peak = np.maximum(np.einsum("ij,ij->i", hits.normal, half), 0) ** shininess
        strength = materials.specular[hits.body] * (0.2 + 0.05 * shininess) * peak * received[:, index] * (cosine > 0)
        gloss += strength[:, None] * lamp.color
    tint = 1 - metal + metal * albedo
    return np.asarray(albedo * diffuse * (1 - 0.7 * metal) + gloss * tint, dtype=np.float32)


def smooth_received(received: Float, body: NDArray[np.int32], normal: Float) -> Float:
    """Average (H, W, C) over 4 x 4 neighbours of the same body (H, W) and like orientation (H, W, 3)."""
    height, width = body.shape
    planes = np.concatenate([np.moveaxis(received, -1, 0), np.moveaxis(normal, -1, 0)])  # fast to shift as planes
    padded = np.pad(planes, [(0, 0), (2, 2), (2, 2)], mode="edge")
    padded_body = np.pad(body, 2, mode="edge")
    count = received.shape[-1]
    x, y, z = planes[count:]
    total, weight = np.zeros_like(planes[:count]), np.zeros(body.shape, dtype=np.float32)
    for dy in range(PATTERN):
        for dx in range(PATTERN):
            window = (slice(dy, dy + height), slice(dx, dx + width))
            shifted = padded[(slice(None), *window)]
            near = padded_body[window] == body
            near &= shifted[count] * x + shifted[count + 1] * y + shifted[count + 2] * z > 0.9
            weight += near
            for channel in range(count):
                total[channel] += near * shifted[channel]
    total /= np.maximum(weight, 1)
    return np.moveaxis(total, 0, -1)


def edges(body: NDArray[np.int32], normal: Float, depth: Float) -> NDArray[np.bool_]:
    """Pixels (H, W) beside a change of body, orientation or depth: those worth more than one sample."""
    result = np.zeros(body.shape, dtype=bool)
    for axis in (0, 1):
        near, far = [slice(None)] * 2, [slice(None)] * 2
        near[axis], far[axis] = slice(1, None), slice(None, -1)
        a, b = tuple(near), tuple(far)
        change = body[a] != body[b]
        change |= np.einsum("ijk,ijk->ij", normal[a], normal[b]) < 0.85
        change |= np.abs(depth[a] - depth[b]) > 0.02 * np.maximum(depth[a], 1.0)
        result[a] |= change
        result[b] |= change
    return result


def pixel_pattern(width: int, height: int) -> NDArray[np.int64]:
    """Jitter index (height * width,) of every pixel: all 16 in every 4 x 4 block."""
    rows, columns = np.divmod(np.arange(height * width), width)
    return np.asarray((rows % PATTERN) * PATTERN + columns % PATTERN)


def subpixel_rays(camera: Camera, chosen: NDArray[np.int64]) -> tuple[Float, Float]:
    """Rays (4 n, 3) of four samples in each of the chosen pixels (n,), those of one pixel in a row."""
    rows, columns = np.divmod(chosen, camera.width)
    uv = np.stack([columns, rows], axis=1)[:, None] + SUBSAMPLES
    return camera_rays(camera.K, camera.T_cam_world, uv.reshape(-1, 2))


def _sphere_pattern(count: int) -> Float:
    """Points (count, 3) evenly on the unit sphere, in an order without pattern (Fibonacci, index shuffled)."""
    index = (np.arange(count) * 7) % count
    z = 1 - (2 * index + 1) / count
    angle = index * np.pi * (3 - np.sqrt(5))
    ring = np.sqrt(1 - z * z)
    return np.stack([ring * np.cos(angle), ring * np.sin(angle), z], axis=1).astype(np.float32)


def _ball_pattern(count: int) -> Float:
    radius = (((np.arange(count) * 5) % count + 0.5) / count) ** (1 / 3)
    return _sphere_pattern(count) * radius[:, None].astype(np.float32)


def blur(image: Float, sigma_px: float) -> Float:
    """Gaussian blur; nothing happens below 0.2 px."""
    return image if sigma_px < 0.2 else np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px))
