"""Symmetries found from the surface alone, of bodies whose groups are known."""

import numpy as np
import pytest

from pose_models.geometry.symmetries import symmetry_transforms
from pose_models.geometry.transforms import apply
from pose_models.meshes.mesh import Mesh
from pose_models.meshes.shapes import box, cylinder, ellipsoid, merged
from pose_models.meshes.surface import disk_radius, even_samples
from pose_models.meshes.symmetry_search import SurfaceDistance, propose_symmetries
from pose_models.synthesis.parts import demo_parts

SAMPLES = 5000


def propose(mesh, tolerance=0.01):
    points, normals = even_samples(mesh, SAMPLES, np.random.default_rng(0))
    spacing = 1.1 * disk_radius(float(mesh.face_areas().sum()), SAMPLES)
    return propose_symmetries(points, normals, spacing, tolerance)


def tilted(mesh):
    R = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    return Mesh(mesh.vertices @ (R * np.sign(np.linalg.det(R))).T + [10, 20, -5], mesh.faces)


def round_bar(taper):
    return cylinder([40, 40, 60], taper, segments=128)


@pytest.mark.parametrize(
    ("mesh", "axes", "discrete"),
    [
        (box([40, 30, 20]), 0, 3),
        (box([40, 40, 20]), 0, 7),
        (box([40, 40, 40]), 0, 23),
        (cylinder([40, 40, 60], segments=6), 0, 11),
        (cylinder([40, 40, 40], 0.3, segments=5), 0, 4),
        (ellipsoid([40, 30, 20]), 0, 3),
        (ellipsoid([40, 40, 40], 64), 3, 0),
        (round_bar(1.0), 1, 1),
        (round_bar(0.5), 1, 0),
        (merged([box([40, 30, 20]), box([5, 5, 5], [18, 10, 12])]), 0, 0),
    ],
    ids=["box", "square-box", "cube", "hexagon", "pyramid", "ellipsoid", "ball", "cylinder", "cone", "none"],
)
@pytest.mark.parametrize("turned", [False, True], ids=["upright", "tilted"])
def test_groups_of_known_bodies(mesh, axes, discrete, turned):
    if turned and axes == 3:
        pytest.skip("a ball has no tilt")
    mesh = tilted(mesh) if turned else mesh
    proposal = propose(mesh)
    entry = proposal.entry()
    assert len(entry.get("symmetries_continuous", [])) == axes
    assert len(entry.get("symmetries_discrete", [])) == discrete
    points, normals = even_samples(mesh, SAMPLES, np.random.default_rng(1))
    surface = SurfaceDistance(points, normals, 1.1 * disk_radius(float(mesh.face_areas().sum()), SAMPLES))
    for T in symmetry_transforms(entry, max_step=0.3):
        assert surface.at(apply(T, points[::10])).max() < proposal.tolerance_mm, "each of them maps the body on itself"


def test_the_demos_parts_have_the_symmetries_that_they_were_made_with():
    for part in demo_parts(0).values():
        entry = propose(part.mesh).entry()
        assert set(entry) == set(part.symmetries)
        for key, truth in part.symmetries.items():
            np.testing.assert_allclose(*(_numbers(value) for value in (entry[key], truth)), atol=1e-9)


def _numbers(value):
    return np.array([np.ravel(v["axis"]) ** 2 if isinstance(v, dict) else np.ravel(v) for v in value])


def test_a_mark_breaks_a_symmetry_that_a_wider_tolerance_forgives_and_the_miss_is_told():
    marked = merged([round_bar(0.5), box([4, 4, 3], [12, 0, -30])])  # stands out of the foot by 1.5 mm
    strict = propose(marked)
    assert not strict.entry()
    assert [finding.order for finding in strict.nearly[:1]] == [0]
    assert 1.0 < strict.nearly[0].worst_mm < 2.0
    assert "symmetries_continuous" in propose(marked, tolerance=0.03).entry()


def test_distance_is_flat_between_samples_and_grows_off_the_edge():
    mesh = box([40, 30, 20])
    points, normals = even_samples(mesh, SAMPLES, np.random.default_rng(0))
    spacing = 1.1 * disk_radius(float(mesh.face_areas().sum()), SAMPLES)
    surface = SurfaceDistance(points, normals, spacing)
    more, _ = even_samples(mesh, 1000, np.random.default_rng(5))
    assert np.median(surface.at(more)) < 1e-9
    assert surface.at(more).max() < 0.4 * spacing
    assert surface.at(np.array([[0, 0, 13.0]]))[0] == pytest.approx(3)
    assert surface.at(np.array([[25, 0, 10.0]]))[0] == pytest.approx(5, abs=2 * spacing)
