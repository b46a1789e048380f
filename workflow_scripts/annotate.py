#!/usr/bin/env python3
"""Make the ground-truth side of a dataset from models, poses and depth: scene_gt_info.json, masks, COCO annotations."""

from __future__ import annotations

import argparse
import functools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pose_models import program
from pose_models.datasets.bop import BopDataset
from pose_models.datasets.catalogue import catalogue_entry
from pose_models.evaluation.groundtruth import AMODAL, INFO, MODAL, annotate_image, write_scene
from pose_models.files import InputError
from pose_models.meshes.mesh import load_mesh


def arguments() -> argparse.ArgumentParser:
    """Command line."""
    parser = program.parser(__doc__ or "")
    parser.add_argument("--dataset", type=Path, required=True, help="dataset folder in BOP layout")
    parser.add_argument("--split", default="test", help="folder of the split")
    parser.add_argument("--models", help="folder of the models (default: the catalogue's, else models)")
    parser.add_argument("--delta-mm", type=float, help="visibility tolerance in mm (default: the catalogue's, else 15)")
    parser.add_argument("--overwrite", action="store_true", help="replace annotations that are there")
    return parser


def main(args: argparse.Namespace) -> None:
    """Annotate every scene that is not annotated yet."""
    dataset = BopDataset(args.dataset)
    entry = catalogue_entry(dataset.name, dataset.root)
    folder = args.models or entry.models
    delta_mm = entry.delta_mm if args.delta_mm is None else args.delta_mm
    if delta_mm <= 0:
        raise InputError(f"--delta-mm {delta_mm:g}: must be positive")
    mesh = functools.cache(lambda obj_id: load_mesh(dataset.model_path(obj_id, folder)))
    for scene_id in dataset.scene_ids(args.split):
        scene = dataset.scene(args.split, scene_id)
        there = [name for name in (INFO, AMODAL, MODAL, "mask", "mask_visib") if (scene.path / name).exists()]
        if there and not args.overwrite:
            print(f"{scene.path}: left as it is, has {', '.join(there)} (--overwrite replaces them)")
            continue
        im_ids = sorted(scene.ground_truth)
        images = (annotate_image(scene, im_id, mesh, delta_mm) for im_id in im_ids)
        write_scene(scene, program.progress(images, f"scene {scene_id:06d}", len(im_ids)), dataset.name)
        print(f"wrote {scene.path}: {INFO}, {AMODAL}, {MODAL}, mask/, mask_visib/")


if __name__ == "__main__":
    program.run(main, arguments())
