#!/usr/bin/env python3
"""CPU seconds and memory of object-level matching and bundle adjustment, and the ratios to the reference's.

Scenes are made here: boxes of several symmetries on a table, cameras around it, candidates that are ground truth with
noise, some of them wrong. Figures of the reference implementation (its own scenes of the same kind and size): matching
of 8 views x 10 objects 6.5 CPU seconds, bundle adjustment 3.2, and 3.8 GB where objects occur many times.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pose_models import program
from pose_models.evaluation.table import table
from pose_models.geometry.transforms import from_rotation_translation, invert, random_rotation
from pose_models.multiview.adjustment import Scene
from pose_models.multiview.boxes import Box
from pose_models.multiview.config import AdjustSettings, MatchSettings
from pose_models.multiview.matching import Candidates, match
from pose_models.multiview.scene import ReconstructedScene, reconstruct

REFERENCE = {"matching": 6.5, "adjustment": 3.2, "memory": 3800.0}
SIZES = {1: (120, 80, 50), 2: (70, 70, 140), 3: (90, 60, 40), 4: (60, 60, 60), 5: (80, 30, 30)}
AXIS = {"axis": [0, 0, 1], "offset": [0, 0, 0]}
FLIP = np.diag([1.0, -1, -1, 1]).ravel().tolist()
SYMMETRIES = {
    2: {"symmetries_continuous": [AXIS]},
    3: {"symmetries_discrete": [FLIP]},
    5: {"symmetries_continuous": [{"axis": [1, 0, 0], "offset": [0, 0, 0]}], "symmetries_discrete": [FLIP]},
}


def arguments() -> argparse.ArgumentParser:
    """Command line."""
    parser = program.parser(__doc__ or "")
    parser.add_argument("--repeats", type=int, default=3, help="scenes per figure")
    return parser


def boxes() -> dict[int, Box]:
    """Five objects: two without symmetry, one with a discrete, two with a continuous one."""
    infos = {
        obj_id: {**{f"min_{a}": -s / 2 for a, s in zip("xyz", size, strict=True)},
                 **{f"size_{a}": s for a, s in zip("xyz", size, strict=True)}, **SYMMETRIES.get(obj_id, {})}
        for obj_id, size in SIZES.items()
    }  # fmt: skip
    return {obj_id: Box.from_info(info) for obj_id, info in infos.items()}


def made_scene(
    rng: np.random.Generator, views: int, objects: int, missed: float = 0.15, wrong: float = 0.1, noise: float = 1.0
) -> tuple[Candidates, NDArray[np.int64], Scene, dict[int, NDArray[np.float64]]]:
    """Candidates of a made scene, their objects (-1: a wrong one), the true scene, and K by view id.

    Args:
        views, objects: how many; objects repeat the five kinds.
        missed: share of objects that a view does not see; wrong: share of candidates with a pose out of thin air.
        noise: factor of 2 mm across, 6 mm along the line of sight, 2 degrees.
    """
    obj_id = np.arange(objects) % len(SIZES) + 1
    spread = 110 * np.sqrt(objects)
    T_world_obj = from_rotation_translation(
        random_rotation(rng, objects), np.c_[rng.uniform(-spread, spread, (objects, 2)), rng.uniform(0, 60, objects)]
    )
    T_cam_world = np.stack([_camera(rng, 4 * spread) for _ in range(views)])
    table_of = boxes()
    rows, owner = [], []
    for view in range(views):
        for i in range(objects):
            if rng.random() < missed:
                continue
            T = T_cam_world[view] @ T_world_obj[i]
            turn = Rotation.from_rotvec(rng.normal(scale=np.radians(2) * noise, size=3)).as_matrix()
            S = table_of[int(obj_id[i])].symmetries
            T = T @ S[rng.integers(len(S))] @ from_rotation_translation(turn, np.zeros(3))
            ray = T[:3, 3] / np.linalg.norm(T[:3, 3])
            T[:3, 3] += rng.normal(scale=2 * noise, size=3) + ray * rng.normal(scale=6 * noise)
            is_wrong = rng.random() < wrong
            if is_wrong:
                T = from_rotation_translation(random_rotation(rng), T[:3, 3] + rng.normal(scale=150, size=3))
            rows.append((view, obj_id[i], rng.uniform(0.4, 1), T))
            owner.append(-1 if is_wrong else i)
    view_id, kind, score, T_all = zip(*rows, strict=True)
    candidates = Candidates(np.array(view_id), np.array(kind), np.array(score), np.stack(T_all))
    K = np.array([[1000.0, 0, 640], [0, 1000, 480], [0, 0, 1]])
    return candidates, np.array(owner), Scene(T_world_obj, T_cam_world), dict.fromkeys(range(views), K)


def _camera(rng: np.random.Generator, distance: float) -> NDArray[np.float64]:
    azimuth, elevation = rng.uniform(0, 2 * np.pi), rng.uniform(0.4, 1.2)
    direction = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    z = -direction
    x = np.cross(z, [0, 0, 1.0])
    x /= np.linalg.norm(x)
    R_world_cam = np.stack([x, np.cross(z, x), z], axis=1)
    return invert(from_rotation_translation(R_world_cam, direction * distance))


def pose_error_mm(
    found: ReconstructedScene, owner: NDArray[np.int64], truth: Scene, T_cam_world: NDArray[np.float64]
) -> float:
    """Mean distance up to symmetry between an adjusted object, seen from each camera, and the truth there."""
    table_of, errors = boxes(), []
    for i, obj_id in enumerate(found.obj_id):
        members = owner[found.rows[found.object_index == i]]
        true = np.bincount(members[members >= 0], minlength=1).argmax()
        for v, view in enumerate(found.view_id):
            ours = T_cam_world[v] @ found.T_world_obj[i]
            theirs = truth.T_cam_world[view] @ truth.T_world_obj[true]
            errors.append(table_of[int(obj_id)].distance(ours[None], theirs[None])[0][0])
    return float(np.mean(errors))


def peak_mb() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(args: argparse.Namespace) -> None:
    """Measure and print."""
    table_of = boxes()
    matching, adjusting, legacy, errors = [], [], [], []
    for seed in range(args.repeats):
        candidates, owner, truth, K = made_scene(np.random.default_rng(seed), 8, 10)
        start = time.process_time()
        match(candidates, table_of, MatchSettings())
        matching.append(time.process_time() - start)
        row = []
        for mode, times in (("robust", adjusting), ("faithful", legacy)):
            start = time.process_time()
            (scene,) = reconstruct(candidates, K, table_of, MatchSettings(), AdjustSettings(mode=mode))
            times.append(time.process_time() - start - matching[-1])
            row.append(pose_error_mm(scene, owner, truth, invert(scene.T_world_cam)))
        row.append(pose_error_mm(scene, owner, truth, scene.adjusted.initial.T_cam_world))
        errors.append(row)
    known, all_of = 0, 10
    candidates, owner, truth, _ = made_scene(np.random.default_rng(7), 2, all_of, missed=0, wrong=0, noise=0.5)
    cameras = dict(enumerate(invert(truth.T_cam_world)))
    index = match(candidates, table_of, MatchSettings(), cameras).object_index
    known = sum(len(set(index[owner == i])) == 1 and index[owner == i][0] >= 0 for i in range(all_of))
    before = peak_mb()
    many, _, _, K = made_scene(np.random.default_rng(0), 6, 60)
    start = time.process_time()
    reconstruct(many, K, table_of, MatchSettings(), AdjustSettings())
    crowd = time.process_time() - start
    found, took, reference_mode = (float(np.median(values)) for values in (matching, adjusting, legacy))
    rows = [
        ["matching, 8 views x 10 objects", f"{found:.3f}", f"{REFERENCE['matching']}", _ratio("matching", found)],
        ["adjustment", f"{took:.3f}", f"{REFERENCE['adjustment']}", _ratio("adjustment", took)],
        ["adjustment, the reference's steps", f"{reference_mode:.3f}", "", ""],
        [f"6 views x 60 objects, {len(many)} candidates, both", f"{crowd:.1f}", "", ""],
    ]
    print(table(["CPU seconds", "ours", "reference", "ratio"], rows))
    mean = np.mean(errors, axis=0)
    print(f"mean error of objects in cameras: initial {mean[2]:.2f} mm, ours {mean[0]:.2f}, its steps {mean[1]:.2f}")
    print(f"two known cameras: {known} of {all_of} objects matched (the reference: 0)")
    print(f"peak memory {peak_mb():.0f} MB ({before:.0f} before the crowd; reference 3,800 in crowded scenes)")


def _ratio(name: str, seconds: float) -> str:
    return f"{REFERENCE[name] / seconds:.0f}"


if __name__ == "__main__":
    program.run(main, arguments())
