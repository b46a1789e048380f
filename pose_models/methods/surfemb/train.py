"""Training of SurfEmb: from scene folders and meshes to a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import lightning
import torch

from pose_models.datasets.bop import BopScene
from pose_models.files import InputError, exclusive, write_json
from pose_models.meshes.bounds import bounding_sphere
from pose_models.meshes.mesh import load_mesh
from pose_models.methods.surfemb.config import SurfEmbSettings
from pose_models.methods.surfemb.data import CropSamples
from pose_models.methods.surfemb.model import SurfEmbModule, save_model, spheres_of
from pose_models.training.checkpoints import forget_other_training, input_stamps
from pose_models.training.harness import fit


def train(
    settings: SurfEmbSettings, models: Path, object_ids: Sequence[int], scenes: Sequence[Path], out: Path,
    device: str, workers: int, gpus: int = 1,
) -> None:  # fmt: skip
    """Train on the instances of `scenes` (BOP scene folders) and write the checkpoint `out`.

    Args:
        settings: resolved settings.
        models: folder of `obj_XXXXXX.ply`, mm.
        object_ids: objects to train on.
        scenes: BOP scene folders with masks and scene_gt_info.json.
        out: checkpoint file; logs and the state to resume from lie beside it in `train/`.
        device: `cpu` or `cuda`; workers: data loading processes; gpus: GPUs to train on.

    Raises:
        InputError: several GPUs are asked for: the device lease and the lock on last.ckpt are for one process so far.
    """
    if device == "cuda" and gpus > 1:
        raise InputError(f"training on {gpus} GPUs is not supported yet; set gpus: 1 in config.yaml")
    lightning.seed_everything(settings.train.seed, verbose=False)
    meshes = {obj_id: load_mesh(models / f"obj_{obj_id:06d}.ply") for obj_id in sorted(object_ids)}
    bounds = [bounding_sphere(mesh.vertices) for mesh in meshes.values()]
    spheres = spheres_of(list(meshes), [center for center, _ in bounds], [radius for _, radius in bounds])
    model = SurfEmbModule(settings, spheres).to(memory_format=torch.channels_last)
    folder = out.parent / "train"
    write_json(folder / "settings.json", settings.model_dump(mode="json"))
    if settings.train.steps:
        stride = model.query_network.output_stride
        samples = CropSamples([BopScene(path) for path in scenes], meshes, spheres, settings, stride)
        samples.preload()
        inputs = [models / f"obj_{obj_id:06d}.ply" for obj_id in meshes] + [p / "scene_gt_info.json" for p in scenes]
        with exclusive(folder / "last.ckpt"):
            decisive = settings.model_dump(mode="json", exclude={"infer": True, "train": {"wandb"}})
            forget_other_training(folder, [decisive, input_stamps(inputs)])
            fit(model, samples, settings.train, folder, device, workers, gpus)
            save_model(out, model)
            (folder / "last.ckpt").unlink(missing_ok=True)  # a training asked for again starts anew
    else:
        save_model(out, model)
