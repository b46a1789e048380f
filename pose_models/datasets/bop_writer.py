"""Writer of the classic BOP layout (bop.md section 2): one scene folder, written image by image; targets of a split."""

from __future__ import annotations

import dataclasses
import functools
import struct
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pose_models.datasets.bop import BopDataset
from pose_models.datasets.image_files import write_png
from pose_models.files import InputError, write_json

MIN_VISIBLE_FRACTION = 0.1  # an instance that shows less is no target


@dataclasses.dataclass(frozen=True)
class InstanceRecord:
    """One annotated instance: pose T_cam_obj (4, 4) mm, its entry of scene_gt_info.json, two masks (H, W)."""

    obj_id: int
    T_cam_obj: NDArray[np.float64]
    info: dict[str, Any]
    mask: NDArray[np.bool_]
    mask_visible: NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class ImageEntry:
    """What an image adds to scene_camera.json, scene_gt.json and scene_gt_info.json."""

    camera: dict[str, Any]
    gt: list[dict[str, Any]]
    info: list[dict[str, Any]]


class SceneWriter:
    """Fills a new scene folder; `close` writes the JSON files. Wrap the folder in `files.atomic_path`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("rgb", "depth", "mask", "mask_visib"):
            (folder / name).mkdir(parents=True)
        self._entries: dict[int, ImageEntry] = {}

    def add(self, im_id: int, *image: Any, **options: Any) -> None:
        """Write one image; arguments as for `write_image`."""
        self.note(im_id, write_image(self.folder, im_id, *image, **options))

    def note(self, im_id: int, entry: ImageEntry) -> None:
        """Take the entry of an image whose files `write_image` has written, maybe in another process."""
        self._entries[im_id] = entry

    def close(self) -> None:
        """Write scene_camera.json, scene_gt.json and scene_gt_info.json, by image id."""
        for name in ("camera", "gt", "info"):
            content = {str(im_id): getattr(entry, name) for im_id, entry in sorted(self._entries.items())}
            write_json(self.folder / f"scene_{'gt_info' if name == 'info' else name}.json", content, indent=None)


def write_image(
    folder: Path,
    im_id: int,
    rgb: NDArray[np.uint8],
    depth: NDArray[np.uint16],
    K: ArrayLike,
    depth_scale: float,
    instances: list[InstanceRecord],
    T_cam_world: ArrayLike | None = None,
    jpeg_quality: int | None = 95,
) -> ImageEntry:
    """Write the files of one image: colours, depth, masks.

    Args:
        folder: scene folder that a `SceneWriter` has made.
        rgb: (H, W, 3). depth: (H, W) in units of `depth_scale` mm, 0 = not measured.
        K: (3, 3). T_cam_world: (4, 4) mm, or None where the world has no meaning.
        jpeg_quality: in percent; None for PNG.
    """
    camera: dict[str, Any] = {"cam_K": _numbers(K), "depth_scale": depth_scale}
    if T_cam_world is not None:
        T = np.asarray(T_cam_world)
        camera |= {"cam_R_w2c": _numbers(T[:3, :3]), "cam_t_w2c": _numbers(T[:3, 3])}
    gt = [
        {"cam_R_m2c": _numbers(r.T_cam_obj[:3, :3]), "cam_t_m2c": _numbers(r.T_cam_obj[:3, 3]), "obj_id": r.obj_id}
        for r in instances
    ]
    if jpeg_quality is None:
        write_png(folder / "rgb" / f"{im_id:06d}.png", rgb[..., ::-1])
    else:
        done, content = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])
        if not done:
            raise OSError(f"{folder}: image {im_id} could not be encoded as JPEG")
        (folder / "rgb" / f"{im_id:06d}.jpg").write_bytes(content.tobytes())
    write_png(folder / "depth" / f"{im_id:06d}.png", depth)
    for gt_id, record in enumerate(instances):
        name = f"{im_id:06d}_{gt_id:06d}.png"
        (folder / "mask" / name).write_bytes(encode_mask(record.mask))
        (folder / "mask_visib" / name).write_bytes(encode_mask(record.mask_visible))
    return ImageEntry(camera, gt, [r.info for r in instances])


def _numbers(values: ArrayLike) -> list[float]:
    return [float(value) for value in np.asarray(values, dtype=np.float64).reshape(-1)]


def encode_mask(mask: NDArray[np.bool_]) -> bytes:
    """A mask (H, W) as an 8-bit grey PNG of 0 and 255.

    Most rows of most masks are empty. Their share of the compressed stream depends on their number only, so it is made
    once (Deflate blocks that end at a full flush stand for themselves); compressing all rows takes five times as long.
    """
    height, width = mask.shape
    filled = np.flatnonzero(mask.any(axis=1))
    top, bottom = (int(filled[0]), int(filled[-1]) + 1) if len(filled) else (height, height)
    rows = np.zeros((bottom - top, 1 + width), dtype=np.uint8)  # each row starts with its filter, 0 for none
    np.multiply(mask[top:bottom], np.uint8(255), out=rows[:, 1:], casting="unsafe")
    middle = rows.tobytes()
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = packer.compress(middle) + packer.flush(zlib.Z_FULL_FLUSH)
    check = zlib.adler32(middle, _adler_of_zeros(1, top * (1 + width)))
    check = _adler_of_zeros(check, (height - bottom) * (1 + width))
    before, after = _empty_rows(top, width), _empty_rows(height - bottom, width)
    data = b"\x78\x01" + before + body + after + b"\x03\x00" + struct.pack(">I", check)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


@functools.lru_cache(maxsize=4096)
def _empty_rows(count: int, width: int) -> bytes:
    """Compressed empty rows, ready to stand anywhere in a Deflate stream."""
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(bytes(count * (1 + width))) + packer.flush(zlib.Z_FULL_FLUSH)


def _adler_of_zeros(start: int, count: int) -> int:
    """Adler-32 after `count` zero bytes, from that before them."""
    low, high = start & 0xFFFF, start >> 16
    return ((high + count * low) % 65521 << 16) | low


def localisation_targets(
    dataset: BopDataset, split: str, images: Collection[tuple[int, int]] | None = None
) -> list[dict[str, int]]:
    """Content of test_targets_bop19.json: per image and object how many instances show at least a tenth.

    Args:
        images: (scene id, image id) that are looked at; None for all of the split.

    Raises:
        InputError: the split lacks one of the images.
    """
    targets, left = [], set(images or ())
    for scene_id in dataset.scene_ids(split):
        scene = dataset.scene(split, scene_id)
        for im_id in scene.image_ids:
            if images is not None and (scene_id, im_id) not in left:
                continue
            left.discard((scene_id, im_id))
            pairs = zip(scene.ground_truth[im_id], scene.ground_truth_info[im_id], strict=True)
            visible = [gt.obj_id for gt, info in pairs if info.visib_fract >= MIN_VISIBLE_FRACTION]
            for obj_id in sorted(set(visible)):
                entry = {"scene_id": scene_id, "im_id": im_id, "obj_id": obj_id, "inst_count": visible.count(obj_id)}
                targets.append(entry)
    if left:
        scene_id, im_id = min(left)
        raise InputError(f"{dataset.root / split}: has no image {im_id} in scene {scene_id}; fetch all test images")
    return targets
