"""Object-level bundle adjustment: poses of objects and cameras that reproject all matched candidates best.

A residual is the distance in pixels between a corner of an object's box under a candidate's pose and under the scene's
(cosypose.md 12.6). Residuals count at most `outlier_px`. The default parametrises each pose by six numbers about its
current value, holds the first camera, and weighs down what is beyond the limit; `faithful` takes the reference's steps
on nine numbers per pose.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pose_models.geometry.cameras import project
from pose_models.geometry.transforms import apply, from_rotation_translation, invert
from pose_models.multiview.boxes import Box
from pose_models.multiview.config import AdjustSettings
from pose_models.multiview.matching import Candidates, Matching

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

START_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-3, 1e-7, 1e7
SMALLEST_CHANGE = 1e-5  # of the loss, px^2: the reference's end
SMALLEST_RATIO = 1e-6  # of the loss: ours
HOPELESS_DAMPING = 1e6
INITIAL_PASSES = 20


@dataclasses.dataclass(frozen=True)
class Scene:
    """Objects and cameras of one group of views: T_world_obj (O, 4, 4), T_cam_world (V, 4, 4), mm."""

    T_world_obj: Array
    T_cam_world: Array


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is to be explained: N candidates, each with the position of its view and of its object.

    K: (V, 3, 3). obj_id: (O,). view, obj: (N,). T_cam_obj: (N, 4, 4) mm. boxes: by object id.
    """

    K: Array
    obj_id: Indices
    view: Indices
    obj: Indices
    T_cam_obj: Array
    boxes: Mapping[int, Box]

    def targets(self, scene: Scene) -> tuple[Array, Array, Array]:
        """For the current scene: corners (N, 8, 3) mm, their pixels under the candidates with the nearest symmetry
        (N, 8, 2), and mean reprojection distances (N,).
        """
        T = scene.T_cam_world[self.view] @ scene.T_world_obj[self.obj]
        pixels, distance = np.zeros((len(T), 8, 2)), np.zeros(len(T))
        corners = np.zeros((len(T), 8, 3))
        for obj_id in np.unique(self.obj_id):
            rows = np.flatnonzero(self.obj_id[self.obj] == obj_id)
            if not len(rows):
                continue
            box, K = self.boxes[int(obj_id)], self.K[self.view[rows]]
            distance[rows], chosen = box.reprojection(K, self.T_cam_obj[rows], T[rows])
            pixels[rows] = project(apply(self.T_cam_obj[rows], box.turned_corners[chosen]), K)
            corners[rows] = box.corners
        return corners, pixels, distance

    def residuals(self, scene: Scene) -> tuple[Array, Array]:
        """Residuals (N, 8, 2) px, candidate minus scene, and the corners (N, 8, 3) that they belong to."""
        corners, pixels, _ = self.targets(scene)
        T = scene.T_cam_world[self.view] @ scene.T_world_obj[self.obj]
        return pixels - project(apply(T, corners), self.K[self.view]), corners

    def in_units(self, factor: float) -> Problem:
        """The same with lengths multiplied by a factor."""
        boxes = {i: Box(box.corners * factor, _scaled(box.symmetries, factor)) for i, box in self.boxes.items()}
        return dataclasses.replace(self, T_cam_obj=_scaled(self.T_cam_obj, factor), boxes=boxes)


def _scaled(T: Array, factor: float) -> Array:
    return from_rotation_translation(T[..., :3, :3], T[..., :3, 3] * factor)


@dataclasses.dataclass(frozen=True)
class Adjusted:
    """The scene before and after, and the course of loss (px^2) and damping."""

    initial: Scene
    final: Scene
    losses: tuple[float, ...]
    dampings: tuple[float, ...]


def initial_scene(
    candidates: Candidates, matching: Matching, views: Sequence[int], objects: Sequence[int],
    T_world_cam: Mapping[int, Array] | None = None,
) -> Scene:  # fmt: skip
    """Cameras from the pairs of views, objects from the first view that sees them (cosypose.md 12.6).

    Args:
        views: view ids of one group; objects: numbers in `matching.object_index`.
        T_world_cam: camera poses by view id where they are known; else the world is the first permuted camera's frame.
    """
    rng = np.random.RandomState(0)
    order = [views[i] for i in rng.permutation(len(views))]
    rng.permutation(len(objects))
    cameras = _chained_cameras(matching, order) if T_world_cam is None else {v: T_world_cam[v] for v in views}
    T_world_obj = []
    for number in objects:
        rows = np.flatnonzero((matching.object_index == number) & np.isin(candidates.view_id, list(views)))
        first = min(rows, key=lambda row: (order.index(int(candidates.view_id[row])), -row))
        T_world_obj.append(cameras[int(candidates.view_id[first])] @ candidates.T_cam_obj[first])
    return Scene(np.array(T_world_obj), invert(np.array([cameras[view] for view in views])))


def _chained_cameras(matching: Matching, order: Sequence[int]) -> dict[int, Array]:
    relative = {(pair.first, pair.second): pair.T_first_second for pair in matching.pairs}
    cameras = {order[0]: np.eye(4)}
    for _ in range(INITIAL_PASSES):
        for view in order:
            known = next((other for other in order if other in cameras and (view, other) in relative), None)
            if view not in cameras and known is not None:
                cameras[view] = cameras[known] @ invert(relative[view, known])
    return cameras


def adjust(problem: Problem, scene: Scene, settings: AdjustSettings, fixed_cameras: bool = False) -> Adjusted:
    """Move objects and cameras so that the candidates' corners reproject best."""
    if settings.mode == "faithful":
        return _adjust_faithful(problem, scene, settings, fixed_cameras)
    return _adjust_robust(problem, scene, settings, fixed_cameras)


def clipped_loss(residuals: Array, limit_px: float) -> float:
    """Mean of the squared residuals, each at most limit_px squared."""
    return float(np.minimum(residuals**2, limit_px**2).mean())


def _adjust_robust(problem: Problem, scene: Scene, settings: AdjustSettings, fixed_cameras: bool) -> Adjusted:
    """Steps under Huber's weights, which still feel what is beyond the limit; zero weights would free it too early."""
    initial, damping = scene, START_DAMPING
    residuals, corners = problem.residuals(scene)
    losses, dampings = [clipped_loss(residuals, settings.outlier_px)], [damping]
    count = 6 * (len(scene.T_world_obj) + len(scene.T_cam_world) - 1)
    free = np.arange(6 * len(scene.T_world_obj) if fixed_cameras else count)
    for _ in range(settings.iterations):
        weights = np.minimum(1.0, settings.outlier_px / np.maximum(np.abs(residuals), 1e-9))
        J = local_jacobian(problem, scene, corners)[:, free]
        A, b = (J * weights.reshape(-1, 1)).T @ J, J.T @ (weights * residuals).ravel()
        # Damping in proportion to the curvature: rotations are in radians, translations in millimetres.
        step = np.zeros(count)
        step[free] = np.linalg.solve(A + damping * np.diag(np.maximum(np.diag(A), 1e-9)), b)
        moved = _moved(scene, step)
        new_residuals, new_corners = problem.residuals(moved)
        loss = clipped_loss(new_residuals, settings.outlier_px)
        gain = losses[-1] - loss
        if gain > 0:
            scene, residuals, corners = moved, new_residuals, new_corners
            damping = max(damping / 9, LEAST_DAMPING)
            losses.append(loss)
            dampings.append(damping)
            if gain < SMALLEST_RATIO * loss:
                break
        else:
            damping *= 11
            if damping > HOPELESS_DAMPING:
                break
    return Adjusted(initial, scene, tuple(losses), tuple(dampings))


def _moved(scene: Scene, step: Array) -> Scene:
    """The scene after local steps of 6 numbers (rotation vector, translation): objects, then cameras but the first."""
    from scipy.spatial.transform import Rotation

    count = len(scene.T_world_obj)
    numbers = np.concatenate([step[: 6 * count], np.zeros(6), step[6 * count :]]).reshape(-1, 6)
    moves = from_rotation_translation(Rotation.from_rotvec(numbers[:, :3]).as_matrix(), numbers[:, 3:])
    return Scene(scene.T_world_obj @ moves[:count], moves[count:] @ scene.T_cam_world)


def _projection_jacobian(points: Array, K: Array) -> Array:
    """Derivative (N, P, 2, 3) of pixels by camera coordinates (N, P, 3); K (N, 3, 3)."""
    uvw = points @ np.swapaxes(K, -1, -2)
    uv, w = uvw[..., :2] / uvw[..., 2:], uvw[..., 2, None, None]
    return np.asarray((K[:, None, :2] - uv[..., None] * K[:, None, 2:]) / w)


def local_jacobian(problem: Problem, scene: Scene, corners: Array) -> Array:
    """Derivative (16 N, 6 (O + V - 1)) of the projected corners by the numbers of `_moved`."""
    T_cam_world, T_world_obj = scene.T_cam_world[problem.view], scene.T_world_obj[problem.obj]
    points = apply(T_cam_world @ T_world_obj, corners)
    by_point = _projection_jacobian(points, problem.K[problem.view])
    rotation = (T_cam_world @ T_world_obj)[:, None, :3, :3]
    by_object = by_point @ np.concatenate(
        [-rotation @ _cross(corners), np.broadcast_to(rotation, (*corners.shape, 3))], axis=-1
    )
    by_camera = by_point @ np.concatenate([-_cross(points), np.broadcast_to(np.eye(3), (*points.shape, 3))], axis=-1)
    objects, cameras = len(scene.T_world_obj), len(scene.T_cam_world)
    J = np.zeros((len(points), 16, 6 * (objects + cameras)))
    rows = np.arange(len(points))[:, None]
    J[rows, :, 6 * problem.obj[:, None] + np.arange(6)] = by_object.reshape(-1, 16, 6).transpose(0, 2, 1)
    J[rows, :, 6 * (objects + problem.view)[:, None] + np.arange(6)] = by_camera.reshape(-1, 16, 6).transpose(0, 2, 1)
    return np.delete(J.reshape(-1, 6 * (objects + cameras)), np.s_[6 * objects : 6 * objects + 6], axis=1)


def _cross(vectors: Array) -> Array:
    """Matrices (..., 3, 3) of the cross product with vectors (..., 3)."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    zero = np.zeros_like(x)
    return np.stack([np.stack(row, axis=-1) for row in ((zero, -z, y), (z, zero, -x), (-y, x, zero))], axis=-2)


# The reference's own steps: nine numbers per pose (two rotation columns, translation), no fixed camera.


def to_nine(T: Array) -> Array:
    """First two rotation columns and translation (..., 9) of poses (..., 4, 4)."""
    return np.concatenate([T[..., :3, 0], T[..., :3, 1], T[..., :3, 3]], axis=-1)


def from_nine(numbers: Array) -> Array:
    """Poses (..., 4, 4) from nine numbers, the columns made orthonormal (x first)."""
    x = numbers[..., :3] / np.linalg.norm(numbers[..., :3], axis=-1, keepdims=True)
    z = np.cross(x, numbers[..., 3:6])
    z = z / np.linalg.norm(z, axis=-1, keepdims=True)
    R = np.stack([x, np.cross(z, x), z], axis=-1)
    return from_rotation_translation(R, numbers[..., 6:])


def _rotation_by_six(numbers: Array) -> Array:
    """Derivative (M, 3, 3, 6) of the rotations of `from_nine` (row, column) by their six numbers."""
    a, b, eye = numbers[:, :3], numbers[:, 3:6], np.eye(3)
    length = np.linalg.norm(a, axis=1)[:, None, None]
    x = a / length[:, 0]
    dx = np.concatenate([(eye - x[:, :, None] * x[:, None]) / length, np.zeros((len(a), 3, 3))], axis=2)
    c = np.cross(x, b)
    size = np.linalg.norm(c, axis=1)[:, None, None]
    z = c / size[:, 0]
    dc = -_cross(b) @ dx + np.concatenate([np.zeros((len(a), 3, 3)), _cross(x)], axis=2)
    dz = (eye - z[:, :, None] * z[:, None]) / size @ dc
    dy = -_cross(x) @ dz + _cross(z) @ dx
    return np.stack([dx, dy, dz], axis=2)


def nine_jacobian(problem: Problem, objects: Array, cameras: Array, corners: Array) -> Array:
    """Derivative (16 N, 9 (O + V)) of the projected corners by nine numbers per object and per camera."""
    T_world_obj, T_cam_world = from_nine(objects)[problem.obj], from_nine(cameras)[problem.view]
    in_world = apply(T_world_obj, corners)
    points = apply(T_cam_world, in_world)
    by_point = _projection_jacobian(points, problem.K[problem.view])
    turn_object, turn_camera = _rotation_by_six(objects)[problem.obj], _rotation_by_six(cameras)[problem.view]
    eye = np.broadcast_to(np.eye(3), (*corners.shape, 3))
    world_by_object = np.concatenate([np.einsum("nijk,npj->npik", turn_object, corners), eye], axis=-1)
    by_object = by_point @ T_cam_world[:, None, :3, :3] @ world_by_object
    by_camera = by_point @ np.concatenate([np.einsum("nijk,npj->npik", turn_camera, in_world), eye], axis=-1)
    J = np.zeros((len(points), 16, 9 * (len(objects) + len(cameras))))
    rows = np.arange(len(points))[:, None]
    J[rows, :, 9 * problem.obj[:, None] + np.arange(9)] = by_object.reshape(-1, 16, 9).transpose(0, 2, 1)
    columns = 9 * (len(objects) + problem.view)[:, None] + np.arange(9)
    J[rows, :, columns] = by_camera.reshape(-1, 16, 9).transpose(0, 2, 1)
    return J.reshape(-1, J.shape[-1])


def _adjust_faithful(problem: Problem, scene: Scene, settings: AdjustSettings, fixed_cameras: bool) -> Adjusted:
    """The reference works in metres, which its damping is made for."""
    unit = 1000.0
    small = problem.in_units(1 / unit)
    initial, damping = scene, START_DAMPING
    objects, cameras = to_nine(scene.T_world_obj), to_nine(scene.T_cam_world)
    objects[:, 6:] /= unit
    cameras[:, 6:] /= unit

    def view(o: Array, c: Array) -> Scene:
        return Scene(from_nine(o), from_nine(c))

    residuals, corners = small.residuals(view(objects, cameras))
    loss, losses, dampings = clipped_loss(residuals, settings.outlier_px), [], []
    for _ in range(settings.iterations):
        losses.append(loss)
        dampings.append(damping)
        J = nine_jacobian(small, objects, cameras, corners)
        step = np.linalg.pinv(J.T @ J + damping * np.eye(J.shape[1])) @ (J.T @ residuals.ravel())
        cut = objects.size
        moved = objects + step[:cut].reshape(-1, 9), cameras + (0 if fixed_cameras else step[cut:].reshape(-1, 9))
        new_residuals, new_corners = small.residuals(view(*moved))
        gain = loss - clipped_loss(new_residuals, settings.outlier_px)
        if abs(gain) < SMALLEST_CHANGE:
            losses.append(loss)
            dampings.append(damping)
            break
        if gain > 0:
            (objects, cameras), residuals, corners, loss = moved, new_residuals, new_corners, loss - gain
            damping = max(damping / 9, LEAST_DAMPING)
        else:
            damping = min(11 * damping, MOST_DAMPING)
    final = view(objects, cameras)
    for T in (final.T_world_obj, final.T_cam_world):
        T[:, :3, 3] *= unit
    return Adjusted(initial, final, tuple(losses), tuple(dampings))
