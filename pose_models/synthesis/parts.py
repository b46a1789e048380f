"""The demo's mechanical parts, made by constructive solid geometry (millimetres, origin at the centre of the box).

Each part also lists convex pieces that make it up, for physics. Part 1 has no symmetry, part 2 is its own image after
half a turn about z, part 3 is turned about z (and not its own image when flipped). Everything is drawn from a seed:
the proportions vary a little, the kind of symmetry does not.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models.meshes.mesh import Mesh

Array = NDArray[np.float64]
SEGMENTS = 64  # of a full turn; a multiple of 4 keeps the turned part centred
HALF_TURN = [-1.0, 0, 0, 0, 0, -1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]


@dataclasses.dataclass(frozen=True)
class Part:
    """A part: its surface, an evenly meshed twin for evaluation, convex pieces, and its symmetries in BOP's terms."""

    mesh: Mesh
    eval_mesh: Mesh
    convex_pieces: list[Mesh]
    symmetries: dict[str, Any]


def demo_parts(seed: int) -> dict[int, Part]:
    """The demo's parts by object id; the same seed gives the same parts."""
    makers = {1: _bracket, 2: _coupling, 3: _turned}
    return {obj_id: make(np.random.default_rng([seed, obj_id])) for obj_id, make in makers.items()}


def _bracket(rng: np.random.Generator) -> Part:
    """No symmetry: an angle with a slanted wall, one rib, a boss, a hole, a cut corner and a slot seen from below."""
    length, width, base, height, wall = 76 + rng.uniform(-3, 3), 48.0, 9.0, 44 + rng.uniform(-2, 2), 9.0
    plate = _prism([(0, 0), (length, 0), (length, width - 20), (length - 20, width), (0, width)], 0, base)
    upright = _prism([(0, 0), (width, 0), (width, 17), (width - 22, height), (0, height)], 0, wall)
    upright = upright.rotate((90, 0, 90))  # its profile stands in the y-z plane
    rib = _prism([(wall - 1, base - 1), (38, base - 1), (wall - 1, 33)], 0, 7).rotate((90, 0, 0)).translate((0, 10, 0))
    boss = _cylinder(12, 12, (length - 27, 13, base - 0.5), 15.5)
    foot = _box((15, 11, 8), (length - 16, width - 33, -8 + 0.5))
    solid = plate + upright + rib + boss + foot
    bore = _cylinder(7, 7, (length - 27, 13, base + 3), 30)
    hole = _cylinder(8, 8, (24, width - 15, -1), base + 2)
    window = _cylinder(5.5, 5.5, (0, 0, -1), wall + 2).rotate((0, 90, 0)).translate((0, 15, height - 14))
    slot = _box((26, 7, 5), (20, 8, -0.5))
    return _part(solid - bore - hole - window - slot, [plate, upright, rib, boss, foot], {})


def _coupling(rng: np.random.Generator) -> Part:
    """Half-turn symmetry about z: an S of two arms around a hub; its top and its bottom differ."""
    reach, arm = 38 + rng.uniform(-2, 2), 15.0
    hub = _cylinder(17, 14, (0, 0, 0), 34)
    bar = _box((reach + 6, arm, 14), (0, 2, 0))
    hook = _box((arm, 24, 14), (reach - 9, 2, 0))
    pin = _cylinder(6, 6, (reach - 1.5, 18, 13), 11)
    lug = _prism([(8, -6), (26, -6), (10, -24)], 0, 9)
    half = [bar, hook, pin, lug]
    pieces = [hub, *half, *(piece.rotate((0, 0, 180)) for piece in half)]
    cut = _cylinder(8, 8, (0, 0, 22), 20) + _box((30, 5, 8), (-15, -2.5, 29))
    groove = _box((20, 5, 4), (14, 7, -0.5))
    cut = cut + groove + groove.rotate((0, 0, 180))
    solid = functools.reduce(lambda a, b: a + b, pieces) - cut
    return _part(solid, pieces, {"symmetries_discrete": [HALF_TURN]})


def _turned(rng: np.random.Generator) -> Part:
    """Continuous symmetry about z: flange, neck, collar and cone, bored from the flange's side."""
    flange, neck, collar = 29 + rng.uniform(-1, 1), 11.0, 18.0
    profile: list[tuple[float, float]] = [
        (0, flange),
        (9, flange),
        (13, neck + 5),
        (17, neck),
        (34, neck),
        (34, collar),
        (46, collar),
    ]
    profile += [(62, 8.5), (78, 7)]
    pieces = []
    for (z0, r0), (z1, r1) in itertools.pairwise(profile):
        if z1 > z0:
            pieces.append(_cylinder(r0, r1, (0, 0, z0), z1 - z0))
    outline: list[tuple[float, float]] = [(0, 0), *((r, z) for z, r in profile), (0, profile[-1][0])]
    solid = _revolve(outline) - _revolve([(0, -1), (19, -1), (19, 4), (7, 6), (7, 27), (0, 31)])
    axis = {"axis": [0.0, 0.0, 1.0], "offset": [0.0, 0.0, 0.0]}
    return _part(solid, pieces, {"symmetries_continuous": [axis]})


def _part(solid: Any, pieces: list[Any], symmetries: dict[str, Any], eval_edge_mm: float = 6.0) -> Part:
    """Centre a solid and its pieces on the solid's box; mesh it coarsely and evenly."""
    bounds = np.array(solid.bounding_box())
    shift = tuple(-(bounds[:3] + bounds[3:]) / 2)
    solid = solid.translate(shift)
    even = _mesh(solid.refine_to_length(eval_edge_mm))
    return Part(_mesh(solid), even, [_mesh(piece.translate(shift)) for piece in pieces], symmetries)


def _mesh(solid: Any) -> Mesh:
    """Triangles of a manifold, vertices rounded to a thousandth of a millimetre so that a PLY holds them well."""
    raw = solid.to_mesh()
    vertices = np.round(np.asarray(raw.vert_properties, dtype=np.float64)[:, :3], 3)
    return Mesh(vertices, np.asarray(raw.tri_verts, dtype=np.int64))


def _box(size: tuple[float, float, float], corner: tuple[float, float, float]) -> Any:
    from manifold3d import Manifold

    return Manifold.cube(size).translate(corner)


def _cylinder(bottom: float, top: float, base: tuple[float, float, float], height: float) -> Any:
    """Upright cylinder or cone with the given radii, standing on the point `base`."""
    from manifold3d import Manifold

    return Manifold.cylinder(height, bottom, top, circular_segments=48).translate(base)


def _prism(outline: list[tuple[float, float]], z: float, height: float) -> Any:
    return _cross_section(outline).extrude(height).translate((0, 0, z))


def _revolve(outline: list[tuple[float, float]]) -> Any:
    """Turn an outline of (radius, z) about z."""
    return _cross_section(outline).revolve(circular_segments=SEGMENTS)


def _cross_section(outline: list[tuple[float, float]]) -> Any:
    """A polygon; its corners may go round either way."""
    from manifold3d import CrossSection, FillRule

    return CrossSection([np.array(outline, dtype=np.float64)], fillrule=FillRule.EvenOdd)
