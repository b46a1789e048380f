"""Protocol `bop19`: AR over VSD, MSSD and MSPD, with what the reference's numbers alone do not tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pose_models.evaluation.localisation import bop19_errors, options_of, recalled, target_jobs
from pose_models.evaluation.pairs import Block, compute_errors
from pose_models.evaluation.protocols import ResultFile, Run
from pose_models.evaluation.scores import localisation_scores, target_counts
from pose_models.evaluation.world import World
from pose_models.files import InputError


def scores(world: World, files: Sequence[ResultFile], run: Run) -> list[dict[str, Any]]:
    """One dictionary per result file."""
    if not world.facts.entry.vsd:
        raise InputError(f"{world.facts.name} has no VSD, so no BOP'19 score; use --protocol bop24")
    errors = bop19_errors()
    estimates = [file.estimates for file in files]
    jobs = target_jobs(world, estimates)
    blocks: list[list[Block]] = [[] for _ in files]
    for image in run.progress(
        compute_errors(world, estimates, jobs, options_of(errors), run.workers), "images", len(jobs)
    ):
        for block in image:
            blocks[block.group.file].append(block)
    return [_file_scores(world, file, own, errors) for file, own in zip(files, blocks, strict=True)]


def _file_scores(world: World, file: ResultFile, blocks: list[Block], errors: Any) -> dict[str, Any]:
    table = recalled(world, blocks, errors)
    parts = localisation_scores(world, table, errors)
    averages = parts.pop("averages")
    return {
        "bop19_average_recall": averages["ar"],
        **{f"bop19_average_recall_{name}": averages[name] for name in ("vsd", "mssd", "mspd")},
        "bop19_average_time_per_image": file.estimates.mean_time(),
        "seconds_per_image": file.estimates.mean_time(),
        "counts": target_counts(world, file.estimates, (block.group.rows for block in blocks)),
        **parts,
    }
