"""Protocol `bop19`: AR over VSD, MSSD and MSPD, with what the reference's numbers alone do not tell."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from pose_models.evaluation import analysis
from pose_models.evaluation.localisation import (
    ErrorRows,
    Recalled,
    averages,
    bop19_errors,
    options_of,
    recalled,
    target_jobs,
)
from pose_models.evaluation.pairs import Block, compute_errors
from pose_models.evaluation.protocols import ResultFile, Run
from pose_models.evaluation.scores import localisation_scores, target_counts
from pose_models.evaluation.world import World
from pose_models.files import InputError


def scores(world: World, files: Sequence[ResultFile], run: Run) -> list[dict[str, Any]]:
    """One dictionary per result file."""
    errors = bop19_errors()
    blocks = all_blocks(world, files, run, errors)
    return [_file_scores(world, file, own, errors, run) for file, own in zip(files, blocks, strict=True)]


def tables(world: World, files: Sequence[ResultFile], run: Run) -> list[Recalled]:
    """What each file found, for comparisons."""
    errors = bop19_errors()
    blocks = all_blocks(world, files, dataclasses.replace(run, analysis=False), errors)
    return [recalled(world, own, errors) for own in blocks]


def all_blocks(world: World, files: Sequence[ResultFile], run: Run, errors: Sequence[ErrorRows]) -> list[list[Block]]:
    """Errors of all pairs by file; of all estimates of the targets where perfect ranking is asked for."""
    if not world.facts.entry.vsd:
        raise InputError(f"{world.facts.name} has no VSD, so no BOP'19 score; use --protocol bop24")
    estimates = [file.estimates for file in files]
    jobs = target_jobs(world, estimates, (lambda _: None) if run.analysis else (lambda inst_count: inst_count))
    blocks: list[list[Block]] = [[] for _ in files]
    images = compute_errors(world, estimates, jobs, options_of(errors), run.workers)
    for image in run.progress(images, "images", len(jobs)):
        for block in image:
            blocks[block.group.file].append(block)
    return blocks


def _file_scores(
    world: World, file: ResultFile, every: list[Block], errors: Sequence[ErrorRows], run: Run
) -> dict[str, Any]:
    blocks = [block.first(world.targets[block.key][block.group.obj_id]) for block in every]
    table = recalled(world, blocks, errors)
    parts = localisation_scores(world, table, errors)
    total = parts.pop("averages")
    result = {
        "bop19_average_recall": total["ar"],
        **{f"bop19_average_recall_{error.name}": total[error.name] for error in errors},
        "bop19_average_time_per_image": file.estimates.mean_time(),
        "seconds_per_image": file.estimates.mean_time(),
        "counts": target_counts(world, file.estimates, (block.group.rows for block in blocks)),
        **parts,
    }
    if run.analysis:
        perfect = averages(recalled(world, every, errors, best_order=True).recall(), errors)
        result["intervals"] = analysis.intervals(table, errors)
        result |= analysis.by_bins(table, errors)
        result["perfect_ranking"] = {**perfect, "lost_by_scores": perfect["ar"] - total["ar"]}
    return result
