"""Training of SurfEmb: from scene folders and meshes to a checkpoint."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import lightning
import torch

from pose_models.datasets.bop import BopScene
from pose_models.files import write_json
from pose_models.meshes.bounds import bounding_sphere
from pose_models.meshes.mesh import load_mesh
from pose_models.methods.surfemb.config import SurfEmbSettings
from pose_models.methods.surfemb.data import CropSamples
from pose_models.methods.surfemb.model import SurfEmbModule, load_model, save_model, spheres_of
from pose_models.training.checkpoints import input_stamps, take_weights
from pose_models.training.harness import train_to


def train(
    settings: SurfEmbSettings, models: Path, object_ids: Sequence[int], scenes: Sequence[Path], out: Path,
    device: str, workers: int, processes: int = 1, start: Path | None = None,
) -> None:  # fmt: skip
    """Train on the instances of `scenes` (BOP scene folders) and write the checkpoint `out`.

    Args:
        settings: resolved settings.
        models: folder of `obj_XXXXXX.ply`, mm.
        object_ids: objects to train on.
        scenes: BOP scene folders with masks and scene_gt_info.json.
        out: checkpoint file; logs and the state to resume from lie beside it in `train/`.
        device, workers, processes: as in `training.harness.fit`.
        start: checkpoint of the same networks and objects whose weights are started from.
    """
    lightning.seed_everything(settings.train.seed, verbose=False)
    meshes = {obj_id: load_mesh(models / f"obj_{obj_id:06d}.ply") for obj_id in sorted(object_ids)}
    bounds = [bounding_sphere(mesh.vertices) for mesh in meshes.values()]
    spheres = spheres_of(list(meshes), [center for center, _ in bounds], [radius for _, radius in bounds])
    model = SurfEmbModule(settings, spheres, None if start is None else False).to(memory_format=torch.channels_last)
    if start is not None:
        take_weights(model, load_model(start), start, same_objects=True)
    write_json(out.parent / "train" / "settings.json", settings.model_dump(mode="json"))
    if not settings.train.steps:
        save_model(out, model)
        return
    stride = model.query_network.output_stride
    samples = CropSamples([BopScene(path) for path in scenes], meshes, spheres, settings, stride)
    samples.preload()
    inputs = [models / f"obj_{obj_id:06d}.ply" for obj_id in meshes] + [p / "scene_gt_info.json" for p in scenes]
    inputs += [start] if start is not None else []
    decisive = settings.model_dump(mode="json", exclude={"infer": True, "train": {"wandb"}})
    key = [decisive, input_stamps(inputs)]
    save = functools.partial(save_model, out, model)
    train_to(out, model, samples, settings.train, key, save, device, workers, processes)
