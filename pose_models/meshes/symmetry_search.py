"""Symmetries of an object found from its surface: candidate axes proposed, each verified by distance.

A turn that maps a surface onto itself leaves its centroid and its second moments alone: its axis goes through the
centroid along an eigenvector, and a turn by less than half needs two equal eigenvalues. What that leaves is tried,
refined by fitting the turned surface to the surface, and verified at thousands of points. The result is a proposal:
texture and function may break a symmetry that the shape has, and a small mark may break one that nobody cares about.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models.geometry.symmetries import rotation_about_axis
from pose_models.geometry.symmetry_groups import generated_group, turn
from pose_models.geometry.transforms import apply
from pose_models.meshes.bounds import diameter
from pose_models.meshes.keypoints import farthest_points
from pose_models.meshes.visibility import fibonacci_directions

Array = NDArray[np.float64]
ORDERS = (*range(2, 25), 30, 32, 36)
FEW_ORDERS = (2, 3, 4, 5)  # of axes that are not alone; no finite group but those about one axis has others
PROBE_TURNS = np.array([0.9, 2.13, 1.0 / 36, 3.7])  # rad; all of them fit only if every turn does
EQUAL_MOMENTS = 0.1  # relative difference below which two moments may be equal
COARSE = 0.08  # share of the diameter by which an unrefined candidate may miss
SNAP_RAD = 0.01
SAME_AXIS_RAD = 0.05
NEIGHBOURHOOD_RAD = 0.12


class SurfaceDistance:
    """Distances to a surface given by even samples and their normals; between samples it counts as flat.

    Args:
        points, normals: (N, 3) mm and unit.
        spacing: largest distance of neighbouring samples, mm.
    """

    def __init__(self, points: Array, normals: Array, spacing: float) -> None:
        from scipy.spatial import cKDTree

        self.points, self.normals, self._spacing = points, normals, spacing
        self._tree = cKDTree(points)

    def at(self, queries: Array, neighbours: int = 6) -> Array:
        """Distances (Q,) of points (Q, 3)."""
        _, index = self._tree.query(queries, neighbours)
        offset = queries[:, None] - self.points[index]
        height = (offset * self.normals[index]).sum(axis=2)
        aside = np.sqrt(np.maximum((offset**2).sum(axis=2) - height**2, 0))
        return np.asarray(np.sqrt(height**2 + np.maximum(aside - self._spacing, 0) ** 2).min(axis=1))

    def nearest(self, queries: Array) -> Array:
        """Distances (Q,) of points (Q, 3) to the nearest sample."""
        return np.asarray(self._tree.query(queries)[0])

    def fitted(self, queries: Array, T: Array, rounds: int = 12) -> Array:
        """The transform (4, 4) near T that lays the queries (Q, 3) best onto the surface (point-to-plane ICP)."""
        for _ in range(rounds):
            moved = apply(T, queries)
            index = self._tree.query(moved)[1]
            normal = self.normals[index]
            gap = ((self.points[index] - moved) * normal).sum(axis=1)
            A = np.concatenate([np.cross(moved, normal), normal], axis=1)
            # A little damping, for what slides along itself (a body of revolution about its axis) must not run away.
            H = A.T @ A
            step = np.linalg.solve(H + 1e-6 * np.trace(H) / 6 * np.eye(6), A.T @ gap)
            angle = float(np.linalg.norm(step[:3]))
            delta = np.eye(4)
            if angle > 1e-12:
                delta[:3, :3] = rotation_about_axis(step[:3], np.array([angle]))[0]
            delta[:3, 3] = step[3:]
            T = delta @ T
        return T


@dataclasses.dataclass(frozen=True)
class AxisFinding:
    """A turn about an axis through `center` (3,) mm, `order` to the full turn (0: any angle), and how well it fits."""

    axis: Array
    center: Array
    order: int
    worst_mm: float
    mean_mm: float

    @property
    def angle_rad(self) -> float:
        """The smallest turn; for any angle, one of them."""
        return 2 * np.pi / self.order if self.order else float(PROBE_TURNS[0])

    def transform(self) -> Array:
        """The turn (4, 4) by `angle_rad`."""
        return turn(self.axis, self.angle_rad, self.center)


@dataclasses.dataclass(frozen=True)
class SymmetryProposal:
    """Symmetries within `tolerance_mm`: generating findings, all discrete turns (S, 4, 4), and what nearly fitted."""

    findings: list[AxisFinding]
    discrete: Array
    nearly: list[AxisFinding]
    tolerance_mm: float

    def entry(self) -> dict[str, Any]:
        """The keys that `models_info.json` has for it."""
        result: dict[str, Any] = {}
        if len(self.discrete):
            result["symmetries_discrete"] = [T.reshape(-1).tolist() for T in self.discrete]
        axes = [finding for finding in self.findings if finding.order == 0]
        if axes:
            result["symmetries_continuous"] = [{"axis": f.axis.tolist(), "offset": f.center.tolist()} for f in axes]
        return result


def propose_symmetries(points: Array, normals: Array, spacing: float, tolerance: float = 0.01) -> SymmetryProposal:
    """Search for symmetries of a surface.

    Args:
        points, normals: (N, 3) even samples of the visible surface, mm, and their unit normals.
        spacing: largest distance of neighbouring samples, mm.
        tolerance: largest distance of the turned surface to the surface, as a share of the diameter.
    """
    size = diameter(points)
    surface = SurfaceDistance(points, normals, spacing)
    center = points.mean(axis=0)
    rng = np.random.default_rng(0)
    far = farthest_points(points, min(200, len(points)), center)
    few = points[np.concatenate([far, rng.choice(len(points), 200)])]
    many = points[np.concatenate([far, rng.choice(len(points), 4000)])]
    found: list[AxisFinding] = []
    for axis, orders in _candidates(surface, few, center, size):
        if any(_same_axis(axis, f.axis) for f in found):
            continue
        finding = _examine(surface, few, many, axis, center, orders, size, tolerance)
        if finding is not None and not any(_same_axis(finding.axis, f.axis) for f in found):
            found.append(finding)
        if sum(f.order == 0 and f.worst_mm <= tolerance * size for f in found) > 1:
            break  # a ball
    good = sorted((f for f in found if f.worst_mm <= tolerance * size), key=lambda f: (f.order != 0, -f.order))
    nearly = sorted((f for f in found if f.worst_mm > tolerance * size), key=lambda f: f.worst_mm)
    return SymmetryProposal(*_group(good), nearly[:5], tolerance * size)


def _candidates(
    surface: SurfaceDistance, few: Array, center: Array, size: float
) -> list[tuple[Array, tuple[int, ...]]]:
    """Axes that second moments allow, with the orders to try; refined ones come from `_examine`."""
    moments, axes = np.linalg.eigh(np.cov(surface.points.T))
    scale = moments.max()
    equal = [abs(moments[i] - moments[j]) < EQUAL_MOMENTS * scale for i, j in ((1, 2), (0, 2), (0, 1))]
    # Orders above two need the two other moments to be equal; 0 stands for any angle.
    chosen = [(axes[:, k], (0, *ORDERS) if equal[k] else (2,)) for k in range(3)]
    if all(equal):
        directions = fibonacci_directions(3000)
        directions = directions[directions[:, 2] >= 0]
        return chosen + _passing(surface, few, directions, center, (0, *FEW_ORDERS), size)
    for k in range(3):
        if equal[k]:  # any direction across the axis may carry a half turn
            angles = np.linspace(0, np.pi, 90, endpoint=False)
            across = rotation_about_axis(axes[:, k], angles) @ axes[:, (k + 1) % 3]
            chosen += _passing(surface, few, across, center, (2,), size)
    return chosen


def _passing(
    surface: SurfaceDistance, few: Array, directions: Array, center: Array, orders: tuple[int, ...], size: float
) -> list[tuple[Array, tuple[int, ...]]]:
    """Directions about which some turn of the orders misses by little, best first."""
    turns = np.array([2 * np.pi / order if order else PROBE_TURNS[0] for order in orders])
    few = few[:100]
    misses = np.empty(len(directions))
    for index, axis in enumerate(directions):
        moved = np.concatenate([(few - center) @ R.T for R in rotation_about_axis(axis, turns)]) + center
        misses[index] = surface.nearest(moved).reshape(len(turns), -1).max(axis=1).min()
    chosen: list[tuple[Array, tuple[int, ...]]] = []
    for index in np.argsort(misses):  # the best of its neighbourhood stands for it
        if misses[index] > COARSE * size:
            break
        if not any(_same_axis(directions[index], axis, NEIGHBOURHOOD_RAD) for axis, _ in chosen):
            chosen.append((directions[index], orders))
    return chosen


def _examine(
    surface: SurfaceDistance,
    few: Array,
    many: Array,
    axis: Array,
    center: Array,
    orders: tuple[int, ...],
    size: float,
    tolerance: float,
) -> AxisFinding | None:
    """The finest turn about an axis that fits; else the one that misses least, if by less than a tenth of the size."""
    best: AxisFinding | None = None
    if 0 in orders:
        finding = _refined(surface, few, many, axis, center, 0, size, tolerance)
        if finding is not None and finding.worst_mm <= tolerance * size:
            return finding
        best = finding
    for order in sorted(set(orders) - {0}, reverse=True):
        if surface.nearest(apply(turn(axis, 2 * np.pi / order, center), few)).max() > COARSE * size:
            continue
        finding = _refined(surface, few, many, axis, center, order, size, tolerance)
        if finding is not None and finding.worst_mm <= tolerance * size:
            return finding
        if finding is not None and (best is None or finding.worst_mm < best.worst_mm):
            best = finding
    return best if best is not None and best.worst_mm < 0.1 * size else None


def _refined(
    surface: SurfaceDistance,
    few: Array,
    many: Array,
    axis: Array,
    center: Array,
    order: int,
    size: float,
    tolerance: float,
) -> AxisFinding | None:
    """The finding near an axis, fitted to the surface and put on the model's own axes where that fits as well."""
    angle = 2 * np.pi / order if order else float(PROBE_TURNS[0])
    T = surface.fitted(few, turn(axis, angle, center))
    fitted = _axis_of(T)
    if fitted is None or not _same_axis(fitted, axis, 0.3):
        return None
    fitted = fitted if fitted @ axis > 0 else -fitted
    # The fixed point nearest to the centroid: (I - R) x = t, and nothing along the axis.
    system = np.concatenate([np.eye(3) - T[:3, :3], fitted[None]])
    place = np.linalg.lstsq(system, np.append(T[:3, 3], fitted @ center), rcond=None)[0]
    result = _measured(surface, many, fitted, place, order)
    neat_axis = np.eye(3)[np.abs(fitted).argmax()]
    near_zero = place - (place @ neat_axis) * neat_axis
    neat_place = np.zeros(3) if np.linalg.norm(near_zero) < 0.005 * size else place
    if np.arccos(min(1.0, float(np.abs(fitted).max()))) < SNAP_RAD:
        neat = _measured(surface, many, neat_axis, neat_place, order)
        if neat.worst_mm <= max(1.2 * result.worst_mm, 0.1 * tolerance * size):
            return neat
    return result


def _axis_of(T: Array) -> Array | None:
    """Unit axis (3,) of a transform's rotation; None without one."""
    from scipy.spatial.transform import Rotation

    vector = Rotation.from_matrix(T[:3, :3]).as_rotvec()
    length = np.linalg.norm(vector)
    return np.asarray(vector / length) if length > 0.05 else None


def _measured(surface: SurfaceDistance, many: Array, axis: Array, center: Array, order: int) -> AxisFinding:
    angles = [2 * np.pi / order] if order else PROBE_TURNS
    distance = np.concatenate([surface.at(apply(turn(axis, float(a), center), many)) for a in angles])
    return AxisFinding(axis, center, order, float(distance.max()), float(distance.mean()))


def _same_axis(a: Array, b: Array, limit: float = SAME_AXIS_RAD) -> bool:
    return bool(abs(float(a @ b)) > np.cos(limit))


def _group(good: list[AxisFinding]) -> tuple[list[AxisFinding], Array]:
    """The findings that generate all others, and the discrete turns they generate, (S, 4, 4) without the identity.

    Raises:
        ValueError: the turns do not close, as those of a group must; a smaller tolerance leaves out what does not fit.
    """
    free = [f for f in good if f.order == 0]
    if len(free) > 1:  # a ball: three axes stand for all turns, for the format knows no other way
        center = np.mean([f.center for f in free], axis=0)
        worst, mean = max(f.worst_mm for f in free), max(f.mean_mm for f in free)
        return [AxisFinding(axis, center, 0, worst, mean) for axis in np.eye(3)], np.zeros((0, 4, 4))
    if free:  # one flip of the axis is enough: the axis' own turns make all others from it
        flips = [f for f in good if f.order == 2 and abs(f.axis @ free[0].axis) < np.sin(SAME_AXIS_RAD)]
        flips = sorted(flips, key=lambda f: f.worst_mm)[:1]
        turns = np.stack([f.transform() for f in flips]) if flips else np.zeros((0, 4, 4))
        return [*free, *flips], turns
    generators: list[AxisFinding] = []
    elements = np.zeros((0, 4, 4))
    center = np.mean([f.center for f in good], axis=0) if good else np.zeros(3)
    for finding in good:
        own = dataclasses.replace(finding, center=center if len(good) > 1 else finding.center)
        R = own.transform()[:3, :3]
        if len(elements) and np.abs(elements[:, :3, :3] - R).max(axis=(1, 2)).min() < 0.1:
            continue
        generators.append(own)
        elements = generated_group([f.transform() for f in generators], tolerance=0.02)
    return generators, elements
