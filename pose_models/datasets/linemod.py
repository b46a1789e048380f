"""LINEMOD as PVNet and RePOSE read it, made from BOP's lm and lmo (repose.md sections 2.1 and 2.2).

Everything written is in metres and in BOP's object frames: PVNet's own models are turned and shifted copies, so poses,
initial poses or keypoints of its authors must not be mixed with these.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_models.datasets.bop import BopDataset, BopScene
from pose_models.datasets.image_files import decode_image, write_png
from pose_models.datasets.index import in_processes
from pose_models.files import InputError, atomic_path
from pose_models.geometry.cameras import project
from pose_models.meshes.keypoints import box_corners, vertex_keypoints
from pose_models.meshes.mesh import Mesh, load_mesh, save_ply

Array = NDArray[np.float64]
NAMES = {1: "ape", 2: "benchvise", 4: "cam", 5: "can", 6: "cat", 8: "driller", 9: "duck", 10: "eggbox", 11: "glue",
         12: "holepuncher", 13: "iron", 14: "lamp", 15: "phone"}  # fmt: skip
OCCLUSION_IDS = (1, 5, 6, 8, 9, 10, 11, 12)
OCCLUSION_SCENE = 2
FRAMES = {1: 1236, 2: 1215, 4: 1201, 5: 1196, 6: 1179, 8: 1188, 9: 1254, 10: 1253, 11: 1220, 12: 1237, 13: 1152,
          14: 1227, 15: 1243}  # fmt: skip
TEST_FRAMES = {1: 1050, 2: 1031, 4: 1020, 5: 1016, 6: 1002, 8: 1009, 9: 1065, 10: 1065, 11: 1036, 12: 1051, 13: 979,
               14: 1042, 15: 1057}  # fmt: skip
TRAIN_SHARE = 0.15  # where the frames are not those of the published scene
MIN_VISIBLE = 0.1  # of an instance in a rendered training image


@dataclasses.dataclass(frozen=True)
class Sources:
    """What is converted: lm, lmo and published lists where wanted, number of rendered images per object, how."""

    lm: Path
    lmo: Path | None = None
    lists: Path | None = None
    rendered: int = 0
    jpeg_quality: int | None = None


@dataclasses.dataclass(frozen=True)
class Frame:
    """One view of the object: what its annotation says. pose (3, 4) metres, K (3, 3)."""

    image: Path
    mask: Path
    depth: str
    number: int
    size: tuple[int, int]
    K: Array
    pose: Array


def convert_linemod(sources: Sources, object_ids: Sequence[int], out: Path) -> dict[str, dict[str, int]]:
    """Write `<out>/linemod/` and, with lmo, `<out>/occlusion_linemod/`; the folder appears whole or not at all.

    Returns:
        Number of frames by object name and annotation file.
    """
    if out.exists():
        raise InputError(f"{out}: is there already; remove it or name another folder with --out")
    unknown = [obj_id for obj_id in object_ids if obj_id not in NAMES]
    if unknown:
        raise InputError(f"object {unknown[0]}: PVNet's LINEMOD has the objects {', '.join(map(str, NAMES))}")
    with atomic_path(out) as temporary:
        jobs = [(sources, obj_id, temporary, out) for obj_id in object_ids]
        counts = list(in_processes(_convert_object, jobs, "objects"))
    return {NAMES[obj_id]: count for obj_id, count in zip(object_ids, counts, strict=True)}


def _convert_object(job: tuple[Sources, int, Path, Path]) -> dict[str, int]:
    sources, obj_id, temporary, out = job
    name = NAMES[obj_id]
    folder = temporary / "linemod" / name
    folder.mkdir(parents=True)
    lm = BopDataset(sources.lm)
    mesh_mm = load_mesh(lm.model_path(obj_id))
    mesh = dataclasses.replace(mesh_mm, vertices=mesh_mm.vertices / 1000)
    keypoints = vertex_keypoints(mesh, 8)
    save_ply(folder / f"{name}.ply", mesh)
    _save_obj(folder / f"{name}.obj", mesh)
    np.savetxt(folder / "farthest.txt", keypoints)
    scene = lm.scene("test", obj_id)
    frames = [_lm_frame(scene, im_id, obj_id, folder, sources.jpeg_quality) for im_id in sorted(scene.ground_truth)]
    train = set(train_numbers([f.number for f in frames], [f.pose[:, :3] for f in frames], obj_id, sources.lists))
    parts = {
        "train": [frame for frame in frames if frame.number in train],
        "test": [frame for frame in frames if frame.number not in train],
    }
    if sources.lmo is not None and obj_id in OCCLUSION_IDS:
        parts["occ"] = _occlusion_frames(sources.lmo, obj_id, temporary / "occlusion_linemod")
    if sources.rendered:
        parts["train_pbr"] = _rendered_frames(lm, obj_id, folder, sources.rendered)
    for part, chosen in parts.items():
        paths = [_final(frame.image, temporary, out) for frame in chosen]
        content = coco_annotations(chosen, mesh, keypoints, name, lambda path: _final(path, temporary, out), str(out))
        (folder / f"{part}.json").write_text(json.dumps(content) + "\n")
        listed = {"occ": "test_occlusion"}.get(part, part)
        (folder / f"{listed}.txt").write_text("".join(f"{path}\n" for path in paths))
    return {part: len(chosen) for part, chosen in parts.items()}


def coco_annotations(
    frames: Iterable[Frame], mesh: Mesh, keypoints: Array, name: str, place: Any, data_root: str
) -> dict[str, Any]:
    """COCO-style content of an annotation file (repose.md section 2.1).

    Args:
        mesh, keypoints: metres; (8, 3) in farthest-point order.
        place: gives the text that names a file.
    """
    corners = box_corners(mesh)
    center = (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)) / 2
    images, entries = [], []
    for number, frame in enumerate(frames):
        images.append({"file_name": place(frame.image), "width": frame.size[0], "height": frame.size[1], "id": number})
        points = {"corner": corners, "center": center[None], "fps": keypoints}
        entry: dict[str, Any] = {}
        for key, points_3d in points.items():
            points_2d = project(points_3d @ frame.pose[:, :3].T + frame.pose[:, 3], frame.K)
            entry[f"{key}_3d"], entry[f"{key}_2d"] = points_3d.tolist(), points_2d.tolist()
        entry |= {key: entry[key][0] for key in ("center_3d", "center_2d")}
        entry |= {
            "id": number, "image_id": number, "category_id": 1, "mask_path": place(frame.mask),
            "depth_path": frame.depth, "K": frame.K.tolist(), "pose": frame.pose.tolist(), "data_root": data_root,
            "type": "real", "cls": name,
        }  # fmt: skip
        entries.append(entry)
    categories = [{"supercategory": "none", "id": 1, "name": name}]
    return {"images": images, "annotations": entries, "categories": categories}


def train_numbers(
    numbers: Sequence[int], rotations: Sequence[Array], obj_id: int, lists: Path | None = None
) -> list[int]:
    """Frames to train on: those of the published list where there is one, else chosen by view.

    The list is not part of BOP's lm. The choice takes frames in their order whose rotation differs from all chosen
    before by at least an angle, the largest that gives the published number of frames (15 % of a scene of any other
    length).

    Args:
        numbers, rotations: of all frames of the object's scene, (3, 3) each.
        lists: folder with `<name>/train.txt`, one path or number per line.
    """
    if lists is not None:
        return _listed(lists / NAMES[obj_id] / "train.txt", set(numbers))
    is_published = len(numbers) == FRAMES[obj_id]
    count = FRAMES[obj_id] - TEST_FRAMES[obj_id] if is_published else round(TRAIN_SHARE * len(numbers))
    return [numbers[n] for n in spread_views(np.array(rotations), count)]


def spread_views(R: Array, count: int) -> list[int]:
    """Indices of `count` of the rotations (N, 3, 3), in order, chosen greedily to differ as much as possible."""
    cosines = (np.einsum("aij,bij->ab", R, R) - 1) / 2
    angles = np.arccos(np.clip(cosines, -1, 1))
    low, high = 0.0, np.pi
    for _ in range(50):  # the number of frames falls with the angle
        middle = (low + high) / 2
        low, high = (middle, high) if len(_spread(angles, middle)) >= count else (low, middle)
    return _spread(angles, low)[:count]


def _spread(angles: Array, least: float) -> list[int]:
    chosen: list[int] = []
    nearest = np.full(len(angles), np.inf)
    for number in range(len(angles)):
        if nearest[number] >= least:
            chosen.append(number)
            nearest = np.minimum(nearest, angles[number])
    return chosen


def _listed(path: Path, known: set[int]) -> list[int]:
    try:
        lines = path.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        raise InputError(f"{path}: file not found") from None
    numbers = []
    for line in lines:
        digits = re.search(r"(\d+)$", Path(line).stem)
        if digits is None or int(digits[1]) not in known:
            raise InputError(f"{path}: '{line}' is no frame of the scene")
        numbers.append(int(digits[1]))
    return numbers


def _lm_frame(scene: BopScene, im_id: int, obj_id: int, folder: Path, jpeg_quality: int | None) -> Frame:
    image, size = _save_image(scene, im_id, folder / "JPEGImages", f"{im_id:06d}", jpeg_quality)
    found = [gt for gt in scene.ground_truth[im_id] if gt.obj_id == obj_id]
    if len(found) != 1:
        raise InputError(f"{scene.path}: image {im_id} must show object {obj_id} once, not {len(found)} times")
    mask = folder / "mask" / f"{im_id:04d}.png"
    _save_mask(mask, scene.mask(im_id, found[0].gt_id))
    pose = _pose(found[0].T_cam_obj)
    (folder / "pose").mkdir(exist_ok=True)
    np.save(folder / "pose" / f"pose{im_id}.npy", pose)
    return Frame(image, mask, _depth(scene, im_id), im_id, size, scene.camera(im_id).K, pose)


def _occlusion_frames(lmo: Path, obj_id: int, folder: Path) -> list[Frame]:
    """Frames of lmo that show the object; all objects share the pictures."""
    scene = BopDataset(lmo).scene("test", OCCLUSION_SCENE)
    poses = folder / "blender_poses" / NAMES[obj_id]
    poses.mkdir(parents=True)
    frames = []
    for im_id in sorted(scene.ground_truth):
        found = [gt for gt in scene.ground_truth[im_id] if gt.obj_id == obj_id]
        if len(found) != 1:
            continue  # as the published annotation does: not every frame shows every object
        image, size = _save_image(scene, im_id, folder / "RGB-D" / "rgb_noseg", f"color_{im_id:05d}", None)
        mask = folder / "masks" / NAMES[obj_id] / f"{im_id}.png"
        _save_mask(mask, scene.mask(im_id, found[0].gt_id))
        pose = _pose(found[0].T_cam_obj)
        np.save(poses / f"pose{im_id}.npy", pose)
        frames.append(Frame(image, mask, _depth(scene, im_id), im_id, size, scene.camera(im_id).K, pose))
    return frames


def _rendered_frames(lm: BopDataset, obj_id: int, folder: Path, count: int) -> list[Frame]:
    """The first `count` images of train_pbr in which a tenth of the object is seen."""
    frames: list[Frame] = []
    for scene_id in lm.scene_ids("train_pbr"):
        scene = lm.scene("train_pbr", scene_id)
        for im_id in scene.image_ids:
            pairs = zip(scene.ground_truth[im_id], scene.ground_truth_info[im_id], strict=True)
            seen = [gt for gt, info in pairs if gt.obj_id == obj_id and info.visib_fract >= MIN_VISIBLE]
            if len(frames) == count or not seen:
                continue
            name = f"{scene_id:06d}_{im_id:06d}"
            image, size = _save_image(scene, im_id, folder / "pbr", name, None)
            _save_mask(folder / "pbr" / f"{name}_mask.png", scene.mask(im_id, seen[0].gt_id))
            K = scene.camera(im_id).K - 0.5 * np.array([[0, 0, 1], [0, 0, 1], [0, 0, 0]])  # pixel centres at integers
            frames.append(
                Frame(image, folder / "pbr" / f"{name}_mask.png", _depth(scene, im_id), im_id, size, K,
                      _pose(seen[0].T_cam_obj))
            )  # fmt: skip
        if len(frames) == count:
            return frames
    raise InputError(f"{lm.root / 'train_pbr'}: object {obj_id} is seen in {len(frames)} images only, not {count}")


def _save_image(
    scene: BopScene, im_id: int, folder: Path, stem: str, jpeg_quality: int | None
) -> tuple[Path, tuple[int, int]]:
    """The picture with its bytes as they are, or as JPEG; its path and size."""
    folder.mkdir(parents=True, exist_ok=True)
    name, content = scene.rgb_file(im_id)
    image = decode_image(content, name, cv2.IMREAD_COLOR)
    path = folder / f"{stem}.{'jpg' if jpeg_quality else name.rpartition('.')[2]}"
    if jpeg_quality:
        content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])[1].tobytes()
    path.write_bytes(content)
    return path, (image.shape[1], image.shape[0])


def _save_mask(path: Path, mask: NDArray[np.bool_]) -> None:
    """White on black in three channels: PVNet looks at the first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, np.repeat(mask.astype(np.uint8)[..., None] * 255, 3, axis=2))


def _save_obj(path: Path, mesh: Mesh) -> None:
    """Vertices with colours 0..1 in one line, as RePOSE's reader wants them; grey where the model has none."""
    colors = np.full((len(mesh.vertices), 3), 0.5) if mesh.colors is None else mesh.colors / 255
    with path.open("w", encoding="ascii") as stream:
        np.savetxt(stream, np.hstack([mesh.vertices, colors]), fmt="v %.9g %.9g %.9g %.4f %.4f %.4f")
        np.savetxt(stream, mesh.faces + 1, fmt="f %d %d %d")


def _pose(T_cam_obj: Array) -> Array:
    pose = np.array(T_cam_obj[:3])
    pose[:, 3] /= 1000
    return pose


def _depth(scene: BopScene, im_id: int) -> str:
    file = scene.depth_file(im_id)
    return "" if file is None else file[0]


def _final(path: Path, temporary: Path, out: Path) -> str:
    return str(out / path.relative_to(temporary))
