"""Faces that look inwards are found by what can be seen, and only those are turned."""

import dataclasses

import numpy as np
import pytest

from pose_models.meshes.mesh import Mesh
from pose_models.meshes.orientation import flipped, outward
from pose_models.meshes.shapes import box, cylinder, ellipsoid, merged
from pose_models.synthesis.parts import demo_parts


def signed_volume(mesh: Mesh) -> float:
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    return float((np.cross(a, b) * c).sum() / 6)


def moved(mesh: Mesh, by) -> Mesh:
    return Mesh(mesh.vertices + by, mesh.faces)


def some_turned(mesh: Mesh, turn) -> Mesh:
    return Mesh(mesh.vertices, np.where(np.asarray(turn)[:, None], mesh.faces[:, ::-1], mesh.faces))


@pytest.fixture(scope="module")
def parts():
    return [part.mesh for part in demo_parts(0).values()]


def test_a_good_mesh_is_returned_as_it_is(parts):
    for mesh in [*parts, merged([box([40, 40, 40]), box([10, 10, 10], [60, 0, 0])])]:
        same, found = outward(mesh)
        assert same is mesh
        assert found.turned == 0


def test_meshes_inside_out_get_their_volume_back(parts):
    for mesh in parts:
        mended, found = outward(flipped(mesh))
        assert signed_volume(mended) == pytest.approx(signed_volume(mesh))
        assert signed_volume(mended) > 0
        assert found.turned_share == pytest.approx(1)


def test_single_faces_turned_at_random_are_mended(parts):
    rng = np.random.default_rng(0)
    for mesh in parts:
        broken = some_turned(mesh, rng.random(len(mesh.faces)) < 0.3)
        mended, found = outward(broken)
        np.testing.assert_array_equal(np.sort(mended.face_normals(), 0), np.sort(mesh.face_normals(), 0))
        assert signed_volume(mended) == pytest.approx(signed_volume(mesh))
        assert 0.1 < found.turned_share < 0.5


def test_one_body_of_several_is_turned_alone():
    bodies = [box([40, 40, 40]), flipped(moved(cylinder([20, 20, 30]), [60, 0, 0])), ellipsoid([8, 8, 8])]
    mended, found = outward(merged(bodies))
    assert (found.patches, found.turned) == (3, 1)
    assert signed_volume(mended) == pytest.approx(signed_volume(merged([bodies[0], flipped(bodies[1]), bodies[2]])))


def test_a_cavity_that_nobody_sees_keeps_its_wall():
    hollow = merged([box([40, 40, 40]), flipped(box([30, 30, 30]))])
    assert outward(hollow)[0] is hollow
    mended, _ = outward(flipped(hollow))
    assert signed_volume(merged([Mesh(mended.vertices, mended.faces[:12])])) == pytest.approx(40**3)


def test_split_vertices_and_open_cups_are_understood():
    split = ellipsoid([30, 20, 10])
    split = Mesh(split.vertices[split.faces].reshape(-1, 3), np.arange(3 * len(split.faces)).reshape(-1, 3))
    assert signed_volume(outward(flipped(split))[0]) == pytest.approx(signed_volume(split))
    cup = cylinder([40, 40, 60])
    cup = Mesh(cup.vertices, cup.faces[cup.face_normals()[:, 2] < 0.9])
    mended, found = outward(flipped(cup))
    assert found.turned == 1
    np.testing.assert_array_equal(np.sort(mended.faces, 1), np.sort(cup.faces, 1))
    assert signed_volume(mended) == pytest.approx(signed_volume(cup))


def test_a_sheet_keeps_its_side_and_texture_coordinates_turn_with_their_faces():
    sheet = Mesh(np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0.0]]), np.array([[0, 1, 2], [0, 2, 3]]))
    assert outward(sheet)[0] is sheet
    solid = box([4, 5, 6])
    uv = solid.vertices[solid.faces][..., :2]  # says which vertex a corner belongs to
    mended, _ = outward(dataclasses.replace(flipped(solid), uv=uv[:, ::-1]))
    np.testing.assert_array_equal(mended.uv, mended.vertices[mended.faces][..., :2])
