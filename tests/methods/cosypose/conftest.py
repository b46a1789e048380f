"""An untrained CosyPose model, whose first output changes nothing, beside the small dataset."""

from pathlib import Path

import pytest

UNTRAINED = ["network.backbone=matching", "network.height=48", "network.width=64", "network.identity_start=true",
             "network.box_points=100", "loss.points=60", "loss.rotations=8", "data.min_visib_px=50",
             "train.valid_items=1"]  # fmt: skip


@pytest.fixture(scope="session")
def untrained(small, tmp_path_factory) -> Path:
    """Checkpoint where the graph puts it: results/small/run/model.ckpt, data/small beside."""
    import torch

    from pose_models.datasets.bop import models_in
    from pose_models.methods.cosypose.config import CosyPoseSettings
    from pose_models.methods.cosypose.model import CosyPoseModule, save_model
    from pose_models.settings import resolve

    root = tmp_path_factory.mktemp("project")
    (root / "data").mkdir()
    (root / "data" / "small").symlink_to(small)
    torch.manual_seed(0)
    path = root / "results" / "small" / "run" / "model.ckpt"
    save_model(path, CosyPoseModule(resolve(CosyPoseSettings, UNTRAINED), models_in(small / "models")))
    return path
