"""Training of the detector: from scene folders to a checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import lightning

from pose_models.datasets.bop import BopScene
from pose_models.detections.maskrcnn import MaskRcnnModule, load_detector, load_start, save_detector
from pose_models.detections.maskrcnn_config import TRAIN_SECTIONS, MaskRcnnSettings
from pose_models.detections.maskrcnn_data import ImageSamples
from pose_models.files import InputError
from pose_models.training.checkpoints import input_stamps
from pose_models.training.harness import train_to

log = logging.getLogger(__name__)


def train(
    settings: MaskRcnnSettings, object_ids: Sequence[int], scenes: Sequence[Path], out: Path, device: str,
    workers: int, processes: int = 1, start: Path | None = None,
) -> None:  # fmt: skip
    """Train on the images of `scenes` (BOP scene folders) and write the checkpoint `out`.

    A killed training continues from its last chunk; logs and that state lie in `out.parent/train`.

    Args:
        settings: of the network, the images, the training.
        object_ids: what is detected.
        device: `cpu` or `cuda`.
        workers, processes: loading processes, and processes that share each batch (`harness.fit`).
        start: another detector of the same objects, all of whose weights this one starts from.

    Raises:
        InputError: unusable data, weights or starting detector.
    """
    lightning.seed_everything(settings.train.seed, verbose=False)
    samples = ImageSamples([BopScene(path) for path in scenes], object_ids, settings)
    module = _module(settings, object_ids, samples.size, start)
    used = [path for path in (start, settings.network.weights) if path is not None]
    files = [scene.path / name for scene in samples.scenes for name in ("scene_gt.json", "scene_gt_info.json")]
    key = {
        "settings": settings.model_dump(mode="json", include=set(TRAIN_SECTIONS)),
        "objects": module.object_ids,
        "photos": len(samples.photos),
        "inputs": input_stamps([Path(path) for path in used] + [file for file in files if file.exists()]),
    }
    log.info(
        "%d training images, %d held out, %d photographs, %d objects",
        len(samples.train_images), samples.valid_count, len(samples.photos), len(module.object_ids),
    )  # fmt: skip
    train_to(out, module, samples, settings.train, key, lambda: save_detector(out, module), device, workers, processes)


def _module(
    settings: MaskRcnnSettings, object_ids: Sequence[int], size: tuple[int, int], start: Path | None
) -> MaskRcnnModule:
    if start is not None:
        begun = load_detector(start)
        if begun.object_ids != sorted(object_ids):
            raise InputError(f"{start}: detects objects {begun.object_ids}, not {sorted(object_ids)}; start otherwise")
        network = begun.settings.network
        module = MaskRcnnModule(settings.model_copy(update={"network": network}), object_ids, size)
        module.network.load_state_dict(begun.network.state_dict())
        log.info("starting from %s", start)
        return module
    module = MaskRcnnModule(settings, object_ids, size)
    if settings.network.weights is not None:
        log.info("starting from %s", load_start(module, Path(settings.network.weights)))
    elif settings.train.steps:
        log.info(
            "no network.weights: all layers start from random numbers and learn, normalised by groups; published "
            "detectors start from COCO weights and need far fewer steps"
        )
    return module
