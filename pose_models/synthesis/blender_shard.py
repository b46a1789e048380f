"""Photorealistic shards, the second half: annotate what Blender has rendered, with our ray-caster, and check both.

Poses, masks and visibility are made as for every other generator. Blender's own segmentation, which has another code
base's geometry behind it, is the witness that they fit its images.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_models.datasets.bop import read_image
from pose_models.datasets.bop_writer import SceneWriter
from pose_models.files import read_json
from pose_models.geometry.transforms import invert
from pose_models.meshes.shapes import box
from pose_models.render.scene import SceneCaster, Shape, camera_rays
from pose_models.render.shading import Camera
from pose_models.synthesis.arrangement import Arrangement
from pose_models.synthesis.blender import Plan, Sensor
from pose_models.synthesis.scenes import annotate

LEAST_PX = 200  # an object that shows fewer pixels says little about agreement


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How far Blender's own segmentation agrees with our masks.

    ious: of the visible masks of objects that nothing covers and the image does not cut, at least 200 pixels each.
    depth_error_mm: median absolute difference of the depth images where both see the same thing.
    """

    ious: list[float]
    depth_error_mm: float

    def __str__(self) -> str:
        if not self.ious:
            return "no object was large and free enough to compare masks with Blender's"
        return (
            f"masks agree with Blender's: IoU at least {min(self.ious):.4f}, median {np.median(self.ious):.4f}"
            f" over {len(self.ious)} unoccluded objects; depth to {self.depth_error_mm:.3f} mm"
        )


def write_shard(folder: Path, raw: Path, plan: Plan, sensor: Sensor, depth_scale: float) -> Agreement:
    """Annotate what Blender has left in `raw`; write it as a new BOP scene folder (wrap it in `files.atomic_path`)."""
    writer = SceneWriter(folder)
    shapes = {key: Shape(mesh) for key, mesh in plan.meshes.items()}
    meshes = {int(key): mesh for key, mesh in plan.meshes.items() if not key.startswith("foreign")}
    half = plan.content["room_half_mm"]
    room = Shape(box([2 * half] * 3, [0, 0, half]))
    ious: list[float] = []
    errors: list[float] = []
    im_id = 0
    for scene, poses in zip(plan.content["scenes"], read_json(raw / "poses.json"), strict=True):
        arrangement, numbers = Arrangement(), []
        for number, T_world_obj in poses["objects"].items():
            key = scene["objects"][int(number)]["model"]
            obj_id = None if key.startswith("foreign") else int(key)
            arrangement.add(shapes[key], np.array(T_world_obj), "distractor" if obj_id is None else "part", obj_id)
            numbers.append(int(number) + 1)
        arrangement.add(room, np.eye(4), "wall")
        numbers.append(0)
        caster = SceneCaster(arrangement.bodies)
        for T_world_cam in poses["cameras"]:
            camera = Camera(sensor.K, invert(np.array(T_world_cam)), sensor.width, sensor.height)
            body, cast_depth = _cast(caster, camera)
            depth = np.load(raw / f"depth_{im_id}.npy")
            seen = read_image(raw / f"instance_{im_id}.png", cv2.IMREAD_UNCHANGED)
            records = annotate(arrangement, camera, body, depth, meshes)
            expected = np.array(numbers)[body]
            ious += _ious(expected, seen, [record.mask_visible for record in records if _is_whole(record.info)])
            errors.append(float(np.median(np.abs(depth - cast_depth)[(expected == seen) & (depth > 0)])))
            rgb = read_image(raw / f"rgb_{im_id}.png", cv2.IMREAD_COLOR)[..., ::-1].astype(np.uint8)
            stored = np.clip(np.rint(depth / depth_scale), 0, 2**16 - 1).astype(np.uint16)
            writer.add(im_id, rgb, stored, camera.K, depth_scale, records, camera.T_cam_world)
            im_id += 1
    writer.close()
    return Agreement(ious, float(np.median(errors)))


def _cast(caster: SceneCaster, camera: Camera) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Body (H, W), -1 where nothing is, and depth (H, W) mm at the pixels' centres."""
    hits = caster.cast(*camera_rays(camera.K, camera.T_cam_world, size=(camera.width, camera.height)))
    body = np.full(camera.height * camera.width, -1, dtype=np.int32)
    depth = np.zeros(camera.height * camera.width, dtype=np.float32)
    body[hits.ray], depth[hits.ray] = hits.body, hits.depth
    shape = (camera.height, camera.width)
    return body.reshape(shape), depth.reshape(shape)


def _is_whole(info: dict[str, Any]) -> bool:
    """Whether (nearly) the whole silhouette is visible."""
    return bool(info["visib_fract"] > 0.995 and info["px_count_visib"] >= LEAST_PX)


def _ious(expected: NDArray[Any], seen: NDArray[Any], masks: list[NDArray[np.bool_]]) -> list[float]:
    """IoU of our masks with Blender's, given the numbers (H, W) of objects that we and Blender see."""
    result = []
    for mask in masks:
        theirs = seen == expected[mask][0]
        result.append(float((mask & theirs).sum() / (mask | theirs).sum()))
    return result
