"""Annotation files of PVNet's layout against the vectors of RePOSE."""

from pathlib import Path

import numpy as np
import pytest

from pose_models.datasets.linemod import Frame, coco_annotations
from pose_models.meshes.mesh import Mesh


def test_corners_centre_and_their_projections(golden_dir):
    found = sorted((golden_dir / "repose").glob("annotation*.npz"))
    if not found:
        pytest.skip(f"needs annotation*.npz in {golden_dir / 'repose'} (set BOPFLOW_GOLDEN)")
    for v in map(np.load, found):
        mesh = Mesh(v["points"], np.zeros((0, 3), dtype=np.int64))
        # An object pasted into another image keeps its pose; the principal point moves with the pasted piece.
        K_fuse = v["K"] + np.array([[0, 0, v["begin_yx"][1]], [0, 0, v["begin_yx"][0]], [0, 0, 0]])
        np.testing.assert_allclose(K_fuse, v["K_fuse"], atol=1e-6)
        frames = [Frame(Path("i"), Path("m"), "", 0, (640, 480), K, v["pose"]) for K in (v["K"], K_fuse)]
        content = coco_annotations(frames, mesh, v["points"][:8], "cat", str, "data")
        plain, fused = content["annotations"]
        for key in ("corner_3d", "corner_2d", "center_3d", "center_2d"):
            np.testing.assert_allclose(plain[key], v[key], atol=1e-6)
        np.testing.assert_allclose(fused["corner_2d"], v["corner_2d_fuse"], atol=1e-6)
