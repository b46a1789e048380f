"""Checks of the annotations of a scene, record by record: cameras, poses, visibility. No image is opened."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models.datasets.bop import BopDataset, BopScene, Camera
from pose_models.datasets.estimates import rotation_error
from pose_models.datasets.imagewise import ImagewiseScene
from pose_models.datasets.index import CAMERA, INFOS, INSTANCES, Kind
from pose_models.datasets.records import check_camera, check_info, check_instance, lens_of
from pose_models.evaluation.doctor.findings import Findings
from pose_models.files import InputError, read_json

Array = NDArray[np.float64]
MAX_ROTATION_ERROR = 1e-3  # largest entry of |R R^T - I|; published poses have four to six digits
HIDDEN = (-1.0, -1.0, -1.0)  # translation of an instance that is not to be seen (bop.md 2.1)
SAME_MM, SAME_R = 0.1, 1e-3  # two instances of an object with a pose this close are one


@dataclasses.dataclass(frozen=True)
class Pose:
    """An annotated instance whose record is sound: object, T_cam_obj (4, 4) mm."""

    gt_id: int
    obj_id: int
    T_cam_obj: Array


@dataclasses.dataclass(frozen=True)
class ImageRecord:
    """What is annotated about an image, as far as it is sound.

    K: (3, 3), None where it is missing, absurd, or the camera is no pinhole camera. poses: of instances with a sound
    pose. instances: how many are annotated, None without ground truth. infos: by gt id, None where broken.
    """

    im_id: int
    K: Array | None
    depth_scale: float | None
    poses: tuple[Pose, ...]
    instances: int | None
    infos: tuple[dict[str, Any] | None, ...] | None


@dataclasses.dataclass(frozen=True)
class SceneKey:
    """Where a scene is: dataset folder, split, scene id, sensor (None where there is one)."""

    root: Path
    split: str
    scene_id: int
    sensor: str | None = None

    def open(self) -> BopScene:
        """The scene; raises InputError where there is none."""
        return BopDataset(self.root, self.sensor).scene(self.split, self.scene_id)


def check_annotations(key: SceneKey, obj_ids: frozenset[int]) -> tuple[list[ImageRecord], Findings]:
    """Check all records of a scene.

    Args:
        key: the scene. obj_ids: objects that have a model.

    Returns:
        The sound part of each image's records, images ascending, and what was found.
    """
    findings = Findings()
    try:
        scene = key.open()
        content = {kind.name: _content(scene, kind, key.split, findings) for kind in (CAMERA, INSTANCES, INFOS)}
    except InputError as error:
        findings.add("scene-unreadable", key.split, key.root / key.split / f"{key.scene_id:06d}", detail=str(error))
        return [], findings
    cameras, truth, infos = content["camera"], content["gt"], content["gt_info"]
    if cameras is None:
        return [], findings
    files = {kind.name: scene.annotation_file(kind) for kind in (CAMERA, INSTANCES, INFOS)}
    for im_id in sorted(set(truth or {}) - set(cameras)):
        findings.add("truth-without-camera", key.split, files["gt"], f"image {im_id}")
    records = []
    for im_id in sorted(cameras):
        K, depth_scale = _camera(cameras[im_id], files["camera"], im_id, key.split, findings)
        poses: tuple[Pose, ...] = ()
        count = None
        if truth is not None:
            poses, count = _poses(truth.get(im_id, []), files["gt"], im_id, key.split, obj_ids, findings)
        entries = None
        if infos is not None and count is not None:
            entries = _infos(infos.get(im_id), files["gt_info"], im_id, key.split, count, findings)
        records.append(ImageRecord(im_id, K, depth_scale, poses, count, entries))
    return records, findings


def _content(scene: BopScene, kind: Kind, split: str, findings: Findings) -> dict[int, Any] | None:
    """Entries of an annotation file by image id, None if there is none or it cannot be read at all."""
    file = scene.annotation_file(kind)
    if isinstance(scene, ImagewiseScene):  # its tables were checked record by record when they were read
        return _from_table(scene, kind, split, findings)
    if not file.exists():
        absent = {"gt": "no-ground-truth", "gt_info": "no-info"}
        if kind.name == "gt_info" and not scene.annotation_file(INSTANCES).exists():
            return None
        findings.add(absent.get(kind.name, "scene-unreadable"), split, file, detail="file not found")
        return None
    try:
        return {int(key): value for key, value in read_json(file).items()}
    except (InputError, ValueError, AttributeError) as error:
        reason = str(error).removeprefix(f"{file}: ") if isinstance(error, InputError) else "no entries by image id"
        findings.add("scene-unreadable", split, file, detail=reason)
        return None


def _from_table(scene: ImagewiseScene, kind: Kind, split: str, findings: Findings) -> dict[int, Any] | None:
    """Entries of an image-wise scene in the form of the classic files."""
    try:
        if kind is CAMERA:
            return {im_id: _camera_entry(scene.cameras[im_id]) for im_id in scene.image_ids}
        if kind is INSTANCES:
            return {i: [{"obj_id": g.obj_id, "cam_R_m2c": g.T_cam_obj[:3, :3].ravel().tolist(),
                         "cam_t_m2c": g.T_cam_obj[:3, 3].tolist()} for g in scene.ground_truth[i]]
                    for i in scene.ground_truth}  # fmt: skip
        return {i: [dataclasses.asdict(info) for info in scene.ground_truth_info[i]] for i in scene.ground_truth_info}
    except InputError as error:
        if kind is CAMERA:
            raise
        findings.add("no-ground-truth" if kind is INSTANCES else "no-info", split, scene.path, detail=str(error))
        return None


def _camera_entry(camera: Camera) -> dict[str, Any]:
    entry: dict[str, Any] = {"depth_scale": camera.depth_scale}
    if camera.pinhole is not None:
        return entry | {"cam_K": camera.pinhole.ravel().tolist()}
    return entry | {"lens": True}


def _camera(entry: Any, file: Path, im_id: int, split: str, findings: Findings) -> tuple[Array | None, float | None]:
    record = f"image {im_id}"
    if isinstance(entry, dict) and entry.get("lens") and "cam_K" not in entry:
        return None, float(entry["depth_scale"])
    try:
        checked = check_camera(f"{file}: {record}", entry)
        lens = lens_of(record, checked["cam_model"])[0] if "cam_model" in checked else checked["cam_K"]
    except InputError as error:
        code = "depth-scale-record" if "'depth_scale'" in str(error) else "camera-record"
        findings.add(code, split, file, record, _detail(error, file, record))
        return None, None
    depth_scale: float | None = checked["depth_scale"]
    if depth_scale is not None and not (np.isfinite(depth_scale) and depth_scale > 0):
        findings.add("depth-scale-record", split, file, record, f"depth_scale is {depth_scale:g}")
        depth_scale = None
    if "cam_R_w2c" in checked:
        _check_rotation(np.reshape(checked["cam_R_w2c"], (3, 3)), file, f"{record}, cam_R_w2c", split, findings)
    if lens is None:
        return None, depth_scale
    K = np.reshape(lens, (3, 3))
    is_camera = K[0, 0] > 0 and K[1, 1] > 0 and 0.5 < K[0, 0] / K[1, 1] < 2 and abs(K[0, 1]) < 0.1 * K[0, 0]
    if not is_camera or not np.allclose(K[[1, 2, 2, 2], [0, 0, 1, 2]], [0, 0, 0, 1], atol=1e-6):
        findings.add("camera-absurd", split, file, record, f"cam_K is {' '.join(f'{v:g}' for v in K.ravel())}")
        return None, depth_scale
    return K, depth_scale


def _poses(
    entries: Any, file: Path, im_id: int, split: str, obj_ids: frozenset[int], findings: Findings
) -> tuple[tuple[Pose, ...], int]:
    if not isinstance(entries, list):
        findings.add("pose-record", split, file, f"image {im_id}", "expected a list of instances")
        return (), 0
    poses: list[Pose] = []
    for gt_id, entry in enumerate(entries):
        record = f"image {im_id}, instance {gt_id}"
        try:
            checked = check_instance(f"{file}: {record}", entry)
        except InputError as error:
            findings.add("pose-record", split, file, record, _detail(error, file, record))
            continue
        obj_id, R = checked["obj_id"], np.reshape(checked["cam_R_m2c"], (3, 3))
        if obj_id not in obj_ids and obj_ids:
            findings.add("pose-object", split, file, record, f"object {obj_id}")
            continue
        if tuple(checked["cam_t_m2c"]) == HIDDEN or not _check_rotation(R, file, record, split, findings):
            continue
        if checked["cam_t_m2c"][2] <= 0:
            detail = f"object {obj_id}, z = {checked['cam_t_m2c'][2]:.1f} mm"
            findings.add("pose-behind", split, file, record, detail, -checked["cam_t_m2c"][2])
            continue
        T = np.eye(4)
        T[:3, :3], T[:3, 3] = R, checked["cam_t_m2c"]
        twin = next((p for p in poses if p.obj_id == obj_id and _is_same(p.T_cam_obj, T)), None)
        if twin is not None:
            findings.add("pose-twice", split, file, record, f"object {obj_id}, the same as instance {twin.gt_id}")
            continue
        poses.append(Pose(gt_id, obj_id, T))
    return tuple(poses), len(entries)


def _infos(
    entries: Any, file: Path, im_id: int, split: str, count: int, findings: Findings
) -> tuple[dict[str, Any] | None, ...] | None:
    if entries is None and count == 0:
        return ()
    if not isinstance(entries, list) or len(entries) != count:
        found = len(entries) if isinstance(entries, list) else "no list of"
        findings.add("info-count", split, file, f"image {im_id}", f"{found} entries for {count} instances")
        return None
    result: list[dict[str, Any] | None] = []
    for gt_id, entry in enumerate(entries):
        record = f"image {im_id}, instance {gt_id}"
        try:
            info = check_info(f"{file}: {record}", entry)
        except InputError as error:
            findings.add("info-record", split, file, record, _detail(error, file, record))
            result.append(None)
            continue
        detail = _contradiction(info)
        if detail:
            findings.add("info-inconsistent", split, file, record, detail)
        result.append(None if detail else info)
    return tuple(result)


def _contradiction(info: dict[str, Any]) -> str:
    whole, visible, fraction = info["px_count_all"], info["px_count_visib"], info["visib_fract"]
    if not 0 <= visible <= whole:
        return f"{visible} visible pixels of {whole}"
    expected = visible / whole if whole else 0.0
    return f"visib_fract {fraction:.3f}, but {visible} of {whole} pixels" if abs(fraction - expected) > 0.01 else ""


def _check_rotation(R: Array, file: Path, record: str, split: str, findings: Findings) -> bool:
    error, determinant = float(rotation_error(R[None])[0]), float(np.linalg.det(R))
    if error <= MAX_ROTATION_ERROR and determinant > 0:
        return True
    detail = f"R R^T differs from 1 by {error:.2g}" if error > MAX_ROTATION_ERROR else "it mirrors (determinant -1)"
    findings.add("pose-rotation", split, file, record, detail, error)
    return False


def _is_same(A: Array, B: Array) -> bool:
    return bool(np.abs(A[:3, 3] - B[:3, 3]).max() < SAME_MM and np.abs(A[:3, :3] - B[:3, :3]).max() < SAME_R)


def _detail(error: InputError, file: Path, record: str) -> str:
    return str(error).removeprefix(f"{file}: {record}").lstrip(": ")


def check_units(
    split: str, records: Iterable[ImageRecord], diameter: Callable[[int], float], file: Path, findings: Findings
) -> bool:
    """Whether translations are in mm: objects nearer to the camera than half their size are given in metres."""
    ratios = [p.T_cam_obj[2, 3] / diameter(p.obj_id) for record in records for p in record.poses]
    ratios = [ratio for ratio in ratios if np.isfinite(ratio)]
    if not ratios or np.median(ratios) >= 0.5:
        return True
    findings.add(
        "pose-unit", split, file, "", f"the median distance is {np.median(ratios):.2g} diameters of the object"
    )
    return False
