"""The demo's parts: closed, of the stated size, with exactly the symmetries that they declare."""

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from pose_models.geometry.symmetries import symmetry_transforms
from pose_models.geometry.transforms import apply, from_rotation_translation
from pose_models.meshes.bounds import diameter
from pose_models.meshes.sampling import AreaSampler
from pose_models.meshes.surface import closest_faces, even_samples, triangle_distance
from pose_models.synthesis.parts import demo_parts

PARTS = demo_parts(0)


def _distance_to_surface(mesh, points):
    return triangle_distance(points, mesh.vertices[mesh.faces[closest_faces(mesh, points)]])


def _volume(mesh):
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    return float((np.cross(a, b) * c).sum() / 6)


@pytest.mark.parametrize("obj_id", PARTS)
def test_parts_are_closed_centred_and_of_demo_size(obj_id):
    part = PARTS[obj_id]
    for mesh in (part.mesh, part.eval_mesh):
        edges = np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]])
        forward, backward = {tuple(e) for e in edges}, {tuple(e[::-1]) for e in edges}
        assert forward == backward  # every edge is met once from either side
        assert _volume(mesh) > 0
        assert 60 <= diameter(mesh.vertices) <= 120
    middle = (part.mesh.vertices.min(axis=0) + part.mesh.vertices.max(axis=0)) / 2
    np.testing.assert_allclose(middle, 0, atol=2e-3)


@pytest.mark.parametrize("obj_id", PARTS)
def test_evaluation_mesh_is_the_same_surface_with_even_vertices(obj_id):
    part = PARTS[obj_id]
    assert _volume(part.eval_mesh) == pytest.approx(_volume(part.mesh), rel=1e-3)
    assert 1000 <= len(part.eval_mesh.vertices) <= 4000
    points = AreaSampler(part.mesh).draw(3000, np.random.default_rng(0))
    assert cKDTree(part.eval_mesh.vertices).query(points)[0].max() < 6


@pytest.mark.parametrize("obj_id", PARTS)
def test_declared_symmetries_map_the_surface_to_itself(obj_id):
    part = PARTS[obj_id]
    points = AreaSampler(part.mesh).draw(1500, np.random.default_rng(1))
    # The turned part is a prism of 64 sides: between its symmetric positions the surface moves by its sagitta.
    tolerance = 30 * (1 - np.cos(np.pi / 64)) + 2e-3 if part.symmetries.get("symmetries_continuous") else 2e-3
    for T in symmetry_transforms(part.symmetries, max_step=0.8):
        assert _distance_to_surface(part.mesh, apply(T, points)).max() <= tolerance


def test_kinds_of_symmetry_are_none_discrete_and_continuous():
    kinds = [sorted(PARTS[obj_id].symmetries) for obj_id in (1, 2, 3)]
    assert kinds == [[], ["symmetries_discrete"], ["symmetries_continuous"]]


def _best_undeclared(mesh, symmetries, count=1200):
    """Smallest 95th percentile, in diameters, of how far a rotation that is no symmetry moves surface off itself."""
    points, _ = even_samples(mesh, 150, np.random.default_rng(0))
    tree = cKDTree(even_samples(mesh, 4000, np.random.default_rng(1))[0])
    R = Rotation.random(count, random_state=0).as_matrix()
    known = symmetry_transforms(symmetries, max_step=0.02)[:, :3, :3]
    cosine = (np.einsum("nij,sij->ns", R, known).max(axis=1) - 1) / 2
    R = R[np.degrees(np.arccos(np.clip(cosine, -1, 1))) > 25]
    moved = apply(from_rotation_translation(R, np.zeros(3)), points)
    off = tree.query(moved.reshape(-1, 3))[0].reshape(len(R), -1)
    return np.percentile(off, 95, axis=1).min() / diameter(mesh.vertices)


@pytest.mark.parametrize("obj_id", PARTS)
def test_no_other_rotation_comes_near_to_a_symmetry(obj_id):
    part = PARTS[obj_id]
    assert _best_undeclared(part.mesh, part.symmetries) > 0.04


@pytest.mark.parametrize("obj_id", PARTS)
def test_convex_pieces_are_convex_and_cover_the_part(obj_id):
    part = PARTS[obj_id]
    points = AreaSampler(part.mesh).draw(1000, np.random.default_rng(2))
    inside_any = np.zeros(len(points), dtype=bool)
    for piece in part.convex_pieces:
        normals, corners = piece.face_normals(), piece.vertices[piece.faces[:, 0]]
        heights = np.einsum("fk,vfk->vf", normals, piece.vertices[:, None] - corners)
        assert heights.max() < 0.1
        inside_any |= (np.einsum("fk,nfk->nf", normals, points[:, None] - corners) < 0.1).all(axis=1)
    assert inside_any.all()


def test_same_seed_same_parts_other_seed_other_parts():
    again, other = demo_parts(0), demo_parts(1)
    for obj_id, part in PARTS.items():
        np.testing.assert_array_equal(part.mesh.vertices, again[obj_id].mesh.vertices)
        np.testing.assert_array_equal(part.mesh.faces, again[obj_id].mesh.faces)
        assert diameter(part.mesh.vertices) != pytest.approx(diameter(other[obj_id].mesh.vertices), abs=1e-3)
