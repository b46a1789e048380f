"""What a picture looks like: colours, materials, lamps and what lies behind, drawn per image and per look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pose_models.render.scene import Float
from pose_models.render.shading import SIDES, Appearance, Lamp, Lighting, Materials, Paint
from pose_models.synthesis.bank import TEXTURE_SIZE, ImageBank
from pose_models.synthesis.config import Look, SceneSettings
from pose_models.synthesis.textures import random_color

Kind = Literal["part", "distractor", "floor", "wall", "room"]
# Linear colours of the demo's parts under the test look, by object id modulo their number: ivory, slate, brass-grey.
TEST_PART_COLORS = np.array([[0.66, 0.62, 0.52], [0.16, 0.19, 0.24], [0.42, 0.40, 0.36]])


class Subject(NamedTuple):
    """A body as painters see it: what it is, its object id (None unless a part), whether it has colours of its own."""

    kind: Kind
    obj_id: int | None
    has_colors: bool


def draw_appearance(
    subjects: Sequence[Subject], settings: SceneSettings, bank: ImageBank, rng: np.random.Generator
) -> Appearance:
    """Draw paints, materials, lighting and background for one picture; `subjects` in the scene's order of bodies."""
    painters = {"train": _paint_train, "test": _paint_test, "random": _paint_random, "cosypose": _paint_recording}
    paint = painters[settings.look]
    paints = []
    for subject in subjects:
        if subject.has_colors and rng.random() >= settings.retextured:
            paints.append(_plain(np.ones(3), keeps_own=True))
        else:
            paints.append(paint(subject, bank, rng))
    lighting = {"test": _test_lighting, "cosypose": _recording_lighting}.get(settings.look, _random_lighting)
    background = _background(settings, bank, rng)
    materials = _materials(subjects, settings.look, rng)
    return Appearance(paints, bank.textures, materials, lighting(settings, rng), background)


def _materials(subjects: Sequence[Subject], look: Look, rng: np.random.Generator) -> Materials:
    count = len(subjects)
    is_dull = np.array([subject.kind in ("floor", "wall", "room") for subject in subjects])
    strongest = {"train": 0.6, "test": 0.35, "random": 0.8, "cosypose": 0.8}[look]
    specular = rng.uniform(0.02, strongest, count) * np.where(is_dull, 0.2, 1.0)
    shininess = np.exp(rng.uniform(np.log(6), np.log(90), count))
    metalness = np.where((rng.random(count) < 0.3) & ~is_dull, rng.uniform(0.2, 0.9, count), 0.0)
    if look == "test":
        turned = np.array([subject.obj_id is not None and subject.obj_id % 3 == 0 for subject in subjects])
        metalness, shininess = np.where(turned, 0.5, 0.0), np.full(count, 28.0)
    return Materials(*(values.astype(np.float32) for values in (specular, shininess, metalness)))


def _plain(color: ArrayLike, keeps_own: bool = False) -> Paint:
    return Paint(np.tile(np.asarray(color, dtype=np.float32), (SIDES, 1)), keeps_own=keeps_own)


def _textured(
    bank: ImageBank, rng: np.random.Generator, scale: tuple[float, float], tints: ArrayLike = 1.0, recolor: bool = True
) -> Paint:
    """A texture of the bank, usually recoloured, of a random scale in pixels per mm, from a random place per side."""
    color = rng.uniform(0.6, 1.3) * (1 + rng.uniform(-0.35, 0.35, 3)) if recolor else np.ones(3)
    pixels_per_mm = float(np.exp(rng.uniform(*np.log(scale))))
    offsets = rng.uniform(0, TEXTURE_SIZE, (SIDES, 2)).astype(np.float32)
    shades = np.broadcast_to(color * np.asarray(tints), (SIDES, 3)).astype(np.float32)
    return Paint(shades, bank.pick(rng), pixels_per_mm, offsets)


def _paint_train(subject: Subject, bank: ImageBank, rng: np.random.Generator) -> Paint:
    """Parts of any plain colour, half of them greyish, some speckled; everything else of any texture."""
    if subject.kind == "part":
        color = random_color(rng, (0.0, 0.3) if rng.random() < 0.5 else (0.0, 1.0))
        if rng.random() < 0.15:
            offsets = rng.uniform(0, TEXTURE_SIZE, (SIDES, 2)).astype(np.float32)
            return Paint(np.tile(1.25 * color, (SIDES, 1)), bank.pick_grain(rng), 3.0, offsets)
        return _plain(color)
    if subject.kind == "wall":
        return _plain(random_color(rng))
    return _textured(bank, rng, (0.5, 4.0)) if rng.random() < 0.8 else _plain(random_color(rng))


def _paint_test(subject: Subject, bank: ImageBank, rng: np.random.Generator) -> Paint:
    """One colour per object, slightly varied; a felt or wooden floor; blue or grey plastic walls."""
    wobble = rng.uniform(0.92, 1.08, 3)
    if subject.obj_id is not None:
        return _plain(TEST_PART_COLORS[(subject.obj_id - 1) % len(TEST_PART_COLORS)] * wobble)
    if subject.kind == "floor":
        return _textured(bank, rng, (0.8, 0.8), recolor=False)
    if subject.kind == "wall":
        return _plain(np.array([0.05, 0.11, 0.26] if rng.random() < 0.6 else [0.25, 0.25, 0.26]) * wobble)
    return _plain(random_color(rng, (0.2, 0.8)))


def _paint_random(subject: Subject, bank: ImageBank, rng: np.random.Generator) -> Paint:
    """Anything: plain, one colour per side, or a texture, sometimes tinted by side."""
    if subject.kind in ("floor", "wall"):
        return _textured(bank, rng, (0.2, 3.0))
    choice = rng.random()
    tints = rng.uniform(0.3, 1.6, (SIDES, 3)) if rng.random() < 0.3 else np.ones((SIDES, 3))
    if choice < 0.3:
        return Paint((random_color(rng) * tints).astype(np.float32))
    return _textured(bank, rng, (0.6, 5.0), tints)


def _paint_recording(subject: Subject, bank: ImageBank, rng: np.random.Generator) -> Paint:
    """Room and ground of a random texture each; models without colours of their own grey, a tenth of them textured."""
    if subject.kind in ("room", "floor"):
        return _textured(bank, rng, (0.1, 0.8), recolor=False)
    if rng.random() < 0.1:
        return _textured(bank, rng, (0.6, 5.0), recolor=False)
    return _plain(np.full(3, rng.uniform(0.25, 0.6)))


def _random_lighting(settings: SceneSettings, rng: np.random.Generator) -> Lighting:
    count = int(rng.integers(settings.lights[0], settings.lights[1] + 1))
    lowest = 0.25 if settings.layout == "bin" else -0.3
    lamps = []
    for _ in range(count):
        color = (1 + rng.uniform(-0.25, 0.25, 3)) * rng.uniform(0.3, 1.3) / count
        place = _direction(rng, lowest) * rng.uniform(700, 2000)
        lamps.append(Lamp(_triple(place), _triple(color), float(rng.uniform(5, 250))))
    sky = rng.uniform(0.1, 0.9) * (1 + rng.uniform(-0.2, 0.2, 3))
    ground = sky * rng.uniform(0.15, 0.9, 3)
    return Lighting(lamps, _triple(sky), _triple(ground))


def _test_lighting(settings: SceneSettings, rng: np.random.Generator) -> Lighting:
    """A large cool lamp from one side and a small warm one from the other, as in a laboratory."""
    del settings
    jitter = rng.normal(0, 60, (2, 3))
    key = Lamp(_triple(np.array([-520, 380, 980]) + jitter[0]), _triple([0.78, 0.82, 0.88]), 160.0)
    fill = Lamp(_triple(np.array([700, -350, 620]) + jitter[1]), _triple([0.34, 0.29, 0.22]), 40.0)
    return Lighting([key, fill], _triple([0.34, 0.35, 0.37]), _triple([0.15, 0.14, 0.13]))


def _recording_lighting(settings: SceneSettings, rng: np.random.Generator) -> Lighting:
    """One white lamp that stays where it is: the recording does not randomise light."""
    del settings, rng
    lamp = Lamp(_triple([900, -600, 2300]), _triple([0.75, 0.75, 0.75]), 60.0)
    return Lighting([lamp], _triple([0.55, 0.55, 0.55]), _triple([0.40, 0.40, 0.40]))


def _triple(values: ArrayLike) -> Float:
    return np.asarray(values, dtype=np.float32)


def _direction(rng: np.random.Generator, lowest: float) -> NDArray[np.float64]:
    """Unit vector, uniform on the part of the sphere with z >= lowest."""
    z, angle = rng.uniform(lowest, 1), rng.uniform(0, 2 * np.pi)
    ring = np.sqrt(1 - z * z)
    return np.array([ring * np.cos(angle), ring * np.sin(angle), z])


def _background(settings: SceneSettings, bank: ImageBank, rng: np.random.Generator) -> Float:
    """What rays that meet nothing see, (H, W, 3)."""
    size = (settings.width, settings.height)
    if settings.layout != "floating":  # floor or room fill the view
        color = bank.textures[bank.pick(rng)].mean(axis=(0, 1))
        return np.ascontiguousarray(np.broadcast_to(color, (size[1], size[0], 3)))
    photo = bank.photograph(size, rng)
    return bank.collage(size, rng) if photo is None else photo
