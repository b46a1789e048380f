"""A dataset of other test images of a dataset: its files linked, and a list of targets of its own.

Papers before BOP report scores on all test images of T-LESS, or on the keyframes of YCB-Video, where BOP's list names
some of them; whatever reads a BOP dataset reads such a folder.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import yaml

from pose_models.datasets.bop import BopDataset
from pose_models.datasets.bop_writer import localisation_targets
from pose_models.datasets.catalogue import OWN_FILE, catalogue_entry
from pose_models.files import InputError, atomic_path, write_json, write_text

NOT_LINKED = ("archives", OWN_FILE)


def link_subset(dataset: BopDataset, split: str, images: Collection[tuple[int, int]] | None, out: Path) -> int:
    """Write a dataset folder whose targets are all visible objects of some images of a split.

    Args:
        dataset: with ground truth of the split; its files are linked and stay where they are.
        images: (scene id, image id); None for all of the split.
        out: folder to make; what the catalogue says about the dataset is written into it.

    Returns:
        Number of images with targets.

    Raises:
        InputError: the folder is there already, or an image is not.
    """
    if out.exists():
        raise InputError(f"{out}: is there already; remove it or name another folder")
    targets = localisation_targets(dataset, split, images)
    if not targets:
        raise InputError(f"{dataset.root / split}: no object is visible in the chosen images; check scene_gt_info.json")
    kept = catalogue_entry(dataset.name, dataset.root).model_copy(update={"split": split})
    facts = kept.model_dump(mode="json", exclude_defaults=True, exclude={"parts", "repository", "default_detections"})
    with atomic_path(out) as folder:
        folder.mkdir()
        for path in sorted(dataset.root.iterdir()):
            if path.name not in NOT_LINKED and "_targets_" not in path.name and not path.name.startswith("."):
                (folder / path.name).symlink_to(os.path.relpath(path.resolve(), out.parent.resolve() / out.name))
        write_text(folder / OWN_FILE, yaml.safe_dump(facts, sort_keys=False))
        write_json(folder / f"{split.partition('_')[0]}_targets_bop19.json", targets, indent=None)
    return len({(target["scene_id"], target["im_id"]) for target in targets})
