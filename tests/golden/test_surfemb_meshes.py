"""Reference vectors of SurfEmb: enclosing spheres (03) and normals of the closest faces (23)."""

import numpy as np
import pytest

from pose_models.meshes.bounds import bounding_sphere, diameter
from pose_models.meshes.mesh import Mesh
from pose_models.meshes.surface import closest_face_normals


def _files(golden_dir, pattern):
    files = sorted((golden_dir / "surfemb").glob(pattern))
    if not files:
        pytest.skip(f"needs {pattern} in {golden_dir / 'surfemb'} (set BOPFLOW_GOLDEN)")
    return [np.load(file) for file in files]


def test_normalisation_is_that_of_the_reference(golden_dir):
    for vector in _files(golden_dir, "03_*.npz"):
        for index in sorted(name.rpartition("_")[2] for name in vector if name.startswith("vertices_")):
            vertices = vector[f"vertices_{index}"].astype(np.float64)
            offset, scale = vector[f"offset_{index}"], float(vector[f"scale_{index}"])
            center, radius = bounding_sphere(vertices)
            np.testing.assert_allclose(center, offset, atol=1e-3 * scale)
            np.testing.assert_allclose(radius, scale, rtol=1e-4)
            points = vector[f"points_{index}"]
            np.testing.assert_allclose((points - center) / radius, vector[f"points_norm_{index}"], atol=2e-3)
            np.testing.assert_allclose((points - offset) / scale, vector[f"points_norm_{index}"], atol=1e-9)
            np.testing.assert_allclose(diameter(vertices), vector[f"diameter_{index}"], rtol=1e-6)


def test_normals_of_samples_are_those_of_the_reference(golden_dir):
    for vector in _files(golden_dir, "23_*.npz"):
        mesh = Mesh(vector["vertices"].astype(np.float64), vector["faces"].astype(np.int64))
        normals = closest_face_normals(mesh, vector["points"].astype(np.float64))
        agrees = np.abs(normals - vector["normals"]).max(axis=1) <= 1e-4
        assert agrees.mean() >= 0.98
