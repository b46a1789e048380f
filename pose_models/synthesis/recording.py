"""CosyPose's recording (cosypose.md section 8): parts that fall or float in a room, seen by a camera around them.

Departures: the ground plane is not counted among the things that must be visible, as it was by mistake; units are
millimetres; physics is MuJoCo's.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pose_models.files import InputError
from pose_models.geometry.transforms import from_rotation_translation, invert, random_rotation
from pose_models.render.scene import SceneCaster, camera_rays
from pose_models.synthesis.arrangement import FLOOR_HALF_MM, Arrangement, Model, draw_ids, square
from pose_models.synthesis.config import SceneSettings
from pose_models.synthesis.physics import fall

Array = NDArray[np.float64]

HALF_MM = 250.0  # parts start within this of the world's origin, and as high above it
LAYER_MM = 50.0  # falling parts start one above the other
ROOM_HALF_MM = 3000.0
ROOM_SHIFT_MM = 1000.0
TARGET_MM = (0.0, 0.0, 125.0)
ROLL_DEG = 10.0
SCENES, VIEWS = 50, 2
STEP_PX = 4  # visibility is looked up in every fourth pixel of every fourth row


def recording_camera(rho: ArrayLike, theta: ArrayLike, phi: ArrayLike, roll: ArrayLike, target: ArrayLike) -> Array:
    """T_world_cam (..., 4, 4) of a camera on a sphere around a target, x right, y down, z forward.

    Args:
        rho: (...) distance, in the unit of `target` (3,). theta, phi, roll: (...) rad, polar angle from the world's z
            axis, azimuth, and turn about the viewing axis. R = Rz(phi) Ry(theta) Rx(pi) Rz(roll - pi/2).
    """
    from scipy.spatial.transform import Rotation

    rho, theta, phi, roll = np.broadcast_arrays(*(np.asarray(a, dtype=np.float64) for a in (rho, theta, phi, roll)))
    angles = np.stack([phi, theta, np.full(phi.shape, np.pi), roll - np.pi / 2], axis=-1).reshape(-1, 4)
    R = Rotation.from_euler("ZY", angles[:, :2]) * Rotation.from_euler("XZ", angles[:, 2:])
    away = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=-1)
    t = np.asarray(target) + rho[..., None] * away
    return from_rotation_translation(R.as_matrix().reshape(*phi.shape, 3, 3), t)


def draw_recording(
    models: Mapping[int, Model], settings: SceneSettings, K: Array, rng: np.random.Generator
) -> tuple[Arrangement, SceneCaster, Array]:
    """A scene, its ray caster, and T_cam_world (4, 4) of a view that shows a bit of every part.

    Each scene gets two tries of a camera, then it is drawn anew.

    Raises:
        InputError: fifty scenes had no such view.
    """
    for _ in range(SCENES):
        arrangement = _room(models, settings, rng)
        caster = SceneCaster(arrangement.bodies)
        for _ in range(VIEWS):
            T_cam_world = invert(_draw_camera(settings, rng))
            if _shows_every_part(caster, arrangement, K, T_cam_world, settings):
                return arrangement, caster, T_cam_world
    raise InputError(
        f"set: no view of {SCENES} scenes shows every part; let there be fewer `instances` or a nearer `distance_mm`"
    )


def _room(models: Mapping[int, Model], settings: SceneSettings, rng: np.random.Generator) -> Arrangement:
    ids = draw_ids(models, settings, rng)
    is_falling = rng.random() < settings.falling
    poses = []
    for index in range(len(ids)):
        xy = rng.uniform(-HALF_MM, HALF_MM, 2)
        z = LAYER_MM * (index + 1) if is_falling else rng.uniform(0, HALF_MM)
        poses.append(from_rotation_translation(random_rotation(rng), [*xy, z]))
    if is_falling:
        poses = fall([models[obj_id].pieces for obj_id in ids], poses, 0.1 * rng.integers(5, 10))
    arrangement = Arrangement(half_size_mm=(HALF_MM, HALF_MM))
    for obj_id, T in zip(ids, poses, strict=True):
        arrangement.add(models[obj_id].shape, T, "part", obj_id)
    _add_room(arrangement, rng)
    if is_falling:
        arrangement.add(square(FLOOR_HALF_MM), np.eye(4), "floor")
    return arrangement


def _add_room(arrangement: Arrangement, rng: np.random.Generator) -> None:
    """Six squares that face the inside of a cube, the cube turned and shifted at random."""
    T_world_room = from_rotation_translation(random_rotation(rng), rng.uniform(-ROOM_SHIFT_MM, ROOM_SHIFT_MM, 3))
    plane = square(ROOM_HALF_MM)
    for axis in range(3):
        for sign in (-1.0, 1.0):
            z = np.zeros(3)
            z[axis] = sign
            x = np.roll(z, 1)
            R = np.stack([x, np.cross(z, x), z], axis=1)
            arrangement.add(plane, T_world_room @ from_rotation_translation(R, -ROOM_HALF_MM * z), "room")


def _draw_camera(settings: SceneSettings, rng: np.random.Generator) -> Array:
    low, high = settings.elevation_deg
    theta, phi, roll = np.radians(
        [rng.uniform(90 - high, 90 - low), rng.uniform(0, 360), rng.uniform(-1, 1) * ROLL_DEG]
    )
    return recording_camera(rng.uniform(*settings.distance_mm), theta, phi, roll, TARGET_MM)


def _shows_every_part(
    caster: SceneCaster, arrangement: Arrangement, K: Array, T_cam_world: Array, settings: SceneSettings
) -> bool:
    u, v = np.meshgrid(np.arange(0, settings.width, STEP_PX), np.arange(0, settings.height, STEP_PX))
    seen = caster.query(*camera_rays(K, T_cam_world, np.stack([u.ravel(), v.ravel()], axis=1).astype(np.float32))).body
    parts = [index for index, obj_id in enumerate(arrangement.obj_ids) if obj_id is not None]
    return bool(np.isin(parts, seen).all())
