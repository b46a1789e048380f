"""A reconstructed scene on a turntable, as an animated picture (cosypose.md section 17)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from pose_models.files import InputError, atomic_path
from pose_models.geometry.transforms import apply, invert
from pose_models.meshes.mesh import Mesh
from pose_models.multiview.scene import ReconstructedScene
from pose_models.program import progress
from pose_models.report.renders import Painter

Array = NDArray[np.float64]
FRAMES_PER_SECOND = 25
WIDTH, HEIGHT, FOCAL_PX = 640, 480, 515.0
K = np.array([[FOCAL_PX, 0, (WIDTH - 1) / 2], [0, FOCAL_PX, (HEIGHT - 1) / 2], [0, 0, 1]])
DISTANCE_MM = 650.0  # the reference's 1.3 m from a scene of twice the size; farther where not all would be seen
POLAR_RAD = np.pi / 4
BACKGROUND = (242, 231, 191)
PALETTE = 128


def write_turntable(path: Path, scene: ReconstructedScene, meshes: Mapping[int, Mesh], seconds: float) -> None:
    """Write a GIF of one turn about a scene.

    Args:
        meshes: by object id, mm. seconds: the turn's; the picture repeats.

    Raises:
        InputError: the scene has no object, or there is less than one frame.
    """
    count = round(FRAMES_PER_SECOND * seconds)
    if count < 1 or not len(scene.obj_id):
        raise InputError(f"{path}: a turntable needs an object and at least {1 / FRAMES_PER_SECOND} s, got {seconds} s")
    painter, T_stand_obj = Painter(meshes), standing(scene)
    points = np.concatenate(
        [apply(T, meshes[i].vertices) for i, T in zip(scene.obj_id.tolist(), T_stand_obj, strict=True)]
    )
    cameras = list(orbit(points, count))

    def frame(T_cam_stand: Array) -> PIL.Image.Image:
        rendered = painter.render(scene.obj_id.tolist(), T_cam_stand @ T_stand_obj, K, WIDTH, HEIGHT)
        return PIL.Image.fromarray(rendered.before(BACKGROUND))

    # One palette for all frames: the background then never changes, and files stay small.
    some = [np.asarray(frame(cameras[i])) for i in np.unique(np.linspace(0, count - 1, 8).astype(int))]
    palette = PIL.Image.fromarray(np.concatenate(some)).quantize(PALETTE, method=PIL.Image.Quantize.MEDIANCUT)
    rest = (
        frame(camera).quantize(palette=palette, dither=PIL.Image.Dither.NONE)
        for camera in progress(cameras, f"{path.name}")
    )
    with atomic_path(path) as temporary:
        next(rest).save(
            temporary, format="GIF", save_all=True, append_images=rest, duration=1000 // FRAMES_PER_SECOND, loop=0
        )


def standing(scene: ReconstructedScene) -> Array:
    """Poses (O, 4, 4) mm of the objects in the frame of the first one, turned over if the first camera is below it."""
    T_first_world = invert(scene.T_world_obj[0])
    if (T_first_world @ scene.T_world_cam[0])[2, 3] < 0:
        T_first_world = np.diag([1.0, -1.0, -1.0, 1.0]) @ T_first_world
    return np.asarray(T_first_world @ scene.T_world_obj)


def orbit(points: Array, count: int) -> Iterator[Array]:
    """Poses T_cam_stand (4, 4) of cameras around points (N, 3) mm, z up, all of which they see."""
    center = (points.min(axis=0) + points.max(axis=0)) / 2
    radius = np.linalg.norm(points - center, axis=1).max()
    distance = max(DISTANCE_MM, radius / np.sin(np.arctan(HEIGHT / 2 / FOCAL_PX)))
    for angle in 2 * np.pi * np.arange(count) / count:
        around = np.array([np.cos(angle), np.sin(angle)]) * np.sin(POLAR_RAD)
        forward = -np.array([*around, np.cos(POLAR_RAD)])
        right = np.array([-np.sin(angle), np.cos(angle), 0.0])
        R = np.stack([right, np.cross(forward, right), forward])
        T = np.eye(4)
        T[:3, :3], T[:3, 3] = R, -R @ (center - distance * forward)
        yield T
