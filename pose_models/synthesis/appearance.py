"""What a picture looks like: colours, textures, materials, lamps and backgrounds, drawn per image and per look."""

from __future__ import annotations

import dataclasses
from typing import Literal

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pose_models.render.scene import Float, SceneCaster, SceneHits
from pose_models.render.shading import Lamp, Lighting, Materials, blur
from pose_models.synthesis.config import Look, SceneSettings
from pose_models.synthesis.textures import random_color, sample_wrapped, texture, value_noise, wood

Kind = Literal["part", "distractor", "floor", "wall"]
TEXTURE_SIZE = 256
BANK_SIZE = 48
# Linear colours of the demo's parts under the test look, by object id modulo their number: ivory, slate, brass-grey.
TEST_PART_COLORS = np.array([[0.66, 0.62, 0.52], [0.16, 0.19, 0.24], [0.42, 0.40, 0.36]])


class TextureBank:
    """Textures made once per scene folder; each picture picks from them and recolours."""

    def __init__(self, look: Look, rng: np.random.Generator) -> None:
        if look == "test":
            self.images = [wood(TEXTURE_SIZE, rng), _felt(rng)]
        else:
            self.images = [texture(TEXTURE_SIZE, rng) for _ in range(BANK_SIZE)]

    def pick(self, rng: np.random.Generator, recolor: bool = True) -> Float:
        """A texture (S, S, 3), usually with its channels exchanged and its brightness changed."""
        image = self.images[rng.integers(0, len(self.images))]
        if not recolor:
            return image
        brighter = image[..., rng.permutation(3)] * np.float32(rng.uniform(0.6, 1.3))
        return np.asarray(np.clip(brighter, 0.01, 0.97))


def _felt(rng: np.random.Generator) -> Float:
    grain = value_noise(TEXTURE_SIZE, 64, 2, rng)[..., None]
    cloud = value_noise(TEXTURE_SIZE, 4, 3, rng)[..., None]
    color = np.array([0.30, 0.31, 0.33]) * (0.7 + 0.35 * grain + 0.25 * cloud)
    return np.asarray(np.clip(color, 0, 1), dtype=np.float32)


@dataclasses.dataclass(frozen=True)
class Paint:
    """Colour of a body: a plain one, or a texture laid over its six sides, each from another place of the image.

    color: (3,) linear. image: (S, S, 3) or None. pixels_per_mm: texture scale. offsets: (6, 2) pixels.
    tints: (6, 3) factor of each side.
    """

    color: Float
    image: Float | None = None
    pixels_per_mm: float = 1.0
    offsets: Float = dataclasses.field(default_factory=lambda: np.zeros((6, 2), dtype=np.float32))
    tints: Float = dataclasses.field(default_factory=lambda: np.ones((6, 3), dtype=np.float32))

    def at(self, local: Float, side: NDArray[np.int64]) -> Float:
        """Albedo (M, 3) at object coordinates (M, 3) mm on the given sides (M,)."""
        if self.image is None:
            return np.asarray(self.color * self.tints[side])
        axes = np.array([[1, 2], [0, 2], [0, 1]])[side // 2]
        uv = np.take_along_axis(local, axes, axis=1) * self.pixels_per_mm + self.offsets[side]
        return np.asarray(sample_wrapped(self.image, uv) * self.tints[side])


@dataclasses.dataclass(frozen=True)
class Appearance:
    """Everything that a picture's colours need: paint and material of each body, lighting, background image."""

    paints: list[Paint]
    materials: Materials
    lighting: Lighting
    background: Float

    def albedo(self, caster: SceneCaster, hits: SceneHits) -> Float:
        """Albedo (M, 3) of hits."""
        local, side = caster.local_positions(hits), caster.sides(hits)
        result = np.empty((len(hits.ray), 3), dtype=np.float32)
        for index, paint in enumerate(self.paints):
            chosen = np.flatnonzero(hits.body == index)
            if len(chosen):
                result[chosen] = paint.at(local[chosen], side[chosen])
        return result


def draw_appearance(
    kinds: list[Kind],
    obj_ids: list[int | None],
    settings: SceneSettings,
    bank: TextureBank,
    rng: np.random.Generator,
) -> Appearance:
    """Draw paints, materials, lighting and background for one picture.

    Args:
        kinds, obj_ids: of the bodies in the scene's order (object id None unless a part).
    """
    painters = {"train": _paint_train, "test": _paint_test, "random": _paint_random}
    paint = painters[settings.look]
    paints = [paint(kind, obj_id, bank, rng) for kind, obj_id in zip(kinds, obj_ids, strict=True)]
    count = len(kinds)
    is_dull = np.array([kind in ("floor", "wall") for kind in kinds])
    strongest = {"train": 0.6, "test": 0.35, "random": 0.8}[settings.look]
    specular = rng.uniform(0.02, strongest, count) * np.where(is_dull, 0.2, 1.0)
    shininess = np.exp(rng.uniform(np.log(6), np.log(90), count))
    metalness = np.where((rng.random(count) < 0.3) & ~is_dull, rng.uniform(0.2, 0.9, count), 0.0)
    if settings.look == "test":
        turned = np.array([obj_id is not None and obj_id % 3 == 0 for obj_id in obj_ids])
        metalness, shininess = np.where(turned, 0.5, 0.0), np.full(count, 28.0)
    materials = Materials(*(values.astype(np.float32) for values in (specular, shininess, metalness)))
    lighting = _test_lighting(rng) if settings.look == "test" else _random_lighting(settings, rng)
    return Appearance(paints, materials, lighting, _background(settings, bank, rng))


def _textured(bank: TextureBank, rng: np.random.Generator, scale: tuple[float, float]) -> Paint:
    pixels_per_mm = float(np.exp(rng.uniform(*np.log(scale))))
    offsets = rng.uniform(0, TEXTURE_SIZE, (6, 2)).astype(np.float32)
    return Paint(random_color(rng), bank.pick(rng), pixels_per_mm, offsets)


def _plain(rng: np.random.Generator, saturation: tuple[float, float] = (0.0, 1.0)) -> Paint:
    return Paint(random_color(rng, saturation))


def _paint_train(kind: Kind, obj_id: int | None, bank: TextureBank, rng: np.random.Generator) -> Paint:
    """Parts of any plain colour, half of them greyish, some speckled; everything else of any texture."""
    del obj_id
    if kind == "part":
        paint = _plain(rng, (0.0, 0.3) if rng.random() < 0.5 else (0.0, 1.0))
        if rng.random() < 0.15:
            grain = value_noise(TEXTURE_SIZE, 16, 3, rng)[..., None]
            image = paint.color * (0.75 + 0.5 * grain)
            return dataclasses.replace(paint, image=np.clip(image, 0, 1).astype(np.float32), pixels_per_mm=3.0)
        return paint
    if kind == "wall":
        return _plain(rng)
    return _textured(bank, rng, (0.5, 4.0)) if rng.random() < 0.8 else _plain(rng)


def _paint_test(kind: Kind, obj_id: int | None, bank: TextureBank, rng: np.random.Generator) -> Paint:
    """One colour per object, slightly varied; a felt or wooden floor; blue or grey plastic walls."""
    wobble = rng.uniform(0.92, 1.08, 3)
    if obj_id is not None:
        color = TEST_PART_COLORS[(obj_id - 1) % len(TEST_PART_COLORS)] * wobble
    elif kind == "floor":
        return Paint(np.full(3, 0.3, np.float32), bank.pick(rng, recolor=False), 0.8)
    elif kind == "wall":
        color = np.array([0.05, 0.11, 0.26] if rng.random() < 0.6 else [0.25, 0.25, 0.26]) * wobble
    else:
        return _plain(rng, (0.2, 0.8))
    return Paint(color.astype(np.float32))


def _paint_random(kind: Kind, obj_id: int | None, bank: TextureBank, rng: np.random.Generator) -> Paint:
    """Anything: plain, one colour per side, or a texture, sometimes tinted by side."""
    del obj_id
    choice = rng.random()
    if kind in ("floor", "wall"):
        return _textured(bank, rng, (0.2, 3.0))
    tints = rng.uniform(0.3, 1.6, (6, 3)).astype(np.float32) if rng.random() < 0.3 else np.ones((6, 3), np.float32)
    if choice < 0.3:
        return dataclasses.replace(_plain(rng), tints=tints)
    return dataclasses.replace(_textured(bank, rng, (0.6, 5.0)), tints=tints)


def _random_lighting(settings: SceneSettings, rng: np.random.Generator) -> Lighting:
    count = int(rng.integers(settings.lights[0], settings.lights[1] + 1))
    lowest = 0.25 if settings.settled else -0.3
    lamps = []
    for _ in range(count):
        tint = 1 + rng.uniform(-0.25, 0.25, 3)
        color = tint * rng.uniform(0.3, 1.3) / count
        place = _direction(rng, lowest) * rng.uniform(700, 2000)
        lamps.append(Lamp(place.astype(np.float32), color.astype(np.float32), float(rng.uniform(5, 250))))
    sky = rng.uniform(0.1, 0.9) * (1 + rng.uniform(-0.2, 0.2, 3))
    ground = sky * rng.uniform(0.15, 0.9, 3)
    return Lighting(lamps, sky.astype(np.float32), ground.astype(np.float32))


def _test_lighting(rng: np.random.Generator) -> Lighting:
    """A large cool lamp from one side and a small warm one from the other, as in a laboratory."""
    jitter = rng.normal(0, 60, (2, 3))
    key = Lamp(_triple(np.array([-520, 380, 980]) + jitter[0]), _triple([0.78, 0.82, 0.88]), 160.0)
    fill = Lamp(_triple(np.array([700, -350, 620]) + jitter[1]), _triple([0.34, 0.29, 0.22]), 40.0)
    return Lighting([key, fill], _triple([0.34, 0.35, 0.37]), _triple([0.15, 0.14, 0.13]))


def _triple(values: ArrayLike) -> Float:
    return np.asarray(values, dtype=np.float32)


def _direction(rng: np.random.Generator, lowest: float) -> NDArray[np.float64]:
    """Unit vector, uniform on the part of the sphere with z >= lowest."""
    z, angle = rng.uniform(lowest, 1), rng.uniform(0, 2 * np.pi)
    ring = np.sqrt(1 - z * z)
    return np.array([ring * np.cos(angle), ring * np.sin(angle), z])


def _background(settings: SceneSettings, bank: TextureBank, rng: np.random.Generator) -> Float:
    """What rays that meet nothing see, (H, W, 3): one to four textures side by side, each enlarged and shifted."""
    size = (settings.width, settings.height)
    if settings.settled:  # the floor fills the view up to the horizon
        return np.broadcast_to(bank.pick(rng, recolor=False).mean(axis=(0, 1)), (size[1], size[0], 3))
    image = _sheet(size, bank, rng)
    for _ in range(rng.integers(0, 4)):
        corners = rng.uniform(-0.2, 1.2, (int(rng.integers(3, 5)), 2)) * size
        area = np.zeros((size[1], size[0]), np.uint8)
        cv2.fillConvexPoly(area, cv2.convexHull(corners.astype(np.int32)), 1)
        image = np.where(area[..., None] > 0, _sheet(size, bank, rng) * np.float32(rng.uniform(0.5, 1.2)), image)
    return blur(image, rng.uniform(0.3, 2.5)) * np.float32(rng.uniform(0.2, 1.0))


def _sheet(size: tuple[int, int], bank: TextureBank, rng: np.random.Generator) -> Float:
    """A texture turned, enlarged and repeated over an image of `size` (width, height)."""
    zoom = float(np.exp(rng.uniform(np.log(0.5), np.log(6))))
    M = cv2.getRotationMatrix2D((0.0, 0.0), float(rng.uniform(0, 360)), zoom)
    M[:, 2] = rng.uniform(0, TEXTURE_SIZE * zoom, 2)
    flags = cv2.INTER_LINEAR
    return np.asarray(cv2.warpAffine(bank.pick(rng), M, size, flags=flags, borderMode=cv2.BORDER_WRAP), np.float32)
