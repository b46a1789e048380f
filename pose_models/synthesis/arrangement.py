"""Where things are: settled bins and floating parts, and the cameras that look at them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pose_models.geometry.transforms import from_rotation_translation, random_rotation
from pose_models.meshes.bounds import diameter
from pose_models.meshes.mesh import Mesh
from pose_models.meshes.shapes import box, cylinder, ellipsoid, merged
from pose_models.render.scene import Body, Shape
from pose_models.synthesis.appearance import Kind, Subject
from pose_models.synthesis.config import SceneSettings

Array = NDArray[np.float64]
FLOOR_HALF_MM = 4000.0
WALL_MM = 6.0


@dataclasses.dataclass(frozen=True)
class Model:
    """An object model as scenes need it: mesh, its shape for rendering, convex pieces for physics."""

    obj_id: int
    mesh: Mesh
    shape: Shape
    pieces: list[Mesh]

    @functools.cached_property
    def diameter_mm(self) -> float:
        """Largest distance between two vertices."""
        return diameter(self.mesh.vertices)


@dataclasses.dataclass
class Arrangement:
    """Bodies of a scene in the world, with what they are; `obj_ids` is None for all but parts."""

    bodies: list[Body] = dataclasses.field(default_factory=list)
    kinds: list[Kind] = dataclasses.field(default_factory=list)
    obj_ids: list[int | None] = dataclasses.field(default_factory=list)
    half_size_mm: tuple[float, float] = (0.0, 0.0)

    def add(self, shape: Shape, T_world_obj: Array, kind: Kind, obj_id: int | None = None) -> None:
        """Place a shape."""
        self.bodies.append(Body(shape, T_world_obj))
        self.kinds.append(kind)
        self.obj_ids.append(obj_id)

    @property
    def subjects(self) -> list[Subject]:
        """What painters need to know of the bodies."""
        colored = [body.shape.has_colors for body in self.bodies]
        return [Subject(*parts) for parts in zip(self.kinds, self.obj_ids, colored, strict=True)]


@dataclasses.dataclass(frozen=True)
class BinPlan:
    """What is dropped into a bin of inner size (2,) mm, in this order, and how high the bin's walls are."""

    shapes: list[Shape]
    pieces: list[list[Mesh]]
    kinds: list[Kind]
    obj_ids: list[int | None]
    size_mm: tuple[float, float]
    wall_height_mm: float


def plan_bin(models: Mapping[int, Model], settings: SceneSettings, rng: np.random.Generator) -> BinPlan:
    """Draw parts, foreign shapes and a bin."""
    size = rng.uniform(*settings.bin_size_mm, 2)
    wall_height = float(rng.uniform(*settings.wall_height_mm))
    chosen: list[tuple[Shape, list[Mesh], Kind, int | None]] = []
    for part_id in draw_ids(models, settings, rng):
        chosen.append((models[part_id].shape, models[part_id].pieces, "part", part_id))
    for _ in range(rng.integers(settings.distractors[0], settings.distractors[1] + 1)):
        mesh = distractor(rng)
        chosen.append((Shape(mesh), [mesh], "distractor", None))
    shapes, pieces, kinds, obj_ids = zip(*(chosen[index] for index in rng.permutation(len(chosen))), strict=True)
    return BinPlan(
        list(shapes), list(pieces), list(kinds), list(obj_ids), (float(size[0]), float(size[1])), wall_height
    )


def filled_bin(plan: BinPlan, poses: Sequence[Array]) -> Arrangement:
    """Parts and foreign shapes in their bin as physics left them (`physics.settle`); what fell out is left away."""
    arrangement = Arrangement(half_size_mm=(plan.size_mm[0] / 2, plan.size_mm[1] / 2))
    for shape, kind, obj_id, T in zip(plan.shapes, plan.kinds, plan.obj_ids, poses, strict=True):
        if (np.abs(T[:2, 3]) < np.array(plan.size_mm) / 2).all() and T[2, 3] > 0:
            arrangement.add(shape, T, kind, obj_id)
    _add_bin(arrangement, plan.wall_height_mm)
    return arrangement


def draw_ids(models: Mapping[int, Model], settings: SceneSettings, rng: np.random.Generator) -> list[int]:
    """Object ids of a scene's parts: all objects equally often, in random order, each at most once more than others."""
    count = int(rng.integers(settings.instances[0], settings.instances[1] + 1))
    ids = sorted(models)
    rounds = [rng.permutation(ids) for _ in range(-(-count // len(ids)))]
    return [int(obj_id) for obj_id in np.concatenate(rounds)[:count]]


def square(half_mm: float) -> Shape:
    """A square in the plane z = 0 that faces up, about the origin."""
    corners = half_mm * np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    return Shape(Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]])))


def _add_bin(arrangement: Arrangement, height: float) -> None:
    arrangement.add(square(FLOOR_HALF_MM), np.eye(4), "floor")
    x, y = arrangement.half_size_mm
    boxes = []
    for sign in (-1, 1):
        boxes.append(box([WALL_MM, 2 * y + 2 * WALL_MM, height], [sign * (x + WALL_MM / 2), 0, height / 2]))
        boxes.append(box([2 * x, WALL_MM, height], [0, sign * (y + WALL_MM / 2), height / 2]))
    arrangement.add(Shape(merged(boxes)), np.eye(4), "wall")


def floating_parts(
    models: Mapping[int, Model], settings: SceneSettings, focal_px: float, rng: np.random.Generator
) -> Arrangement:
    """Parts in any pose in front of a camera at the world's origin that looks along +z, and shapes between them.

    Depth follows from the projected size asked for; centres keep some distance in the picture and may lie on its
    border, spheres of half the diameter do not intersect.
    """
    arrangement = Arrangement()
    placed: list[tuple[Array, float]] = []
    for obj_id in draw_ids(models, settings, rng):
        model = models[obj_id]
        T = _free_pose(model.diameter_mm, settings, focal_px, placed, rng)
        if T is not None:
            arrangement.add(model.shape, T, "part", obj_id)
    typical = float(np.mean([model.diameter_mm for model in models.values()]))
    for _ in range(rng.integers(settings.distractors[0], settings.distractors[1] + 1)):
        mesh = distractor(rng, typical / 110)
        T = _free_pose(typical * 0.7, settings, focal_px, placed, rng)
        if T is not None:
            arrangement.add(Shape(mesh), T, "distractor")
    if rng.random() < 0.5:
        _add_backdrop(arrangement, max(center[2] + radius for center, radius in placed), rng)
    return arrangement


def _free_pose(
    diameter_mm: float,
    settings: SceneSettings,
    focal_px: float,
    placed: list[tuple[Array, float]],
    rng: np.random.Generator,
) -> Array | None:
    """A pose whose sphere meets none of those placed (and is added to them); None if forty tries fail."""
    image = np.array([settings.width, settings.height])
    for _ in range(40):
        size_px = float(np.exp(rng.uniform(*np.log(settings.object_px))))
        z = focal_px * diameter_mm / size_px
        uv = (rng.random(2) - 0.5) * (image + 0.3 * size_px)
        center = np.array([*(uv / focal_px * z), z])
        radius = 0.45 * diameter_mm
        apart = all(np.linalg.norm(center - other) > radius + r for other, r in placed)
        clear = all(
            np.linalg.norm(uv - other[:2] / other[2] * focal_px) > 0.35 * (size_px + 2 * r / other[2] * focal_px) / 2
            for other, r in placed
        )
        if apart and clear:
            placed.append((center, radius))
            return from_rotation_translation(random_rotation(rng), center)
    return None


def _add_backdrop(arrangement: Arrangement, depth_mm: float, rng: np.random.Generator) -> None:
    """A large tilted plane behind everything, so that parts cast shadows on something."""
    tilt, turn = rng.uniform(0, 0.9), rng.uniform(0, 2 * np.pi)
    z = np.array([np.sin(tilt) * np.cos(turn), np.sin(tilt) * np.sin(turn), -np.cos(tilt)])
    T = from_rotation_translation(_frame_of(z), [0, 0, depth_mm * rng.uniform(1.1, 1.6)])
    arrangement.add(square(20 * depth_mm), T, "floor")


def _frame_of(z: Array) -> Array:
    """A rotation (3, 3) whose third column is the unit vector z."""
    x = np.cross([0.0, 1.0, 0.0] if abs(z[1]) < 0.9 else [1.0, 0.0, 0.0], z)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z], axis=1)


def intrinsics(K_sensor: Array, settings: SceneSettings, rng: np.random.Generator) -> Array:
    """Intrinsics of a picture: the sensor's focal lengths, scaled, the principal point in the picture's middle.

    Both are scaled alike, but for the look `cosypose`, whose recording draws them one by one.
    """
    scale = rng.uniform(*settings.focal_scale, 2 if settings.look == "cosypose" else 1)
    K = np.eye(3)
    K[0, 0], K[1, 1] = K_sensor[0, 0] * scale[0], K_sensor[1, 1] * scale[-1]
    K[:2, 2] = (settings.width - 1) / 2, (settings.height - 1) / 2
    return K


def camera_above(arrangement: Arrangement, settings: SceneSettings, rng: np.random.Generator) -> Array:
    """T_cam_world (4, 4) of a camera above the bin that looks at a point among the parts, its roll drawn too."""
    target = np.array([*(rng.uniform(-0.35, 0.35, 2) * arrangement.half_size_mm), 15.0])
    low, high = np.sin(np.radians(settings.elevation_deg))
    sine, azimuth = rng.uniform(low, high), rng.uniform(0, 2 * np.pi)  # uniform on the sphere
    cosine = np.sqrt(1 - sine**2)
    back = np.array([cosine * np.cos(azimuth), cosine * np.sin(azimuth), sine])
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    down = np.cross(-back, right)
    roll = rng.normal(0, np.radians(12)) if settings.look == "test" else rng.uniform(0, 2 * np.pi)
    x, y = np.cos(roll) * right + np.sin(roll) * down, -np.sin(roll) * right + np.cos(roll) * down
    R = np.stack([x, y, -back])
    position = target + rng.uniform(*settings.distance_mm) * back
    return from_rotation_translation(R, -R @ position)


def distractor(rng: np.random.Generator, scale: float = 1.0) -> Mesh:
    """A convex foreign shape of up to 75 mm times `scale`: box, cylinder, cone or ellipsoid, about the origin."""
    size = rng.uniform(15, 75, 3) * scale * rng.uniform(0.5, 1)
    kind = int(rng.integers(0, 4))
    if kind == 0:
        return box(size)
    return ellipsoid(size) if kind == 3 else cylinder(size, taper=1.0 if kind == 1 else 0.3)
