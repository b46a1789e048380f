"""Own photographs with CAD models become a BOP dataset: models, images, registered depth, ground truth, masks, targets.

Poses come from the description; everything else (silhouettes, visibility, boxes, diameters) is computed here. Beside
BOP's files the dataset holds `dataset_info.json` (names, where the poses come from, how well the declared symmetries
fit) and, for photographs with a hand-drawn outline, `outlines.json` in the scene folder (image id -> one polygon or
null per instance).
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from pose_models.datasets.bop import read_image
from pose_models.files import InputError, write_json
from pose_models.geometry.symmetries import symmetry_transforms
from pose_models.geometry.symmetry_groups import generated_group, turn
from pose_models.geometry.transforms import apply, from_rotation_translation
from pose_models.meshes.bounds import model_info
from pose_models.meshes.mesh import Mesh, load_mesh, save_ply
from pose_models.render.raycast import RayCaster
from pose_models.render.register_depth import register_depth
from pose_models.render.visibility import MIN_VISIBLE_FRACTION, instance_info, large_canvas_patch
from pose_models.settings import validate
from pose_models.synthesis.photos_config import (
    MM_PER_UNIT,
    CameraDescription,
    DepthDescription,
    ModelDescription,
    PhotoDescription,
    PhotosDescription,
    PoseDescription,
)

Array = NDArray[np.float64]
Depth = NDArray[np.float32]
DEPTH_SCALE_MM = 0.1
SYMMETRY_TOLERANCE = 0.05
"""Largest share of the diameter by which a declared symmetry may move the surface; more is a wrong declaration."""
EVAL_EDGE = 0.04
"""Longest edge of the evaluation meshes, as a share of the diameter."""


@dataclasses.dataclass(frozen=True)
class ImportedModel:
    """A model in mm in the frame of the poses, its `models_info.json` entry, how far its symmetries are off (mm)."""

    mesh: Mesh
    info: dict[str, Any]
    symmetry_error_mm: float


def read_description(path: str | Path) -> PhotosDescription:
    """Read and check a description file (YAML).

    Raises:
        InputError: missing file, no YAML, unknown keys, wrong values.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: description not found") from None
    except yaml.YAMLError as error:
        reason = str(error).replace("\n", " ")
        raise InputError(f"{path}: not valid YAML ({reason})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected keys 'models' and 'photos'")
    return validate(PhotosDescription, content, str(path))


def import_photos(description: PhotosDescription, folder: Path, out: Path) -> dict[int, ImportedModel]:
    """Write the dataset into the new folder `out`; file names of the description are relative to `folder`."""
    models = {number: import_model(folder, entry) for number, entry in sorted(description.models.items())}
    _write_models(out, models)
    scenes: dict[int, dict[int, dict[str, Any]]] = {}
    for photo in description.photos:
        record = _write_photo(out, folder, photo, models, description.delta_mm)
        scenes.setdefault(photo.scene, {})[photo.image] = record
    for scene_id, images in scenes.items():
        _write_scene_files(out / "test" / f"{scene_id:06d}", images)
    write_json(out / "test_targets_bop19.json", _targets(scenes))
    first = description.photos[0]
    height, width = read_image(folder / first.file, cv2.IMREAD_COLOR).shape[:2]
    camera = {**first.camera.model_dump(), "width": width, "height": height, "depth_scale": DEPTH_SCALE_MM}
    write_json(out / "camera.json", camera)
    write_json(out / "dataset_info.json", _facts(description, models))
    return models


def import_model(folder: Path, description: ModelDescription) -> ImportedModel:
    """Read a model, bring it to mm and the frame of the poses, and check its declared symmetries on its surface.

    Raises:
        InputError: unreadable mesh, turns that form no group, symmetries that the surface does not have.
    """
    scale = MM_PER_UNIT[description.unit]
    path = folder / description.file
    mesh = load_mesh(path, scale)
    mesh = dataclasses.replace(mesh, vertices=mesh.vertices + scale * np.array(description.shift))
    info = model_info(mesh.vertices)
    try:
        turns = [turn(t.axis, np.deg2rad(t.angle_deg), t.center_mm) for t in description.turns]
        group = generated_group(turns)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    if len(group):
        info["symmetries_discrete"] = [T.ravel().tolist() for T in group]
    if description.revolutions:
        info["symmetries_continuous"] = [{"axis": r.axis, "offset": r.center_mm} for r in description.revolutions]
    moved = symmetry_error(mesh, info)
    if moved > SYMMETRY_TOLERANCE * info["diameter"]:
        raise InputError(
            f"{path}: the declared symmetries move its surface by up to {moved:.1f} mm "
            f"({100 * moved / info['diameter']:.0f} % of the diameter); correct axis, angle or centre"
        )
    return ImportedModel(mesh, info, moved)


def symmetry_error(mesh: Mesh, info: dict[str, Any], samples: int = 60_000) -> float:
    """How far (mm) the declared symmetries move a vertex off the surface, at worst; 0 if none is declared.

    The surface is sampled densely, and half the mean sample distance is what the result can be too large by.
    """
    transforms = symmetry_transforms(info, max_step=0.5)[1:]
    if len(transforms) == 0:
        return 0.0
    rng = np.random.default_rng(0)
    areas = mesh.face_areas()
    face = rng.choice(len(areas), samples, p=areas / areas.sum())
    weights = rng.dirichlet([1, 1, 1], samples)
    surface = (mesh.vertices[mesh.faces[face]] * weights[:, :, None]).sum(axis=1)
    tree = cKDTree(np.concatenate([surface, mesh.vertices]))
    distances = [np.asarray(tree.query(apply(T, mesh.vertices))[0]).max() for T in transforms]
    return float(max(distances))


def pose_matrix(pose: PoseDescription, where: str) -> Array:
    """T (4, 4) in mm; rotations rounded in the file are made orthogonal again.

    Raises:
        InputError: R is off a rotation by more than 1e-3.
    """
    scale = MM_PER_UNIT[pose.unit]
    if pose.matrix is not None:
        T = np.array(pose.matrix)
        R, t = T[:3, :3], T[:3, 3]
    else:
        R = np.array(pose.R) if pose.R is not None else Rotation.from_rotvec(np.array(pose.rotvec)).as_matrix()
        t = np.array(pose.t)
    u, _, v = np.linalg.svd(R)
    if np.abs(u @ v - R).max() > 1e-3 or np.linalg.det(R) < 0:
        raise InputError(f"{where}: R is no rotation matrix; check its order and signs")
    return from_rotation_translation(u @ v, scale * t)


def camera_matrix(camera: CameraDescription) -> Array:
    """K (3, 3)."""
    return np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1.0]])


def read_depth(folder: Path, depth: DepthDescription, K_color: Array, width: int, height: int) -> Depth:
    """Depth (height, width) float32 mm in the colour camera, registered if another camera took it; 0 = not measured.

    Raises:
        InputError: unreadable file, not one channel, or another size than the colour image of the same camera.
    """
    path = folder / depth.file
    raw = read_image(path, cv2.IMREAD_UNCHANGED)
    if raw.ndim != 2:
        raise InputError(f"{path}: a depth image has one channel, this one has {raw.shape[2]}")
    values = np.where(np.isin(raw, depth.invalid), 0, raw).astype(np.float32) * np.float32(depth.mm_per_unit)
    if depth.camera is None or depth.color_from_depth is None:
        if values.shape != (height, width):
            raise InputError(f"{path}: depth is {values.shape[::-1]} pixels, the photograph {(width, height)}")
        return values
    T_color_depth = pose_matrix(depth.color_from_depth, str(path))
    return register_depth(values, camera_matrix(depth.camera), T_color_depth, K_color, width, height)


def evaluation_mesh(mesh: Mesh, diameter: float) -> Mesh:
    """The same surface with vertices no further apart than 4 % of the diameter along every edge."""
    import trimesh

    vertices, faces = trimesh.remesh.subdivide_to_size(mesh.vertices, mesh.faces, EVAL_EDGE * diameter, max_iter=30)
    merged, index = np.unique(vertices.round(6), axis=0, return_inverse=True)
    return Mesh(merged, index.reshape(-1)[faces])


def _write_models(out: Path, models: dict[int, ImportedModel]) -> None:
    for folder in ("models", "models_eval"):
        write_json(out / folder / "models_info.json", {str(number): model.info for number, model in models.items()})
    for number, model in models.items():
        save_ply(out / "models" / f"obj_{number:06d}.ply", model.mesh)
        even = evaluation_mesh(model.mesh, model.info["diameter"])
        save_ply(out / "models_eval" / f"obj_{number:06d}.ply", even)


def _write_photo(
    out: Path, folder: Path, photo: PhotoDescription, models: dict[int, ImportedModel], delta_mm: float
) -> dict[str, Any]:
    """Write image, depth and masks of one photograph; its entries of the scene's JSON files."""
    source = folder / photo.file
    height, width = read_image(source, cv2.IMREAD_COLOR).shape[:2]
    scene = out / "test" / f"{photo.scene:06d}"
    (scene / "rgb").mkdir(parents=True, exist_ok=True)
    suffix = ".jpg" if source.suffix.lower() in (".jpg", ".jpeg") else ".png"
    shutil.copyfile(source, scene / "rgb" / f"{photo.image:06d}{suffix}")
    K = camera_matrix(photo.camera)
    poses = [pose_matrix(o.pose, f"photo {photo.scene}/{photo.image}, object {o.model}") for o in photo.objects]
    large = [_large_depth(models[o.model].mesh, K, T, width, height) for o, T in zip(photo.objects, poses, strict=True)]
    depth = None if photo.depth is None else read_depth(folder, photo.depth, K, width, height)
    if depth is not None:
        _write_png(scene / "depth" / f"{photo.image:06d}.png", np.round(depth / DEPTH_SCALE_MM).astype(np.uint16))
    surface = _nearest([large_canvas_patch(d).paste(width, height) for d in large]) if depth is None else depth
    infos = []
    for gt_id, canvas in enumerate(large):
        info, mask, visible = instance_info(large_canvas_patch(canvas), surface, K, delta_mm)
        infos.append(info)
        name = f"{photo.image:06d}_{gt_id:06d}.png"
        _write_png(scene / "mask" / name, mask.astype(np.uint8) * 255)
        _write_png(scene / "mask_visib" / name, visible.astype(np.uint8) * 255)
    return {
        "camera": {"cam_K": K.ravel().tolist(), "depth_scale": DEPTH_SCALE_MM},
        "gt": [_truth(o.model, T) for o, T in zip(photo.objects, poses, strict=True)],
        "gt_info": infos,
        "outlines": [list(o.outline) or None for o in photo.objects],
    }


def _large_depth(mesh: Mesh, K: Array, T_cam_obj: Array, width: int, height: int) -> Depth:
    """Depth on BOP's canvas, three times the image; sampled at +0.5 as BOP's own masks are."""
    shifted = K + np.array([[0, 0, width], [0, 0, height], [0, 0, 0]])
    return RayCaster(mesh).cast(shifted, T_cam_obj, 3 * width, 3 * height, pixel_center=0.5).depth


def _nearest(depths: list[Depth]) -> Depth:
    """The nearest of several depth images; 0 where all are 0."""
    stack = np.stack([np.where(depth > 0, depth, np.inf) for depth in depths])
    nearest = stack.min(axis=0)
    return np.where(np.isfinite(nearest), nearest, 0).astype(np.float32)


def _truth(obj_id: int, T: Array) -> dict[str, Any]:
    return {"obj_id": obj_id, "cam_R_m2c": T[:3, :3].ravel().tolist(), "cam_t_m2c": T[:3, 3].tolist()}


def _write_png(path: Path, image: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image):
        raise OSError(f"{path}: could not be written")


def _write_scene_files(scene: Path, images: dict[int, dict[str, Any]]) -> None:
    ordered = dict(sorted(images.items()))
    for name, key in (("scene_camera", "camera"), ("scene_gt", "gt"), ("scene_gt_info", "gt_info")):
        write_json(scene / f"{name}.json", {str(im_id): record[key] for im_id, record in ordered.items()})
    outlines = {str(im_id): record["outlines"] for im_id, record in ordered.items()}
    if any(polygon for polygons in outlines.values() for polygon in polygons):
        write_json(scene / "outlines.json", outlines)


def _targets(scenes: dict[int, dict[int, dict[str, Any]]]) -> list[dict[str, int]]:
    targets = []
    for scene_id, images in sorted(scenes.items()):
        for im_id, record in sorted(images.items()):
            pairs = zip(record["gt"], record["gt_info"], strict=True)
            seen = [gt["obj_id"] for gt, info in pairs if info["visib_fract"] >= MIN_VISIBLE_FRACTION]
            for obj_id in sorted(set(seen)):
                numbers = (scene_id, im_id, obj_id, seen.count(obj_id))
                targets.append(dict(zip(("scene_id", "im_id", "obj_id", "inst_count"), numbers, strict=True)))
    return targets


def _facts(description: PhotosDescription, models: dict[int, ImportedModel]) -> dict[str, Any]:
    return {
        "title": description.title,
        "models": {
            str(number): {"name": description.models[number].name, "symmetry_error_mm": round(m.symmetry_error_mm, 3)}
            for number, m in models.items()
        },
        "poses": [
            {"scene_id": photo.scene, "im_id": photo.image, "obj_id": entry.model, "source": entry.pose_source}
            for photo in description.photos
            for entry in photo.objects
        ],
    }
