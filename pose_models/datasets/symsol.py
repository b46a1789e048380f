"""Reader of SYMSOL I and II (spyropose.md section 8.1): pictures of solids and all rotations that look the same.

Pictures are read when they are asked for, as RGB (the reference reads BGR; it matters for the red marks of SYMSOL II
only). Rotations map object to camera coordinates. Of the training rotations only the first equivalent, which the
picture was rendered with, is taken out of the archive (the whole cylinder array would need more than a gigabyte), and
is kept in the cache folder.
"""

from __future__ import annotations

import functools
import zipfile
from pathlib import Path
from typing import IO

import cv2
import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from pose_models.datasets.arrays import Arrays, cache_path, cached_arrays, file_state
from pose_models.datasets.image_files import read_image
from pose_models.files import InputError

Array = NDArray[np.float64]
SYMSOL_1 = ("tet", "cube", "icosa", "cone", "cyl")
SYMSOL_2 = ("tetX", "cylO", "sphereX")
SHAPES = SYMSOL_1 + SYMSOL_2
SPLITS = ("train", "test")
_CHUNK_BYTES = 1 << 24


class SymsolSplit:
    """The views of one shape in one split."""

    def __init__(self, root: str | Path, split: str, shape: str) -> None:
        """Open `<root>/<split>/`.

        Raises:
            InputError: unknown split or shape, files are missing.
        """
        self.folder, self.shape = Path(root) / split, shape
        if split not in SPLITS or shape not in SHAPES:
            raise InputError(f"{root}: SYMSOL has the splits {', '.join(SPLITS)} and the shapes {', '.join(SHAPES)}, "
                             f"not '{split}' of '{shape}'")  # fmt: skip
        self._file = self.folder / "rotations.npz"
        if not self._file.exists():
            raise InputError(f"{self._file}: file not found")

    def __len__(self) -> int:
        return len(self.rotations)

    @functools.cached_property
    def rotations(self) -> Array:
        """(n, 3, 3) rotation of each view, the one that it was rendered with."""
        path = cache_path(f"symsol_{self.shape}", self._file)
        return cached_arrays(path, file_state(self._file), self._first_equivalents)["rotations"]

    def image_path(self, view: int) -> Path:
        """Path of a view's picture."""
        return self.folder / "images" / f"{self.shape}_{view:05d}.png"

    def rgb(self, view: int) -> NDArray[np.uint8]:
        """(224, 224, 3) uint8 RGB."""
        image = read_image(self.image_path(view), cv2.IMREAD_COLOR)
        return np.ascontiguousarray(image[..., ::-1]).astype(np.uint8, copy=False)

    @functools.cached_property
    def _all(self) -> Array:
        with self._open() as stream:
            return np.asarray(npy_format.read_array(stream, allow_pickle=False), dtype=np.float64)

    def equivalents(self, view: int) -> Array:
        """(m, 3, 3) all rotations that look the same, the rendered one first; m = 1 where the shape is marked.

        Reads the shape's whole array once: meant for the test split (5,000 views).
        """
        return np.asarray(self._all[view])

    def _first_equivalents(self) -> Arrays:
        """Entry 0 of every view, read piece by piece."""
        with self._open() as stream:
            shape, fortran, dtype = _header(stream)
            if len(shape) != 4 or shape[2:] != (3, 3) or shape[1] < 1 or fortran or dtype.kind != "f":
                raise InputError(f"{self._file}: '{self.shape}' must be numbers of shape (views, equivalents, 3, 3), "
                                 f"it has {shape}")  # fmt: skip
            count, equivalents = shape[:2]
            view_bytes = equivalents * 9 * dtype.itemsize
            first = np.empty((count, 9), dtype=np.float64)
            step = max(1, _CHUNK_BYTES // view_bytes)
            for start in range(0, count, step):
                views = min(step, count - start)
                content = stream.read(views * view_bytes)
                if len(content) != views * view_bytes:
                    raise InputError(f"{self._file}: '{self.shape}' is truncated; fetch the file again")
                first[start : start + views] = np.frombuffer(content, dtype).reshape(views, -1)[:, :9]
        if not np.isfinite(first).all():
            raise InputError(f"{self._file}: '{self.shape}' holds numbers that are not finite; fetch the file again")
        return {"rotations": first.reshape(-1, 3, 3)}

    def _open(self) -> IO[bytes]:
        try:
            return zipfile.ZipFile(self._file).open(f"{self.shape}.npy")
        except KeyError:
            raise InputError(f"{self._file}: has no array '{self.shape}'") from None
        except zipfile.BadZipFile as error:
            raise InputError(f"{self._file}: unreadable ({error}); fetch the file again") from None


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = npy_format.read_magic(stream)
    read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    return read(stream)
