"""Reference vectors of keypoints: farthest points of RePOSE and SpyroPose, and SpyroPose's whole extraction."""

import numpy as np
import pytest

from pose_models.meshes.bounds import bounding_sphere
from pose_models.meshes.keypoints import farthest_points, surface_keypoints, vertex_keypoints
from pose_models.meshes.mesh import Mesh


def _files(golden_dir, method, pattern):
    files = sorted((golden_dir / method).glob(pattern))
    if not files:
        pytest.skip(f"needs {pattern} in {golden_dir / method} (set BOPFLOW_GOLDEN)")
    return [np.load(file) for file in files]


def test_farthest_vertices_are_those_of_repose(golden_dir):
    for vector in _files(golden_dir, "repose", "fps*.npz"):
        points = vector["points"]
        center = (points.min(axis=0) + points.max(axis=0)) / 2
        for key in (name for name in vector if name.startswith("idx")):
            np.testing.assert_array_equal(farthest_points(points, len(vector[key]), center), vector[key])
        mesh = Mesh(points.astype(np.float64), np.zeros((0, 3), np.int64))
        np.testing.assert_array_equal(vertex_keypoints(mesh, 8), vector["kpt8"])


def test_farthest_points_are_those_of_spyropose(golden_dir):
    for vector in _files(golden_dir, "spyropose", "farthest_points*.npz"):
        cloud = vector["cloud"]
        for key in (name for name in vector if name.startswith("picked")):
            chosen = farthest_points(cloud, len(vector[key]), cloud.mean(axis=0), keep_start=False)
            np.testing.assert_allclose(cloud[chosen], vector[key], atol=1e-12)


def test_keypoints_are_those_of_spyropose(golden_dir):
    for vector in _files(golden_dir, "spyropose", "keypoints*.npz"):
        for name in (key.removesuffix("_vertices") for key in vector if key.endswith("_vertices")):
            mesh = Mesh(vector[f"{name}_vertices"], vector[f"{name}_faces"])
            found = surface_keypoints(mesh, len(vector[f"{name}_keypoints_mesh_frame"]))
            np.testing.assert_allclose(found, vector[f"{name}_keypoints_mesh_frame"], atol=1e-9)
            center, radius = bounding_sphere(mesh.vertices)
            np.testing.assert_allclose(center, vector[f"{name}_sphere_center"], atol=1e-6)
            np.testing.assert_allclose(radius, vector[f"{name}_sphere_radius"], atol=1e-6)
            centred = found - vector[f"{name}_sphere_center"]
            np.testing.assert_allclose(centred, vector[f"{name}_keypoints_centred"], atol=1e-9)
