"""The images of one synthetic scene folder: arrange, look, shade, annotate, write.

Every image draws from its own generator, seeded by dataset seed, look, scene number and image number: any image can be
made again alone, in any process, and the number of images changes none of them.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pose_models.datasets.bop_writer import ImageEntry, InstanceRecord, write_image
from pose_models.files import InputError, read_json
from pose_models.geometry.transforms import from_rotation_translation, random_rotation
from pose_models.meshes.mesh import Mesh, load_mesh
from pose_models.render.rasterize import Window, rasterize
from pose_models.render.scene import Body, Float, SceneCaster, Shape
from pose_models.render.shading import Camera, render
from pose_models.render.visibility import DepthPatch, box_of_mask
from pose_models.synthesis.appearance import draw_appearance
from pose_models.synthesis.arrangement import (
    Arrangement,
    Model,
    camera_above,
    filled_bin,
    floating_parts,
    intrinsics,
    plan_bin,
)
from pose_models.synthesis.bank import ImageBank
from pose_models.synthesis.config import SceneSettings
from pose_models.synthesis.physics import settle
from pose_models.synthesis.recording import draw_recording
from pose_models.synthesis.sensor import expose, jpeg_quality, measure_depth

LOOK_NUMBERS = {"train": 1, "test": 2, "random": 3, "cosypose": 4}
Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """All that the images of a scene folder are a function of, apart from the files it names.

    models, collision, textures, backgrounds: folders, the last two None for procedural images. camera: camera.json.
    """

    models: Path
    collision: Path | None
    camera: Path
    settings: SceneSettings
    seed: int
    scene_number: int
    textures: Path | None = None
    backgrounds: Path | None = None


def load_models(folder: str | Path, collision_folder: str | Path | None = None) -> dict[int, Model]:
    """Object models of a BOP models folder by object id.

    Args:
        collision_folder: meshes of the same names whose connected components are convex pieces, for physics; objects
            without one fall as their convex hull.
    """
    folder = Path(folder)
    models = {}
    for path in sorted(folder.glob("obj_*.ply")):
        mesh = load_mesh(path, texture=True)
        obj_id = int(path.stem.removeprefix("obj_"))
        pieces_path = Path(collision_folder) / path.name if collision_folder else None
        pieces = split_components(load_mesh(pieces_path)) if pieces_path and pieces_path.exists() else [mesh]
        models[obj_id] = Model(obj_id, mesh, Shape(mesh), pieces)
    if not models:
        raise InputError(f"{folder}: no obj_*.ply; give the folder of a dataset's models")
    return models


def split_components(mesh: Mesh) -> list[Mesh]:
    """Connected components of a mesh, in order of their first vertex."""
    # By hand because every process of a shard would wait a quarter of a second for scipy's import.
    label = np.arange(len(mesh.vertices))
    while True:
        lowest = label.copy()  # each vertex takes the lowest label around it, and then that of the vertex named so
        np.minimum.at(lowest, mesh.faces, label[mesh.faces].min(axis=1, keepdims=True))
        lowest = lowest[lowest]
        if np.array_equal(lowest, label):
            break
        label = lowest
    parts = []
    for index in np.unique(label):
        chosen = label == index
        number = np.cumsum(chosen) - 1
        faces = mesh.faces[chosen[mesh.faces[:, 0]]]
        if len(faces):
            parts.append(Mesh(mesh.vertices[chosen], number[faces]))
    return parts


def sensor_intrinsics(camera_file: str | Path) -> NDArray[np.float64]:
    """K (3, 3) of a dataset's camera.json."""
    content = read_json(camera_file)
    try:
        fx, fy, cx, cy = (float(content[key]) for key in ("fx", "fy", "cx", "cy"))
    except KeyError as error:
        raise InputError(f"{camera_file}: no key {error}; a BOP camera.json has fx, fy, cx, cy") from None
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


class SceneMaker:
    """Makes the images of a recipe, in any order; keeps what they share."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, settings = recipe, recipe.settings
        self._start = [recipe.seed, LOOK_NUMBERS[settings.look], recipe.scene_number]
        self.models = load_models(recipe.models, recipe.collision)
        self._K_sensor = sensor_intrinsics(recipe.camera)
        self._meshes = {obj_id: model.mesh for obj_id, model in self.models.items()}
        self._bin: tuple[int, Arrangement, SceneCaster] | None = None
        if recipe.textures or recipe.backgrounds:
            self._bank  # noqa: B018 - wrong files are named at once

    @functools.cached_property
    def _bank(self) -> ImageBank:
        """Made when it is first needed: a process that only checks its input does not wait for it."""
        return ImageBank(self.recipe.settings.look, self._rng(0), self.recipe.textures, self.recipe.backgrounds)

    def _rng(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([*self._start, *stream])

    def group(self, im_id: int) -> int:
        """Images of one group share their arrangement."""
        return im_id // self.recipe.settings.images_per_arrangement

    def settle(self, group: int) -> list[Array]:
        """T_world_obj (4, 4) mm of all that is dropped into the bin of a group."""
        rng = self._rng(2, group)
        plan = plan_bin(self.models, self.recipe.settings, rng)
        return settle(plan.pieces, plan.size_mm, rng)

    def write(self, folder: Path, im_id: int, poses: Sequence[Array] | None = None) -> ImageEntry:
        """Make one image and write its files into a folder that a `SceneWriter` has made.

        Args:
            poses: what `settle` gives for the image's group; None to let it be found here.
        """
        settings, rng = self.recipe.settings, self._rng(1, im_id)
        K = intrinsics(self._K_sensor, settings, rng)
        arrangement, caster, T_cam_world = self._scene(im_id, K, poses, rng)
        camera = Camera(K, T_cam_world, settings.width, settings.height)
        # Under the test look a bin keeps its colours and lamps; otherwise every image has its own.
        paint_rng = self._rng(3, self.group(im_id)) if settings.look == "test" else rng
        picture = render(caster, camera, draw_appearance(arrangement.subjects, settings, self._bank, paint_rng))
        pixels = settings.width * settings.height
        noise, depth_noise = self._bank.normals(3 * pixels, rng), self._bank.normals(pixels, rng)
        return write_image(
            folder,
            im_id,
            expose(picture.radiance, settings.look, rng, noise),
            measure_depth(picture.depth, settings.depth_noise_mm, settings.depth_scale, depth_noise),
            K,
            settings.depth_scale,
            annotate(arrangement, camera, picture.body, picture.depth, self._meshes),
            None if settings.layout == "floating" else T_cam_world,
            jpeg_quality(settings.look, rng),
        )

    def _scene(
        self, im_id: int, K: Array, poses: Sequence[Array] | None, rng: np.random.Generator
    ) -> tuple[Arrangement, SceneCaster, Array]:
        """Arrangement, its ray caster and T_cam_world of an image."""
        settings = self.recipe.settings
        if settings.layout == "room":
            return draw_recording(self.models, settings, K, rng)
        if settings.layout == "floating":
            arrangement, T_cam_world = _turned(floating_parts(self.models, settings, K[0, 0], rng), rng)
            return arrangement, SceneCaster(arrangement.bodies), T_cam_world
        group = self.group(im_id)
        if self._bin is None or self._bin[0] != group:
            plan = plan_bin(self.models, settings, self._rng(2, group))
            arrangement = filled_bin(plan, self.settle(group) if poses is None else poses)
            self._bin = group, arrangement, SceneCaster(arrangement.bodies)
        _, arrangement, caster = self._bin
        return arrangement, caster, camera_above(arrangement, settings, rng)


def _turned(arrangement: Arrangement, rng: np.random.Generator) -> tuple[Arrangement, Array]:
    """Turn bodies given in the camera frame into a world whose up direction is anywhere, for the lighting."""
    R = random_rotation(rng)
    T_world_cam = from_rotation_translation(R, np.zeros(3))
    arrangement.bodies = [Body(body.shape, T_world_cam @ body.T_world_obj) for body in arrangement.bodies]
    return arrangement, from_rotation_translation(R.T, np.zeros(3))


def annotate(
    arrangement: Arrangement,
    camera: Camera,
    body: NDArray[np.int32],
    depth: Float,
    meshes: Mapping[int, Mesh],
) -> list[InstanceRecord]:
    """Poses, masks and visibility of the parts that reach into the picture.

    The visible mask is what the renderer saw (exact instance ids at pixel centres), not a depth comparison. Silhouettes
    are drawn on a canvas three times the image, its counts and boxes follow bop.md 2.1.
    """
    records = []
    for index, obj_id in enumerate(arrangement.obj_ids):
        if obj_id is None:
            continue
        T_cam_obj = camera.T_cam_world @ arrangement.bodies[index].T_world_obj
        window = Window.large_canvas(camera.width, camera.height)
        patch = rasterize(meshes[obj_id], camera.K, T_cam_obj[:3, :3], T_cam_obj[:3, 3], window, 0.0)
        record = _record(obj_id, T_cam_obj, patch, index, body, depth)
        if record is not None:
            records.append(record)
    return records


def _record(
    obj_id: int, T_cam_obj: Array, patch: DepthPatch, index: int, body: NDArray[np.int32], depth: Float
) -> InstanceRecord | None:
    """The record of one part whose silhouette alone is `patch`; None if nothing of it reaches into the picture."""
    height, width = body.shape
    h, w = patch.depth.shape
    # Rays and triangles may differ by a pixel at the outline, so one more pixel all around is looked at.
    left, top = max(patch.x - 1, 0), max(patch.y - 1, 0)
    right, bottom = min(patch.x + w + 1, width), min(patch.y + h + 1, height)
    if left >= right or top >= bottom:
        return None
    here = (slice(top, bottom), slice(left, right))
    near = np.pad(patch.depth > 0, 1)
    alone = near[top - patch.y + 1 : bottom - patch.y + 1, left - patch.x + 1 : right - patch.x + 1]
    visible = body[here] == index
    inside = alone | visible
    if not inside.any():
        return None
    count_all = int(np.count_nonzero(near) + np.count_nonzero(inside & ~alone))
    count_visible = int(np.count_nonzero(visible))
    info = {
        "bbox_obj": box_of_mask(near, patch.x - 1, patch.y - 1) if count_visible else [-1, -1, -1, -1],
        "bbox_visib": box_of_mask(visible, left, top) if count_visible else [-1, -1, -1, -1],
        "px_count_all": count_all,
        "px_count_valid": int(np.count_nonzero(inside & (depth[here] > 0))),
        "px_count_visib": count_visible,
        "visib_fract": count_visible / count_all,
    }
    masks = np.zeros((2, height, width), dtype=bool)
    masks[0][here], masks[1][here] = inside, visible
    return InstanceRecord(obj_id, T_cam_obj, info, masks[0], masks[1])
