"""What can be said of estimates whose ground truth the publisher keeps: whether they are fit for submission, and where.

The scores are computed by the benchmark's server; none are made up here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pose_models.files import InputError, write_bytes

if TYPE_CHECKING:  # programs that merge or show scores do without
    from pose_models.evaluation.world import World

SERVER = "https://bop.felk.cvut.cz (log in, submit results)"


def submit(world: World, protocol: str, estimates: Path, folder: Path) -> dict[str, Any]:
    """Check a result file and put a copy with the server's name (bop.md section 5.1) into a folder.

    Args:
        world: dataset and split, without ground truth.
        protocol: which one was asked for.
        estimates: result file.
        folder: where the copy goes, unless the file is that copy.

    Returns:
        Content of `scores.json`: no score, but `hidden_ground_truth`, counts, warnings, and what to submit where.

    Raises:
        InputError: the file is not fit for submission, or the protocol's results are not poses.
    """
    from pose_models.datasets.estimates import read_estimates
    from pose_models.evaluation.check import check_file, raise_errors
    from pose_models.evaluation.protocols import input_digests

    facts = world.facts
    if protocol == "coco":
        raise InputError(
            f"{world.dataset.root / facts.split}: the ground truth is not published, so the detections in {estimates} "
            "cannot be scored here; score a split with ground truth (config.yaml: datasets.<name>.split)"
        )
    copy = folder / submission_name(estimates, facts.name, facts.split)
    findings = check_file(world, estimates, copy.name)
    raise_errors(estimates, findings)
    if not (copy.exists() and copy.samefile(estimates)):
        write_bytes(copy, estimates.read_bytes())
    found = read_estimates(estimates)
    return {
        "protocol": protocol,
        "dataset": facts.name,
        "split": facts.split,
        "models": world.models,
        "estimates": str(estimates),
        "hidden_ground_truth": True,
        "fit_for_submission": True,
        "warnings": [finding.sentence(copy) for finding in findings],
        "submit": str(copy),
        "submit_to": SERVER,
        "counts": {
            "estimates": len(found),
            "images_with_estimates": len(set(zip(found.scene_id.tolist(), found.im_id.tolist(), strict=True))),
            "target_images": len(world.targets),
            "target_instances": sum(sum(objects.values()) for objects in world.targets.values()),
        },
        "inputs": input_digests(world, estimates),
    }


def submission_name(estimates: Path, dataset: str, split: str) -> str:
    """`<method>_<dataset>-<split>.csv`; the method is the run's name, or the file's up to its first underscore."""
    if re.fullmatch(rf"[^_]+_{re.escape(dataset)}-{split.split('_')[0]}(-[^_]+)?(_[^_]+)?\.csv", estimates.name):
        return estimates.name
    is_of_run = estimates.name == "estimates.csv"
    method = estimates.absolute().parent.name if is_of_run else estimates.stem.split("_")[0]
    return f"{method.replace('_', '-')}_{dataset}-{split.split('_')[0]}.csv"


def is_hidden(scores: Mapping[str, Any]) -> bool:
    """Whether the content of a `scores.json` is about estimates whose ground truth is not published."""
    return scores.get("hidden_ground_truth") is True


def sentence(scores: Mapping[str, Any]) -> str:
    """What to do with such estimates."""
    return f"hidden ground truth: submit {scores['submit']} at {scores['submit_to']}"
