"""Training of CosyPose: from scene folders and meshes to a checkpoint."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import lightning

from pose_models.datasets.bop import BopScene, read_models_info
from pose_models.files import write_json
from pose_models.meshes.mesh import load_mesh
from pose_models.methods.cosypose.config import CosyPoseSettings
from pose_models.methods.cosypose.data import PoseSamples
from pose_models.methods.cosypose.model import CosyPoseModule, load_model, save_model
from pose_models.methods.cosypose.objects import ObjectTable
from pose_models.training.checkpoints import input_stamps, take_weights
from pose_models.training.harness import train_to


def train(
    settings: CosyPoseSettings, models: Path, object_ids: Sequence[int], scenes: Sequence[Path], out: Path,
    device: str, workers: int, processes: int = 1, start: Path | None = None,
) -> None:  # fmt: skip
    """Train on the instances of `scenes` (BOP scene folders) and write the checkpoint `out`.

    Args:
        settings: resolved settings.
        models: folder of `obj_XXXXXX.ply`, mm, with `models_info.json`.
        object_ids: objects to train on.
        scenes: BOP scene folders with masks and scene_gt_info.json.
        out: checkpoint file; logs and the state to resume from lie beside it in `train/`.
        device, workers, processes: as in `training.harness.fit`.
        start: checkpoint of the same networks whose weights are started from, of whichever objects.
    """
    lightning.seed_everything(settings.train.seed, verbose=False)
    model = CosyPoseModule(settings, object_ids)
    if start is not None:
        take_weights(model, load_model(start), start, same_objects=False)
    write_json(out.parent / "train" / "settings.json", settings.model_dump(mode="json"))
    if not settings.train.steps:
        save_model(out, model)
        return
    files = [models / f"obj_{obj_id:06d}.ply" for obj_id in model.object_ids]
    meshes = {obj_id: load_mesh(file, texture=True) for obj_id, file in zip(model.object_ids, files, strict=True)}
    table = ObjectTable.of(meshes, read_models_info(models), settings.loss.rotations)
    model.show(meshes, table)
    samples = PoseSamples([BopScene(path) for path in scenes], table, settings)
    samples.preload()
    decisive = settings.model_dump(mode="json", exclude={"infer": True, "train": {"wandb"}})
    inputs = [models / "models_info.json", *files, *(path / "scene_gt_info.json" for path in scenes)]
    inputs += [start] if start is not None else []
    key = [decisive, input_stamps(inputs)]
    save = functools.partial(save_model, out, model)
    train_to(out, model, samples, settings.train, key, save, device, workers, processes)
