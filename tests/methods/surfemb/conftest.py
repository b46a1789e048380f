"""An untrained SurfEmb model beside the small dataset."""

import shutil
from pathlib import Path

import pytest

from pose_models.datasets.bop import models_in
from pose_models.meshes.bounds import bounding_sphere
from pose_models.meshes.mesh import load_mesh
from pose_models.methods.surfemb.config import SurfEmbSettings
from pose_models.methods.surfemb.model import SurfEmbModule, save_model, spheres_of
from pose_models.settings import resolve

UNTRAINED = ["network.backbone=small", "network.separate_decoders=false", "network.key_width=16", "crop.side=64",
             "network.key_gain=30", "infer.downsample=2", "infer.hypotheses=300", "infer.scored=40",
             "infer.refine_steps=3", "infer.use_normals=false"]  # fmt: skip


@pytest.fixture(scope="session")
def untrained(small, tmp_path_factory) -> Path:
    """Checkpoint of an untrained model where the graph puts it: results/small/run/model.ckpt, data/small beside."""
    import torch

    root = tmp_path_factory.mktemp("project")
    (root / "data").mkdir()
    (root / "data" / "small").symlink_to(small)
    shutil.copytree(small / "surface", root / "results" / "small" / "surface")
    object_ids = models_in(small / "models")
    bounds = [bounding_sphere(load_mesh(small / "models" / f"obj_{i:06d}.ply").vertices) for i in object_ids]
    spheres = spheres_of(object_ids, *zip(*bounds, strict=True))
    torch.manual_seed(0)
    path = root / "results" / "small" / "run" / "model.ckpt"
    save_model(path, SurfEmbModule(resolve(SurfEmbSettings, UNTRAINED), spheres))
    return path
