"""Images that pictures are made of: textures and what lies behind, procedural or from folders of the user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_models.datasets.bop import read_image
from pose_models.files import InputError
from pose_models.render.scene import Float
from pose_models.render.shading import blur
from pose_models.synthesis.config import Look
from pose_models.synthesis.textures import texture, value_noise, wood

TEXTURE_SIZE = 256
PROCEDURAL = 48  # textures made for a scene folder
FROM_FOLDER = 100  # textures taken from a user's folder for a scene folder, as CosyPose's recording does
GRAINS = 3
NOISE = 1 << 20
SUFFIXES = (".jpg", ".jpeg", ".png")


def image_files(folder: str | Path) -> list[Path]:
    """All JPEG and PNG files below a folder, in order of their names.

    Of a Pascal VOC folder only JPEGImages: its PNG files are segmentation labels, not pictures (cosypose.md 7.2).

    Raises:
        InputError: no such folder, or no image in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: folder of images not found")
    photos = sorted(path for path in folder.rglob("JPEGImages") if path.is_dir())
    roots = photos or [folder]
    files = sorted(path for root in roots for path in root.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(f"{folder}: no .jpg or .png file below it")
    return files


class ImageBank:
    """What one scene folder's pictures pick from; made once per folder, the same for the same generator.

    textures: (T, S, S, 3) float32 linear, the last few grey grain. noise: (2 * NOISE,) float32 standard normal, for
    sensors, drawn once because drawing it for every picture would take as long as a good part of the rendering.
    """

    def __init__(
        self,
        look: Look,
        rng: np.random.Generator,
        texture_folder: str | Path | None = None,
        background_folder: str | Path | None = None,
    ) -> None:
        if texture_folder is not None and look != "test":
            files = image_files(texture_folder)
            images = [_from_file(files[index]) for index in rng.integers(0, len(files), FROM_FOLDER)]
        elif look == "test":
            images = [wood(TEXTURE_SIZE, rng), _felt(rng)]
        else:
            images = [texture(TEXTURE_SIZE, rng) for _ in range(PROCEDURAL)]
        self._pickable = len(images)
        self.textures: Float = np.stack(images + [_grain(rng) for _ in range(GRAINS)]).astype(np.float32)
        self._photos = [] if background_folder is None else image_files(background_folder)
        table = rng.standard_normal(NOISE, dtype=np.float32)
        self.noise: Float = np.concatenate([table, table])

    def pick(self, rng: np.random.Generator) -> int:
        """Index of any texture but grain."""
        return int(rng.integers(0, self._pickable))

    def pick_grain(self, rng: np.random.Generator) -> int:
        """Index of a grey grain, 0.6 to 1."""
        return self._pickable + int(rng.integers(0, GRAINS))

    def normals(self, count: int, rng: np.random.Generator) -> Float:
        """Standard normal numbers (count,), a stretch of the table from a random place; count at most NOISE."""
        start = int(rng.integers(0, NOISE))
        return self.noise[start : start + count]

    def photograph(self, size: tuple[int, int], rng: np.random.Generator) -> Float | None:
        """A photograph (H, W, 3) linear, of the folder given, filling `size` (width, height); None without folder."""
        if not self._photos:
            return None
        path = self._photos[int(rng.integers(0, len(self._photos)))]
        image = cv2.resize(read_image(path, cv2.IMREAD_COLOR), size, interpolation=cv2.INTER_AREA)
        return _linear(image[..., ::-1]) * np.float32(rng.uniform(0.4, 1.2))

    def collage(self, size: tuple[int, int], rng: np.random.Generator) -> Float:
        """One to four textures side by side (H, W, 3), each turned, enlarged and shifted."""
        image = self._sheet(size, rng)
        for _ in range(rng.integers(0, 4)):
            corners = rng.uniform(-0.2, 1.2, (int(rng.integers(3, 5)), 2)) * size
            area = np.zeros((size[1], size[0]), np.uint8)
            cv2.fillConvexPoly(area, cv2.convexHull(corners.astype(np.int32)), 1)
            image = np.where(area[..., None] > 0, self._sheet(size, rng) * np.float32(rng.uniform(0.5, 1.2)), image)
        return blur(image, rng.uniform(0.3, 2.5)) * np.float32(rng.uniform(0.2, 1.0))

    def _sheet(self, size: tuple[int, int], rng: np.random.Generator) -> Float:
        zoom = float(np.exp(rng.uniform(np.log(0.5), np.log(6))))
        M = cv2.getRotationMatrix2D((0.0, 0.0), float(rng.uniform(0, 360)), zoom)
        M[:, 2] = rng.uniform(0, TEXTURE_SIZE * zoom, 2)
        image = self.textures[self.pick(rng)]
        return np.asarray(cv2.warpAffine(image, M, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP))


def _from_file(path: Path) -> Float:
    image = read_image(path, cv2.IMREAD_COLOR)
    return _linear(cv2.resize(image, (TEXTURE_SIZE, TEXTURE_SIZE), interpolation=cv2.INTER_AREA)[..., ::-1])


def _linear(image: NDArray[Any]) -> Float:
    return np.asarray(np.power(image.astype(np.float32) / 255, np.float32(2.2)))


def _felt(rng: np.random.Generator) -> Float:
    grain = value_noise(TEXTURE_SIZE, 64, 2, rng)[..., None]
    cloud = value_noise(TEXTURE_SIZE, 4, 3, rng)[..., None]
    color = np.array([0.30, 0.31, 0.33]) * (0.7 + 0.35 * grain + 0.25 * cloud)
    return np.asarray(np.clip(color, 0, 1), dtype=np.float32)


def _grain(rng: np.random.Generator) -> Float:
    noise = value_noise(TEXTURE_SIZE, 16, 3, rng)[..., None]
    return np.repeat(0.6 + 0.4 * noise, 3, axis=2).astype(np.float32)
