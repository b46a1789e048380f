"""The demo's models on disk, made once per session."""

from pathlib import Path

import pytest

from pose_models.files import write_json
from pose_models.meshes.bounds import model_info
from pose_models.meshes.mesh import save_ply
from pose_models.meshes.shapes import merged
from pose_models.synthesis.parts import demo_parts


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory) -> Path:
    """A dataset folder with models/, models_collision/ and camera.json, no images."""
    root = tmp_path_factory.mktemp("demo")
    info = {}
    for obj_id, part in demo_parts(0).items():
        save_ply(root / "models" / f"obj_{obj_id:06d}.ply", part.mesh)
        save_ply(root / "models_collision" / f"obj_{obj_id:06d}.ply", merged(part.convex_pieces))
        info[str(obj_id)] = model_info(part.mesh.vertices) | part.symmetries
    write_json(root / "models" / "models_info.json", info)
    camera = {"fx": 300.0, "fy": 310.0, "cx": 79.5, "cy": 59.5, "width": 160, "height": 120, "depth_scale": 0.1}
    write_json(root / "camera.json", camera)
    return root
