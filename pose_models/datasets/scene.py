"""One scene of a BOP dataset: cameras, ground truth, images and masks, all read when they are asked for.

`BopScene` reads the classic layout (one folder per scene, bop.md section 2), of one sensor where there are several
(section 2.5). The other layouts (`imagewise.py`) differ only in where a file's content comes from.
Lengths are millimetres, depth is already multiplied by the image's `depth_scale`. Everything wrong raises `InputError`
with the file and the record.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_models.datasets import index, records
from pose_models.datasets.catalogue import catalogue_entry
from pose_models.datasets.image_files import decode_image, read_image
from pose_models.datasets.index import CAMERA, INFOS, INSTANCES, KINDS, ByImage, Kind, Table
from pose_models.datasets.records import Camera, Instance, InstanceInfo
from pose_models.files import InputError, file_digest

COLOR = ("rgb", "gray")
SUFFIXES = ("png", "jpg", "tif", "tiff", "jpeg")
Content = tuple[str, bytes]  # name for messages (with suffix), bytes of the file


class BopScene:
    """One scene folder `<split>/<scene id>/`; everything is read when it is asked for."""

    def __init__(self, path: str | Path, sensor: str | None = None) -> None:
        """Open a scene folder.

        Args:
            path: the folder.
            sensor: which one, where the annotations are per sensor (`scene_gt_photoneo.json`); None for the one that
                is evaluated.
        """
        self.path = Path(path)
        if not self.path.is_dir():
            raise InputError(f"{self.path}: scene folder not found")
        digits = self.path.name.rpartition("_")[2]  # `000001`, or `shard_0001` of generated images
        if not digits.isdigit():
            raise InputError(f"{self.path}: a scene folder's name must be a number")
        self.scene_id = int(digits)
        self.sensor = sensor or self._evaluated_sensor()
        self._tables: dict[str, Table] = {}
        self._texts: dict[str, dict[int, bytes]] = {}

    def _evaluated_sensor(self) -> str | None:
        """The sensor that the dataset's entry names, where the annotations are per sensor and it has some."""
        if not self.sensors or (self.path / "scene_camera.json").exists():
            return None
        root = self.path.absolute().parents[1]  # unresolved: a link's name is the dataset's
        sensor = catalogue_entry(root.name, root).sensor
        return sensor if sensor in self.sensors else None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.sensor)  # a spawned loader worker maps the annotations itself

    @functools.cached_property
    def cameras(self) -> Mapping[int, Camera]:
        """Camera by image id."""
        table = self.table(CAMERA)
        return ByImage(table, lambda im_id, rows: self._camera(table, im_id, rows[0]))

    @functools.cached_property
    def ground_truth(self) -> Mapping[int, list[Instance]]:
        """Instances by image id, in file order."""
        table = self.table(INSTANCES)
        return ByImage(table, lambda im_id, rows: [instance(table, n, row) for n, row in enumerate(rows)])

    @functools.cached_property
    def ground_truth_info(self) -> Mapping[int, list[InstanceInfo]]:
        """Visibility by image id, parallel to `ground_truth`."""
        table = self.info_table
        return ByImage(table, lambda im_id, rows: [instance_info(table, row) for row in rows])

    @functools.cached_property
    def info_table(self) -> Table:
        """Visibility rows, row by row those of the instances.

        Raises:
            InputError: an image of the ground truth has not as many entries.
        """
        truth, infos = self.table(INSTANCES), self.table(INFOS)
        if np.array_equal(truth.im_ids, infos.im_ids) and np.array_equal(truth.first, infos.first):
            return infos
        for im_id in truth.positions:
            if im_id not in infos.positions or len(infos.rows(im_id)) != len(truth.rows(im_id)):
                raise InputError(
                    f"{self.annotation_file(INFOS)}: image {im_id} has not as many entries as "
                    f"{self.annotation_file(INSTANCES).name}; make the file again"
                )
        return infos.gathered(np.array([infos.positions[im_id] for im_id in truth.positions], dtype=np.int64))

    def table(self, kind: Kind) -> Table:
        """Annotations of one kind as arrays (`index.CAMERA`, `index.INSTANCES`, `index.INFOS`)."""
        if kind.name not in self._tables:
            self._tables[kind.name] = self._read_table(kind)
        return self._tables[kind.name]

    def _read_table(self, kind: Kind) -> Table:
        file = self.annotation_file(kind)
        if self.sensor is None and not file.exists() and self.sensors:
            raise InputError(
                f"{file}: not found, but there are annotations of the sensors {', '.join(self.sensors)}; name one "
                f"as `sensor` in a dataset.yaml in the dataset's folder"
            )
        return index.load_table(kind, file)

    def annotation_file(self, kind: Kind) -> Path:
        """Where the annotations of a kind lie: scene_camera.json, scene_gt.json, scene_gt_info.json, with sensor."""
        return self.path / (f"scene_{kind.name}_{self.sensor}.json" if self.sensor else f"scene_{kind.name}.json")

    def annotation(self, kind: Kind, im_id: int) -> bytes | None:
        """JSON text of an image's entry as it stands in the file, None if there is none."""
        if kind.name not in self._texts:
            self._texts[kind.name] = index.entry_texts(self.annotation_file(kind))
        return self._texts[kind.name].get(im_id)

    def has(self, kind: Kind) -> bool:
        """Whether there are annotations of a kind."""
        return self.annotation_file(kind).exists()

    def digests(self) -> list[str]:
        """A digest of each kind of annotations that there is, to tell whether they have changed."""
        return [file_digest(self.annotation_file(kind)) for kind in KINDS if self.has(kind)]

    @property
    def sensors(self) -> list[str]:
        """Sensors that have a camera file of their own."""
        return sorted(path.stem.removeprefix("scene_camera_") for path in self.path.glob("scene_camera_*.json"))

    @functools.cached_property
    def image_ids(self) -> list[int]:
        """All image ids, ascending."""
        return sorted(self.cameras)

    def camera(self, im_id: int) -> Camera:
        """Camera of an image.

        Raises:
            InputError: the image has no camera.
        """
        try:
            return self.cameras[im_id]
        except KeyError:
            raise InputError(f"{self.annotation_file(CAMERA)}: no entry for image {im_id}") from None

    def rgb_path(self, im_id: int) -> Path:
        """Path of the colour (or grey) image."""
        path = self._find(COLOR, im_id)
        if path is None:
            raise InputError(f"{self.path}: image {im_id} not found in {' or '.join(self._folders(COLOR))}")
        return path

    def rgb(self, im_id: int) -> NDArray[np.uint8]:
        """Colour image (H, W, 3) uint8 RGB; grey images are replicated to three channels."""
        name, content = self.rgb_file(im_id)
        image = decode_image(content, name, cv2.IMREAD_COLOR)
        return np.ascontiguousarray(image[..., ::-1]).astype(np.uint8, copy=False)

    def depth(self, im_id: int) -> NDArray[np.float32]:
        """Depth image (H, W) float32 mm along z, 0 where nothing was measured."""
        file = self.depth_file(im_id)
        if file is None:
            raise InputError(f"{self.path}: depth image {im_id:06d} not found")
        raw = decode_image(file[1], file[0], cv2.IMREAD_UNCHANGED)
        return raw.astype(np.float32) * np.float32(self.camera(im_id).depth_scale)

    def has_rgb(self, im_id: int) -> bool:
        """Whether a colour (or grey) image exists."""
        return self._find(COLOR, im_id) is not None

    def has_depth(self, im_id: int) -> bool:
        """Whether a depth image exists."""
        return self._find(("depth",), im_id) is not None

    def mask(self, im_id: int, gt_id: int, visible: bool = True) -> NDArray[np.bool_]:
        """Mask (H, W) of an instance: its visible part, or its whole silhouette inside the image."""
        return read_image(self.mask_folder(visible) / f"{im_id:06d}_{gt_id:06d}.png", cv2.IMREAD_GRAYSCALE) > 0

    def mask_folder(self, visible: bool) -> Path:
        """Folder of the masks: mask_visib/ or mask/, with the sensor's name where it has masks of its own."""
        name = "mask_visib" if visible else "mask"
        own = self.path / f"{name}_{self.sensor}"
        return own if self.sensor and own.is_dir() else self.path / name

    def has_masks(self, im_id: int, visible: bool = True) -> bool:
        """Whether an image has masks."""
        return any(self.mask_folder(visible).glob(f"{im_id:06d}_*.png"))

    def image_size(self, im_id: int) -> tuple[int, int]:
        """Width and height of an image, from its depth or colour file."""
        name, content = self.depth_file(im_id) or self.rgb_file(im_id)
        height, width = decode_image(content, name, cv2.IMREAD_UNCHANGED).shape[:2]
        return int(width), int(height)

    def rgb_file(self, im_id: int) -> Content:
        """Name and bytes of the colour (or grey) image's file."""
        path = self.rgb_path(im_id)
        return str(path), path.read_bytes()

    def depth_file(self, im_id: int) -> Content | None:
        """Name and bytes of the depth image's file, None if there is none."""
        path = self._find(("depth",), im_id)
        return None if path is None else (str(path), path.read_bytes())

    def _folders(self, modalities: tuple[str, ...]) -> list[str]:
        """Folders of a modality; a sensor's are `rgb_photoneo`, or its own name where that is one (`gray1`)."""
        if self.sensor is None:
            return list(modalities)
        own = [self.sensor] if modalities == COLOR else []
        return [f"{name}_{self.sensor}" for name in modalities] + own

    def _find(self, modalities: tuple[str, ...], im_id: int) -> Path | None:
        for folder in self._folders(modalities):
            for suffix in SUFFIXES:
                path = self.path / folder / f"{im_id:06d}.{suffix}"
                if path.exists():
                    return path
        return None

    def _camera(self, table: Table, im_id: int, row: int) -> Camera:
        columns, record = table.columns, f"{self.annotation_file(CAMERA)}: image {im_id}"
        K, T_cam_world, text = columns["K"][row], columns["T_cam_world"][row], bytes(columns["lens"][row])
        return Camera(
            pinhole=None if np.isnan(K[0, 0]) else np.array(K),
            depth_scale=float(columns["depth_scale"][row]),
            T_cam_world=None if np.isnan(T_cam_world[0, 0]) else np.array(T_cam_world),
            lens=records.lens_of(record, json.loads(text))[1] if text else None,
            record=record,
        )


def instance(table: Table, gt_id: int, row: int) -> Instance:
    """The instance in a row of an `INSTANCES` table."""
    T_cam_obj = np.zeros((4, 4))
    T_cam_obj[:3, :3], T_cam_obj[:3, 3], T_cam_obj[3, 3] = table.columns["R"][row], table.columns["t"][row], 1.0
    return Instance(gt_id, int(table.columns["obj_id"][row]), T_cam_obj)


def instance_info(table: Table, row: int) -> InstanceInfo:
    """The visibility in a row of an `INFOS` table."""
    columns = table.columns
    whole, valid, visible = columns["counts"][row].tolist()
    (x, y, w, h), bbox_visib = columns["boxes"][row].tolist()
    return InstanceInfo(whole, valid, visible, float(columns["visib_fract"][row]), (x, y, w, h), tuple(bbox_visib))
