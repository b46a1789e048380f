"""Shading of ray-cast scenes: Lambert and Blinn-Phong under area lamps with soft shadows and ambient occlusion.

Colours are linear RGB, float32. Soft shadows and occlusion take one ray per lamp in every second pixel of every second
row (a cell): its target is jittered by a pattern of 4 x 4 cells, and the result is averaged over 4 x 4 cells of the
same body and orientation; pixels interpolate between the cells of their own surface. Pixels at an edge of a body, an
orientation or depth take four samples, all others one. The loops are compiled (`light_kernels`, `shading_kernels`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_models.render import light_kernels
from pose_models.render import shading_kernels as kernels
from pose_models.render.scene import SHADOW_OFFSET_MM, Float, RayAnswer, SceneCaster, camera_rays
from pose_models.render.texture_kernels import own_texture

PATTERN = 4
OCCLUSION_REACH_MM = 70.0
SUBSAMPLES = np.array([[-0.25, -0.25], [0.25, -0.25], [-0.25, 0.25], [0.25, 0.25]], dtype=np.float32)
CENTER = np.zeros((1, 2), dtype=np.float32)
SIDES = 6


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

    def table(self) -> Float:
        """(lamps, 7) float32: position, radius, colour."""
        rows = [np.concatenate([lamp.position, [lamp.radius], lamp.color]) for lamp in self.lamps]
        return np.array(rows, dtype=np.float32).reshape(-1, 7)


@dataclasses.dataclass(frozen=True)
class Materials:
    """Per body (B bodies): specular strength (B,), shininess exponent (B,), metalness (B,) in 0..1."""

    specular: Float
    shininess: Float
    metalness: Float


@dataclasses.dataclass(frozen=True)
class Paint:
    """Colour of a body: a plain one, or a texture laid over its six sides, each from another place of the image.

    tints: (6, 3) linear colour of each side; factor of the texture where there is one. texture: index, None for plain.
    pixels_per_mm: texture scale. offsets: (6, 2) pixels. keeps_own: multiply with the model's own colours.
    """

    tints: Float
    texture: int | None = None
    pixels_per_mm: float = 1.0
    offsets: Float = dataclasses.field(default_factory=lambda: np.zeros((SIDES, 2), dtype=np.float32))
    keeps_own: bool = False


@dataclasses.dataclass(frozen=True)
class Appearance:
    """Everything that a picture's colours need besides the scene.

    paints: one per body. textures: (T, S, S, 3) float32 linear. background: (H, W, 3) what rays see that meet nothing.
    """

    paints: Sequence[Paint]
    textures: Float
    materials: Materials
    lighting: Lighting
    background: Float


@dataclasses.dataclass(frozen=True)
class Camera:
    """K (3, 3) with pixel centres at integers, T_cam_world (4, 4) mm, width and height in pixels."""

    K: NDArray[np.float64]
    T_cam_world: NDArray[np.float64]
    width: int
    height: int


@dataclasses.dataclass(frozen=True)
class Picture:
    """One rendered picture.

    radiance: (H, W, 3) linear, anti-aliased at edges. body: (H, W) int32 seen at each pixel's centre, -1 where nothing
    is. depth: (H, W) float32 mm there, 0 where nothing is.
    """

    radiance: Float
    body: NDArray[np.int32]
    depth: Float


@dataclasses.dataclass(frozen=True)
class _Surface:
    """What the centres of an image's pixels see: body (H, W), shading normal (H, W, 3), smoothed light."""

    body: NDArray[np.int32]
    normal: Float
    light: Float
    is_plain: NDArray[np.uint8]


def render(caster: SceneCaster, camera: Camera, appearance: Appearance) -> Picture:
    """One picture of a scene."""
    height, width = camera.height, camera.width
    origins, directions = camera_rays(camera.K, camera.T_cam_world, size=(width, height))
    answer = see(caster, camera)
    depth = answer.depth.reshape(height, width)
    body = answer.body.reshape(height, width)
    normal = _normals(caster, answer, directions).reshape(height, width, 3)
    raw = light_received(caster, camera, directions, body, depth, normal, appearance.lighting)
    surface = _Surface(body, normal, *smooth_light(raw, body, normal))
    radiance = np.empty((height * width, 3), dtype=np.float32)
    chosen = edges(body, normal, depth)
    rest = dataclasses.replace(answer, body=answer.body.copy())
    rest.body[chosen] = -1  # shaded below
    everywhere = np.arange(height * width)
    _shade(caster, appearance, everywhere, CENTER, directions, origins[0], rest, surface, radiance)
    origins, directions = subpixel_rays(camera, chosen)
    if len(chosen):
        answer = caster.query(origins, directions)
        _shade(caster, appearance, chosen, SUBSAMPLES, directions, origins[0], answer, surface, radiance)
    return Picture(radiance.reshape(height, width, 3), body, depth)


def see(caster: SceneCaster, camera: Camera) -> RayAnswer:
    """What the centres of all pixels see, row by row, with depth 0 where nothing is.

    The same as `SceneCaster.query` for the camera's rays up to outlines, and several times faster: rays are worth their
    price where they are fewer than pixels, or lead to lamps.
    """
    size = camera.height * camera.width
    projection = np.ascontiguousarray(camera.K @ camera.T_cam_world[:3], dtype=np.float64)
    inverse, body, face = np.zeros(size), np.full(size, -1, dtype=np.int32), np.zeros(size, dtype=np.int32)
    u, v = np.zeros((2, size), dtype=np.float32)
    kernels.nearest_faces(
        camera.height, camera.width, projection, len(caster.corners), caster.corners, len(caster.first_face),
        caster.first_face, inverse, body, face, u, v,
    )  # fmt: skip
    depth = np.divide(1.0, inverse, out=np.zeros_like(inverse), where=inverse > 0).astype(np.float32)
    return RayAnswer(body, face, u, v, depth)


def _normals(caster: SceneCaster, answer: RayAnswer, directions: Float) -> Float:
    normal = np.empty((len(directions), 3), dtype=np.float32)
    kernels.surface_normals(
        len(directions), answer.body, answer.face, answer.u, answer.v, directions, len(caster.first_face),
        caster.first_face, len(caster.flat), caster.normals, caster.flat, normal,
    )  # fmt: skip
    return normal


def _shade(
    caster: SceneCaster, appearance: Appearance, pixels: NDArray[np.int64], offsets: Float, directions: Float,
    origin: Float, answer: RayAnswer, surface: _Surface, radiance: Float,
) -> None:  # fmt: skip
    """Write the radiance of pixels (n,), each the mean of the samples (s, 2) px around its centre, n * s rays."""
    count, samples = len(pixels), len(offsets)
    height, width = surface.body.shape
    normal = surface.normal if samples == 1 else _normals(caster, answer, directions)
    albedo = albedo_at(caster, answer, appearance)
    lamps = appearance.lighting.table()
    received = np.empty((count * samples, len(lamps) + 1), dtype=np.float32)
    light_kernels.light_at(
        count, samples, pixels, offsets, height, width, len(lamps) + 1, surface.body, surface.normal, answer.body,
        normal, surface.light, surface.is_plain, received,
    )  # fmt: skip
    ambient = np.array([appearance.lighting.sky, appearance.lighting.ground], dtype=np.float32)
    materials = appearance.materials
    material = np.column_stack([materials.specular, materials.shininess, materials.metalness]).astype(np.float32)
    background = np.ascontiguousarray(appearance.background, dtype=np.float32)
    work = np.full((23, 64), 0.5, dtype=np.float32)
    kernels.shade_samples(
        count, samples, pixels, height * width, origin, directions, answer.body, answer.depth, normal, albedo,
        received, len(lamps), lamps, ambient, len(material), material, background, work, radiance,
    )  # fmt: skip


def albedo_at(caster: SceneCaster, answer: RayAnswer, appearance: Appearance) -> Float:
    """Albedo (N, 3) in 0.01..0.97 of what rays meet; of no meaning where they miss."""
    paints, textures = appearance.paints, appearance.textures
    texture_of = np.array([-1 if paint.texture is None else paint.texture for paint in paints], dtype=np.int64)
    own = np.array([paint.keeps_own for paint in paints], dtype=np.uint8) * caster.has_colors
    scale = np.array([paint.pixels_per_mm for paint in paints], dtype=np.float32)
    shift = np.array([paint.offsets for paint in paints], dtype=np.float32)
    tint = np.array([paint.tints for paint in paints], dtype=np.float32)
    albedo = np.empty((len(answer.body), 3), dtype=np.float32)
    kernels.albedo_at(
        len(albedo), answer.body, answer.face, answer.u, answer.v, len(paints), caster.first_face,
        len(caster.flat), caster.local, caster.side, caster.colors,
        texture_of, own, scale, shift, tint, len(textures), textures.shape[1], textures, albedo,
    )  # fmt: skip
    for index in np.flatnonzero(own == 2):
        shape = caster.shapes[index]
        own_texture(
            len(albedo), int(index), answer.body, answer.face, answer.u, answer.v, len(shape.corners), shape.uv,
            *shape.texture.shape[:2], shape.texture, albedo,
        )  # fmt: skip
    return albedo


def light_received(
    caster: SceneCaster, camera: Camera, directions: Float, body: NDArray[np.int32], depth: Float, normal: Float,
    lighting: Lighting,
) -> Float:  # fmt: skip
    """Whether each lamp, and the surroundings, reach the cells of a picture: (h, w, lamps + 1) of 0 or 1.

    A cell is every second pixel of every second row. `directions` (H * W, 3) are those of the camera's rays.
    """
    rows, columns = (camera.height + 1) // 2, (camera.width + 1) // 2
    origin = np.linalg.inv(camera.T_cam_world)[:3, 3].astype(np.float32)
    lamps = np.ascontiguousarray(lighting.table()[:, :4])
    cell = np.empty(rows * columns, dtype=np.int64)
    start = np.empty((rows * columns, 3), dtype=np.float32)
    target = np.empty((len(lamps) + 1, rows * columns, 3), dtype=np.float32)
    count = light_kernels.light_queries(
        camera.height, camera.width, origin, directions, body, depth, normal, len(lamps), lamps,
        _sphere_pattern(PATTERN**2), _ball_pattern(PATTERN**2), SHADOW_OFFSET_MM, OCCLUSION_REACH_MM, cell, start,
        target,
    )  # fmt: skip
    received = np.zeros((rows * columns, len(lamps) + 1), dtype=np.float32)
    for index in range(len(lamps) + 1):
        received[cell[:count], index] = caster.is_clear(start[:count], target[index, :count])
    return received.reshape(rows, columns, -1)


def smooth_light(received: Float, body: NDArray[np.int32], normal: Float) -> tuple[Float, NDArray[np.uint8]]:
    """Average cells (h, w, C) over 4 x 4 of the same body (H, W) and like orientation (H, W, 3).

    Returns:
        The averages (h, w, C), and (h, w) whether a cell and its three next to the right and below show one surface.
    """
    received = np.ascontiguousarray(received, dtype=np.float32)
    smooth, is_plain = np.empty_like(received), np.empty(received.shape[:2], dtype=np.uint8)
    work = np.zeros((11 + 2 * received.shape[-1], 68), dtype=np.float32)
    light_kernels.smooth_light(*body.shape, received.shape[-1], body, normal, received, work, smooth, is_plain)
    return smooth, is_plain


def edges(body: NDArray[np.int32], normal: Float, depth: Float) -> NDArray[np.int64]:
    """Indices of the pixels beside a change of body, orientation or depth: those worth more than one sample."""
    chosen, is_edge = np.empty(body.size, dtype=np.int64), np.empty(body.shape, dtype=np.uint8)
    count = kernels.find_edges(*body.shape, body, normal, depth, chosen, is_edge)
    return chosen[:count]


def subpixel_rays(camera: Camera, chosen: NDArray[np.int64]) -> tuple[Float, Float]:
    """Rays (4 n, 3) of four samples in each of the chosen pixels (n,), those of one pixel in a row."""
    rows, columns = np.divmod(chosen, camera.width)
    uv = np.stack([columns, rows], axis=1).astype(np.float32)[:, None] + SUBSAMPLES
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
    """Gaussian blur, cut off at 2.5 sigma; nothing happens below 0.2 px."""
    if sigma_px < 0.2:
        return image
    size = 2 * int(np.ceil(2.5 * sigma_px)) + 1
    return np.asarray(cv2.GaussianBlur(image, (size, size), sigma_px))
