"""Even samples of a surface with their normals (surfemb.md section 6): Poisson-disk sampling by dart throwing."""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pose_models.meshes.mesh import Mesh
from pose_models.meshes.sampling import AreaSampler

Array = NDArray[np.float64]
CANDIDATES_PER_SAMPLE = 20
POOL = 10  # candidates compared for one choice
WIDEST_GAP = 1.05  # a point of the surface farther than this many radii from all samples becomes one


def disk_radius(area: float, count: int) -> float:
    """Least distance of two samples for a target count: sqrt(A / (0.7 pi N)); about 1.47 N samples fit."""
    return float(np.sqrt(area / (0.7 * np.pi * count)))


def even_samples(mesh: Mesh, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """At least `count` samples of a surface that leave no gap, with the normals of their faces.

    Samples are `disk_radius` of the target apart or farther. The target is `count`; where fewer fit, as on both
    sides of a thin sheet, it is raised by half until they do.

    Samples are chosen from a dense random pool cell by cell (cells as wide as the radius): of up to ten candidates in
    the cell the one that rules out the fewest others, which packs the disks as densely as the reference tool does.

    Returns:
        points (M, 3) and unit normals (M, 3), M about 1.47 `count`.
    """
    target, points = count, np.zeros((0, 3))
    while len(points) < count:
        points, normals = _samples(mesh, target, rng)
        target = math.ceil(1.5 * target)
    return points, normals


def _samples(mesh: Mesh, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """The samples of one disk radius."""
    radius = disk_radius(float(mesh.face_areas().sum()), count)
    sampler = AreaSampler(mesh)
    points, faces = _packed(*sampler.draw_with_faces(CANDIDATES_PER_SAMPLE * count, rng), radius, rng)
    # The pool has holes of its own: a second one finds the widest gaps left.
    more, more_faces = sampler.draw_with_faces(CANDIDATES_PER_SAMPLE * count, rng)
    gap = np.isinf(cKDTree(points).query(more, distance_upper_bound=WIDEST_GAP * radius)[0])
    if gap.any():
        more, more_faces = _packed(more[gap], more_faces[gap], radius, rng)
        points, faces = np.concatenate([points, more]), np.concatenate([faces, more_faces])
    return points, mesh.face_normals()[faces]


def _packed(
    points: Array, faces: NDArray[np.int64], radius: float, rng: np.random.Generator
) -> tuple[Array, NDArray[np.int64]]:
    """Densely packed choice of a pool of points (P, 3), at least `radius` apart, with their faces."""
    cells = np.floor((points - points.min(axis=0)) / radius).astype(np.int64) + 1
    sides = cells.max(axis=0) + 2
    key = (cells[:, 0] * sides[1] + cells[:, 1]) * sides[2] + cells[:, 2]
    order = np.argsort(key, kind="stable")
    points, faces = points[order], faces[order]
    keys, first = np.unique(key[order], return_index=True)
    step = np.array([(i * sides[1] + j) * sides[2] + k for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)])
    wanted = keys[:, None] + step
    found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    neighbours = np.where(keys[found] == wanted, found, -1)
    bounds = np.append(first, len(points))
    chosen = _pack(points, bounds, neighbours, rng.permutation(len(keys)), radius * radius)
    return points[chosen], faces[chosen]


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _pack(
    points: Array, bounds: NDArray[np.int64], neighbours: NDArray[np.int64], order: NDArray[np.int64], square: float
) -> NDArray[np.int64]:
    """Indices of the chosen points (P, 3): passes over the cells in order, one choice per cell, until none is free.

    bounds: (C + 1,) first point of every cell. neighbours: (C, 27) cells around each, -1 where none.
    """
    free = np.ones(len(points), dtype=np.bool_)
    chosen = []
    waiting = order.copy()
    while len(waiting) > 0:
        left = 0
        for cell in waiting:
            best, fewest, tried = -1, len(points) + 1, 0
            for index in range(bounds[cell], bounds[cell + 1]):
                if free[index] and tried < POOL:
                    tried += 1
                    lost = _visit_disk(points, bounds, neighbours[cell], free, index, square, False)
                    if lost < fewest:
                        best, fewest = index, lost
            if best >= 0:
                _visit_disk(points, bounds, neighbours[cell], free, best, square, True)
                chosen.append(best)
                waiting[left] = cell
                left += 1
        waiting = waiting[:left]
    return np.array(chosen)


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _visit_disk(
    points: Array,
    bounds: NDArray[np.int64],
    around: NDArray[np.int64],
    free: NDArray[np.bool_],
    center: int,
    square: float,
    remove: bool,
) -> int:
    """Number of free points in the disk around a point, which are no longer free if `remove`."""
    count = 0
    for cell in around:
        if cell < 0:
            continue
        for index in range(bounds[cell], bounds[cell + 1]):
            if free[index]:
                x = points[index, 0] - points[center, 0]
                y = points[index, 1] - points[center, 1]
                z = points[index, 2] - points[center, 2]
                if x * x + y * y + z * z < square:
                    count += 1
                    if remove:
                        free[index] = False
    return count


def closest_faces(mesh: Mesh, points: Array) -> NDArray[np.int64]:
    """Face (N,) of a mesh that is closest to each of points (N, 3)."""
    corners = mesh.vertices[mesh.faces]
    centers = corners.mean(axis=1)
    reach = np.linalg.norm(corners - centers[:, None], axis=2).max(axis=1)
    tree = cKDTree(centers)
    nearest = np.asarray(tree.query(points)[0], dtype=np.float64)
    # The closest face's centre is no farther than the nearest centre plus that face's own size.
    candidates = tree.query_ball_point(points, nearest + reach.max() + 1e-9)
    counts = np.array([len(found) for found in candidates])
    owner = np.repeat(np.arange(len(points)), counts)
    face = np.concatenate([np.asarray(found, dtype=np.int64) for found in candidates])
    near = np.linalg.norm(points[owner] - centers[face], axis=1) - reach[face] <= nearest[owner] + 1e-9
    owner, face = owner[near], face[near]
    distance = triangle_distance(points[owner], corners[face])
    order = np.lexsort((face, distance, owner))
    first = np.unique(owner[order], return_index=True)[1]
    return np.asarray(face[order][first])


def closest_face_normals(mesh: Mesh, points: Array) -> Array:
    """Unit normal (N, 3) of the face closest to each of points (N, 3)."""
    return np.asarray(mesh.face_normals()[closest_faces(mesh, points)])


def triangle_distance(points: Array, corners: Array) -> Array:
    """Distances (N,) of points (N, 3) to triangles (N, 3, 3), one each."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    normal = np.cross(b - a, c - a)
    square = np.maximum((normal**2).sum(axis=1), 1e-300)
    inside = np.ones(len(points), dtype=bool)
    edge_distance = np.full(len(points), np.inf)
    for start, end in ((a, b), (b, c), (c, a)):
        edge, offset = end - start, points - start
        inside &= (np.cross(edge, offset) * normal).sum(axis=1) >= 0
        length = np.maximum((edge**2).sum(axis=1), 1e-300)
        along = np.clip((edge * offset).sum(axis=1) / length, 0, 1)
        edge_distance = np.minimum(edge_distance, np.linalg.norm(offset - along[:, None] * edge, axis=1))
    height = np.abs(((points - a) * normal).sum(axis=1)) / np.sqrt(square)
    flat = square <= 1e-300
    return np.asarray(np.where(inside & ~flat, height, edge_distance))
