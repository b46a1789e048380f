"""Detect objects in the test images with a trained Mask R-CNN; a killed run continues with the same command."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program
from pose_models.datasets.bop import BopDataset
from pose_models.files import InputError, file_digest, json_digest
from pose_models.settings import parse_overrides, validate


def main(arguments: argparse.Namespace) -> None:
    """Lease a device, detect image by image, write."""
    from pose_models.detections.coco import from_records, write_detections
    from pose_models.detections.maskrcnn import load_detector
    from pose_models.detections.maskrcnn_config import DetectSettings
    from pose_models.detections.maskrcnn_detect import Detector
    from pose_models.methods.partial import PartialResults
    from pose_models.training.devices import lease_device

    trained = load_detector(arguments.checkpoint).settings.detect
    changes = parse_overrides(arguments.set)
    settings = validate(DetectSettings, {**trained.model_dump(), **changes}, "--set")
    dataset = BopDataset(arguments.dataset)
    targets = dataset.targets(arguments.targets)
    images = sorted({(target.scene_id, target.im_id) for target in targets})
    scenes = {scene_id: dataset.scene(arguments.split, scene_id) for scene_id, _ in images}
    device = lease_device(arguments.device)
    detector = Detector(load_detector(arguments.checkpoint, settings), device)
    if not {target.obj_id for target in targets} & set(detector.module.object_ids):
        raise InputError(
            f"{arguments.checkpoint}: detects objects {detector.module.object_ids}, none of which is a target of "
            f"{dataset.root}; train a detector of this dataset"
        )
    for scene_id, im_id in images[:1]:
        detector.records(scenes[scene_id].rgb(im_id))  # the first call allocates; its time would not be the image's
    key = json_digest([settings.digest(), file_digest(arguments.checkpoint), images, str(dataset.root)])
    with PartialResults(arguments.out, key) as partial:
        for scene_id, im_id in program.progress(images, "detecting"):
            if f"{scene_id}/{im_id}" not in partial.done:
                found = detector.records(scenes[scene_id].rgb(im_id), scene_id, im_id)
                partial.add(f"{scene_id}/{im_id}", found)
        per_image = [partial.done[f"{scene_id}/{im_id}"] for scene_id, im_id in images]
        records = [record for image in per_image for record in image]
        if not records:
            raise InputError(f"{arguments.checkpoint}: finds nothing in {len(images)} images; train it longer")
        write_detections(arguments.out, from_records(records))
    empty = sum(not image for image in per_image)
    print(f"{arguments.out}: {len(records)} detections in {len(images)} images, {empty} of them without any")


if __name__ == "__main__":
    options = program.parser(__doc__)
    options.add_argument("--checkpoint", type=Path, required=True, help="detector of train_detector.py or an import")
    options.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="such as min_score=0.2")
    options.add_argument("--dataset", type=Path, required=True, help="BOP dataset folder")
    options.add_argument("--split", default="test", help="split folder")
    options.add_argument("--targets", default="test_targets_bop19.json", help="file that names the images")
    options.add_argument("--out", type=Path, required=True, help="detections file to write, BOP COCO results")
    options.add_argument("--device", default="auto", help="auto, cpu or cuda")
    program.run(main, options)
