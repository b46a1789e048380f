"""Evaluation models that are points without faces, as YCB-V's of PoseCNN (cosypose.md section 14.3)."""

import shutil

import numpy as np
import pytest

from pose_models.datasets.bop import BopDataset
from pose_models.datasets.estimates import write_estimates
from pose_models.evaluation.errors import add
from pose_models.evaluation.protocols import Run, score_files
from pose_models.evaluation.world import World
from pose_models.files import InputError
from pose_models.meshes.mesh import Mesh, load_mesh, save_ply


def test_points_suffice_for_all_errors_but_vsd(made_dataset, tmp_path, perfect):
    root = tmp_path / "made"
    shutil.copytree(made_dataset, root)
    for path in (root / "models_eval").glob("*.ply"):
        save_ply(path, Mesh(load_mesh(path).vertices, np.zeros((0, 3), dtype=np.int64)))
    points, meshes = World(BopDataset(root)), World(BopDataset(made_dataset))
    R, t = np.eye(3), np.array([0.0, 0.0, 500.0])
    for obj_id in (1, 2):
        a, b = points.object(obj_id), meshes.object(obj_id)
        assert len(a.mesh.faces) == 0
        moved = t + np.array([3.0, 4.0, 0.0])
        assert add(a.mesh.vertices, R, moved, R, t) == pytest.approx(5.0)
        assert (a.symmetries == b.symmetries).all()
    write_estimates(tmp_path / "perfect_made-test.csv", perfect)
    with pytest.raises(InputError, match=r"object [12]: its evaluation model has no faces, so VSD cannot be computed"):
        score_files(points, "bop19", [tmp_path / "perfect_made-test.csv"], Run())


def test_a_mesh_that_is_wrong_is_still_refused(made_dataset, tmp_path):
    root = tmp_path / "made"
    shutil.copytree(made_dataset, root)
    path = root / "models_eval" / "obj_000001.ply"
    mesh = load_mesh(path)
    vertices = mesh.vertices.copy()
    vertices[0] = np.nan
    for faces in (mesh.faces, mesh.faces[:0]):
        save_ply(path, Mesh(vertices, faces))
        with pytest.raises(InputError, match=r"obj_000001\.ply"):
            World(BopDataset(root)).object(1)
