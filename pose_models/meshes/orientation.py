"""Which way faces look: meshes whose faces, all or some, look inwards are found and mended.

Two facts decide, none of them a name: faces that share an edge must go round it in opposite directions, and what can be
seen from outside must look outwards. ITODD's object 18 is such a mesh (surfemb.md section 6).
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from pose_models.meshes.mesh import Mesh
from pose_models.meshes.sampling import AreaSampler
from pose_models.meshes.visibility import Openness, fibonacci_directions

SAMPLES = 20_000
LEAST_PER_PATCH = 16
VIEWS = 64
CLEAR = 1.5  # a patch is turned if its back is that much more visible than its front


@dataclasses.dataclass(frozen=True)
class Orientation:
    """What `outward` found: share of the area that it turned, patches in all, turned, and with no sides to tell."""

    turned_share: float
    patches: int
    turned: int
    one_sided: int

    def __str__(self) -> str:
        text = f"{self.turned_share:.1%} of the area looked inwards and was turned"
        patches = f"{self.turned} of {self.patches} connected patches"
        return f"{text} ({patches}" + (f", {self.one_sided} of all are one-sided)" if self.one_sided else ")")


def outward(mesh: Mesh) -> tuple[Mesh, Orientation]:
    """The mesh with its visible faces looking outwards; hidden ones agree with their neighbours and stay otherwise.

    Faces that are connected by edges of exactly two faces are a patch. Within a patch all faces take the side of the
    larger area; a patch whose back is clearly more visible from outside than its front is then turned. A patch that
    cannot be seen is not turned, for the wall of a cavity and a part inside out look alike. Nothing changes, to the
    bit, where all is well.
    """
    patch, sign, one_sided = _consistent(mesh)
    count = int(patch.max()) + 1
    areas = mesh.face_areas()
    kept = np.bincount(patch, weights=areas * (sign > 0), minlength=count)
    total = np.bincount(patch, weights=areas, minlength=count)
    sign = np.where((kept < total - kept)[patch], -sign, sign)
    front, back = _exposure(_turned(mesh, sign < 0), patch, count)
    sign = np.where((back > CLEAR * front)[patch], -sign, sign)
    turn = sign < 0
    if not turn.any():
        return mesh, Orientation(0.0, count, 0, one_sided)
    share = float(areas[turn].sum() / max(areas.sum(), 1e-300))
    return _turned(mesh, turn), Orientation(share, count, len(np.unique(patch[turn])), one_sided)


def flipped(mesh: Mesh) -> Mesh:
    """The same surface with all faces looking the other way."""
    return _turned(mesh, np.ones(len(mesh.faces), dtype=bool))


def _turned(mesh: Mesh, turn: NDArray[np.bool_]) -> Mesh:
    """The mesh with the chosen faces (F,) looking the other way."""
    faces = np.where(turn[:, None], mesh.faces[:, ::-1], mesh.faces)
    uv = None if mesh.uv is None else np.where(turn[:, None, None], mesh.uv[:, ::-1], mesh.uv)
    return dataclasses.replace(mesh, faces=faces, uv=uv)


def _consistent(mesh: Mesh) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Patch (F,) of each face, its sign (F,), +1 or -1, that makes the patch consistent, and the one-sided patches."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    # Vertices at the same place count as one.
    _, place = np.unique(np.round(mesh.vertices, 5), axis=0, return_inverse=True)
    faces = place.reshape(-1)[mesh.faces]
    count = len(faces)
    start, end = faces.reshape(-1), np.roll(faces, -1, axis=1).reshape(-1)
    owner = np.repeat(np.arange(count), 3)
    real = start != end
    start, end, owner = start[real], end[real], owner[real]
    _, edge, uses = np.unique(
        np.stack([np.minimum(start, end), np.maximum(start, end)]), axis=1, return_inverse=True, return_counts=True
    )
    edge = edge.reshape(-1)
    order = np.argsort(edge, kind="stable")
    pair = order[uses[edge[order]] == 2].reshape(-1, 2)
    a, b = owner[pair[:, 0]], owner[pair[:, 1]]
    agree = start[pair[:, 0]] != start[pair[:, 1]]
    # A graph of every face twice, as it is and turned: what is connected fits together.
    other = np.where(agree, b, b + count)
    rows = np.concatenate([a, a + count])
    columns = np.concatenate([other, np.where(agree, b + count, b)])
    size = 2 * count
    _, label = connected_components(
        coo_array((np.ones(len(rows)), (rows, columns)), shape=(size, size)), directed=False
    )
    as_is, turned = label[:count], label[count:]
    _, first, patch = np.unique(np.minimum(as_is, turned), return_index=True, return_inverse=True)
    patch = patch.reshape(-1)
    sign = np.where(as_is == as_is[first][patch], 1, -1)
    one_sided = len(np.unique(patch[as_is == turned]))
    return patch, sign, one_sided


def _exposure(mesh: Mesh, patch: NDArray[np.int64], count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How much of each patch's front and back (P,) is seen from outside; only their ratio means something."""
    rng = np.random.default_rng(0)
    points, face = AreaSampler(mesh).draw_with_faces(SAMPLES, rng)
    seldom = np.flatnonzero(np.bincount(patch[face], minlength=count) < LEAST_PER_PATCH)
    if len(seldom):  # small patches: the centres of their largest faces
        order = np.lexsort((-mesh.face_areas(), patch))
        first = np.searchsorted(patch[order], seldom)
        last = np.searchsorted(patch[order], seldom, side="right")
        more = np.concatenate([order[i : min(j, i + LEAST_PER_PATCH)] for i, j in zip(first, last, strict=True)])
        points = np.concatenate([points, mesh.vertices[mesh.faces[more]].mean(axis=1)])
        face = np.concatenate([face, more])
    openness, directions = Openness(mesh), fibonacci_directions(VIEWS)
    normals = mesh.face_normals()[face]
    front, back = (openness.at(points, sign * normals, directions) for sign in (1, -1))
    seen = [np.bincount(patch[face], weights=side, minlength=count).astype(np.float64) for side in (front, back)]
    return seen[0], seen[1]
