"""Checks of the files of a scene: images, depth, masks, their sizes, and what scene_gt_info.json says about them."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_models.datasets.bop import BopScene
from pose_models.datasets.image_files import decode_image
from pose_models.datasets.imagewise import ImagewiseScene
from pose_models.datasets.index import CAMERA
from pose_models.evaluation.doctor.annotations import ImageRecord
from pose_models.evaluation.doctor.findings import Findings
from pose_models.files import InputError
from pose_models.render.visibility import box_of_mask

Mask = NDArray[np.bool_]
NAMES = {True: "mask_visib", False: "mask"}
FEW_PX, SHARE = 20, 0.05  # by which counts of pixels may differ: renderers disagree along outlines
BOX_PX = 2  # by which boxes may differ
FOCAL_PER_WIDTH = (0.2, 20.0)  # fields of view of 136 and 3 degrees


def place(scene: BopScene) -> str:
    """The scene's folder for messages, with the sensor where there are several."""
    return f"{scene.path} (sensor {scene.sensor})" if scene.sensor else str(scene.path)


@dataclasses.dataclass(frozen=True)
class Expected:
    """What a scene's images are expected to have, because others of the scene have it."""

    depth: bool
    mask: bool
    mask_visib: bool


@dataclasses.dataclass
class Pixels:
    """What could be read of an image; masks by gt id. depth: (H, W) mm, 0 = not measured."""

    width: int
    height: int
    depth: NDArray[np.float32] | None
    masks: dict[int, Mask]
    visible: dict[int, Mask]

    def forget(self, gt_id: int) -> None:
        """Remove the masks of an instance, which are wrong: nothing is to be held against them."""
        self.masks.pop(gt_id, None)
        self.visible.pop(gt_id, None)


def check_files(scene: BopScene, records: list[ImageRecord], split: str, findings: Findings) -> Expected:
    """Find files that nothing refers to, and what the scene's images have."""
    ids = [record.im_id for record in records]
    known = set(ids)
    has_depth = any(scene.has_depth(im_id) for im_id in ids)
    if isinstance(scene, ImagewiseScene):
        has = {visible: _has_masks(scene, ids, visible) for visible in NAMES}
        return Expected(has_depth, has[False], has[True])
    for folder in ("rgb", "gray"):
        stems = {path.stem for path in (scene.path / folder).glob("*.*")}
        for name in sorted(stem for stem in stems if stem.isdigit() and int(stem) not in known):
            findings.add("image-unannotated", split, scene.path / folder / name, f"image {int(name)}")
    counts = {record.im_id: record.instances for record in records}
    has = {}
    for visible in NAMES:
        folder_path = scene.mask_folder(visible)
        names = sorted(path.name for path in folder_path.glob("*.png")) if folder_path.is_dir() else []
        has[visible] = bool(names)
        for name in names:
            match = re.fullmatch(r"(\d+)_(\d+)\.png", name)
            count = counts.get(int(match[1])) if match else None
            if match and count is not None and int(match[2]) >= count:
                detail = f"a mask of instance {int(match[2])}, but {count} instances are annotated"
                findings.add("mask-surplus", split, folder_path / name, f"image {int(match[1])}", detail)
    if any(counts.values()) and not any(has.values()):
        findings.add("masks-absent", split, place(scene))
    return Expected(has_depth, has[False], has[True])


def _has_masks(scene: ImagewiseScene, ids: list[int], visible: bool) -> bool:
    try:
        return bool(ids) and scene.masks(ids[0], visible) is not None
    except InputError:
        return False


def check_image(
    scene: BopScene, record: ImageRecord, expected: Expected, split: str, findings: Findings
) -> Pixels | None:
    """Read everything of an image; None if there is nothing to hold the annotations against."""
    where = f"image {record.im_id}"
    color = _color(scene, record.im_id, split, findings)
    depth, depth_size = _depth(scene, record, expected, split, findings)
    sizes = {"image": None if color is None else color.shape[:2], "depth": depth_size}
    size = next((s for s in sizes.values() if s is not None), None)
    if size is None:
        return None
    height, width = int(size[0]), int(size[1])
    if depth_size is not None and depth_size != size:
        findings.add("size", split, place(scene), where, f"image {_text(size)}, depth {_text(depth_size)}")
        depth = None
    if record.K is not None:
        fx, cx, cy = record.K[0, 0], record.K[0, 2], record.K[1, 2]
        is_inside = -width / 2 <= cx <= 1.5 * width and -height / 2 <= cy <= 1.5 * height
        if not is_inside or not FOCAL_PER_WIDTH[0] <= fx / width <= FOCAL_PER_WIDTH[1]:
            detail = f"fx {fx:.0f}, centre ({cx:.0f}, {cy:.0f}), image {_text(size)}"
            findings.add("camera-size", split, scene.annotation_file(CAMERA), where, detail)
    pixels = Pixels(width, height, depth, {}, {})
    for visible, is_expected in ((False, expected.mask), (True, expected.mask_visib)):
        if is_expected and record.instances:
            into = pixels.visible if visible else pixels.masks
            _masks(scene, record, visible, (height, width), into, split, findings)
    for gt_id, info in enumerate(record.infos or ()):
        if info is not None:
            _check_info(scene, f"{where}, instance {gt_id}", info, pixels, gt_id, split, findings)
    return pixels


def _color(scene: BopScene, im_id: int, split: str, findings: Findings) -> NDArray[Any] | None:
    try:
        name, content = scene.rgb_file(im_id)
    except InputError:
        findings.add("image-missing", split, place(scene), f"image {im_id}")
        return None
    try:
        return decode_image(content, name, cv2.IMREAD_UNCHANGED)
    except InputError as error:
        findings.add("image-unreadable", split, name, f"image {im_id}", _reason(error, name))
        return None


def _depth(
    scene: BopScene, record: ImageRecord, expected: Expected, split: str, findings: Findings
) -> tuple[NDArray[np.float32] | None, tuple[int, ...] | None]:
    """Depth in mm, None if it cannot be used, and its size (height, width)."""
    where = f"image {record.im_id}"
    file = scene.depth_file(record.im_id)
    if file is None:
        if expected.depth:
            findings.add("depth-missing", split, place(scene), where)
        return None, None
    name, content = file
    try:
        raw = decode_image(content, name, cv2.IMREAD_UNCHANGED)
    except InputError as error:
        findings.add("depth-unreadable", split, name, where, _reason(error, name))
        return None, None
    if raw.ndim != 2 or raw.dtype == np.uint8:
        channels = 1 if raw.ndim == 2 else raw.shape[2]
        findings.add("depth-type", split, name, where, f"{8 * raw.dtype.itemsize} bits, {channels} channels")
        return None, raw.shape[:2]
    if not raw.any():
        findings.add("depth-empty", split, name, where)
    scale = record.depth_scale
    return None if scale is None else raw.astype(np.float32) * np.float32(scale), raw.shape


def _masks(
    scene: BopScene,
    record: ImageRecord,
    visible: bool,
    size: tuple[int, int],
    into: dict[int, Mask],
    split: str,
    findings: Findings,
) -> None:
    name = NAMES[visible]
    in_shard: dict[int, Mask] | None = None
    if isinstance(scene, ImagewiseScene):
        try:
            in_shard = scene.masks(record.im_id, visible)
        except InputError as error:
            findings.add("mask-unreadable", split, scene.path, f"image {record.im_id}", str(error))
            return
    for gt_id in range(record.instances or 0):
        where = f"image {record.im_id}, instance {gt_id}"
        path = scene.mask_folder(visible) / f"{record.im_id:06d}_{gt_id:06d}.png"
        if gt_id not in in_shard if in_shard is not None else not path.exists():
            findings.add("mask-missing", split, path, where)
            continue
        try:
            mask = in_shard[gt_id] if in_shard is not None else scene.mask(record.im_id, gt_id, visible)
        except InputError as error:
            findings.add("mask-unreadable", split, path, where, _reason(error, str(path)))
            continue
        if mask.shape != size:
            findings.add("size", split, path, where, f"image {_text(size)}, {name} {_text(mask.shape)}")
            continue
        into[gt_id] = mask


def _check_info(
    scene: BopScene, where: str, info: dict[str, Any], pixels: Pixels, gt_id: int, split: str, findings: Findings
) -> None:
    """Hold an entry of scene_gt_info.json against the image's size and the instance's masks: the first fault counts."""
    file = scene.path / "scene_gt_info.json"
    width, height = pixels.width, pixels.height
    whole, visible = pixels.masks.get(gt_id), pixels.visible.get(gt_id)
    limits = {"bbox_visib": (0, 0, width, height), "bbox_obj": (-width - 1, -height - 1, 2 * width + 1, 2 * height + 1)}
    for key, (left, top, right, bottom) in limits.items():
        x, y, w, h = info[key]
        if [x, y, w, h] != [-1] * 4 and not (left <= x and top <= y and x + w <= right and y + h <= bottom):
            box = ", ".join(f"{value:g}" for value in info[key])
            findings.add("box-outside", split, file, where, f"{key} ({box}) in an image of {_text((height, width))}")
            return
    said = info["px_count_visib"]
    for name, mask in (("mask_visib", visible), ("mask", whole)):
        if mask is not None and said > 0 and not mask.any():
            findings.add("mask-empty", split, f"{scene.path}/{name}", where, f"px_count_visib says {said}")
            pixels.forget(gt_id)
            return
    detail = _disagreement(info, whole, visible)
    if detail:
        findings.add("mask-info", split, file, where, detail)
        pixels.forget(gt_id)


def _disagreement(info: dict[str, Any], whole: Mask | None, visible: Mask | None) -> str:
    if visible is not None:
        count, said = int(visible.sum()), info["px_count_visib"]
        if abs(count - said) > max(FEW_PX, SHARE * said):
            return f"mask_visib has {count} pixels, px_count_visib says {said}"
        box = box_of_mask(visible)
        if count > FEW_PX and np.abs(np.subtract(box, info["bbox_visib"])).max() > BOX_PX:
            return f"mask_visib has the box {box}, bbox_visib says {[round(v) for v in info['bbox_visib']]}"
    if whole is not None:
        count, said = int(whole.sum()), info["px_count_all"]
        if count > said + max(FEW_PX, SHARE * said):
            return f"mask has {count} pixels, px_count_all says {said}"
        beyond = 0 if visible is None else int((visible & ~whole).sum())
        if beyond > max(FEW_PX, SHARE * count):
            return f"mask_visib has {beyond} pixels outside of mask"
    return ""


def _text(size: tuple[int, ...]) -> str:
    return f"{size[1]} x {size[0]}"


def _reason(error: InputError, name: str) -> str:
    return str(error).removeprefix(f"{name}: ")
