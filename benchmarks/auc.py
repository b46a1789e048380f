#!/usr/bin/env python3
"""CPU seconds of the AUC protocol on as many poses as YCB-V's keyframes have, and the ratio to brute force.

2,949 images of 5 objects, models of 2,620 points, estimates with small errors. Brute force is the matrix of all
distances, as the reference implementation computes it (0.18 s a pair, cosypose.md 9.1), measured here on some pairs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from scipy.spatial.transform import Rotation

from pose_models import program
from pose_models.datasets.bop import BopDataset
from pose_models.datasets.estimates import Estimates, write_estimates
from pose_models.evaluation.protocols import Run, score_files
from pose_models.evaluation.table import table
from pose_models.evaluation.world import World
from pose_models.meshes.mesh import Mesh, save_ply
from pose_models.meshes.shapes import box

REFERENCE_SECONDS_PER_PAIR = 0.18


def arguments() -> argparse.ArgumentParser:
    """Command line."""
    parser = program.parser(__doc__ or "")
    parser.add_argument("--images", type=int, default=2949, help="images")
    parser.add_argument("--objects", type=int, default=5, help="objects in each image")
    parser.add_argument("--brute", type=int, default=5, help="pairs to measure brute force on")
    return parser


def points_of(count: int, rng: np.random.Generator) -> Mesh:
    """A bumpy ball of `count` vertices; faces do not matter here."""
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    vertices = 60 * directions * (1 + 0.2 * np.sin(5 * directions[:, :1])) * [1, 0.8, 1.3]
    return Mesh(vertices, box([1, 1, 1]).faces)


def make(root: Path, args: argparse.Namespace) -> Path:
    """A dataset without images, and estimates near its ground truth; returns the result file."""
    rng = np.random.default_rng(0)
    infos = {}
    for obj_id in range(1, args.objects + 1):
        mesh = points_of(2620, rng)
        save_ply(root / "models_eval" / f"obj_{obj_id:06d}.ply", mesh)
        infos[str(obj_id)] = {"diameter": float(np.ptp(mesh.vertices, axis=0).max())}
        if obj_id % 2 == 0:
            infos[str(obj_id)]["symmetries_discrete"] = [np.diag([-1.0, -1, 1, 1]).ravel().tolist()]
    (root / "models_eval" / "models_info.json").write_text(json.dumps(infos))
    (root / "camera.json").write_text(json.dumps({"width": 640, "height": 480}))
    n = args.images * args.objects
    R = Rotation.random(n, random_state=1).as_matrix()
    t = rng.uniform([-200, -150, 600], [200, 150, 1200], size=(n, 3))
    image = np.repeat(np.arange(args.images), args.objects)
    obj_id = np.tile(np.arange(1, args.objects + 1), args.images)
    scene = root / "test" / "000001"
    scene.mkdir(parents=True)
    gt: dict[str, list[dict[str, object]]] = {}
    for i in range(n):
        pose = {"obj_id": int(obj_id[i]), "cam_R_m2c": R[i].ravel().tolist(), "cam_t_m2c": t[i].tolist()}
        gt.setdefault(str(image[i]), []).append(pose)
    info = {"bbox_obj": [0] * 4, "bbox_visib": [0] * 4, "px_count_all": 1, "px_count_valid": 1, "px_count_visib": 1}
    camera = {"cam_K": [1066.8, 0, 313.0, 0, 1067.5, 241.3, 0, 0, 1], "depth_scale": 0.1}
    files = {
        "scene_gt": gt,
        "scene_gt_info": {key: [{**info, "visib_fract": 1.0}] * args.objects for key in gt},
        "scene_camera": dict.fromkeys(gt, camera),
    }
    for name, content in files.items():
        (scene / f"{name}.json").write_text(json.dumps(content))
    noise = Rotation.from_rotvec(rng.normal(scale=0.1, size=(n, 3))).as_matrix()
    estimates = Estimates(
        scene_id=np.ones(n, dtype=np.int64),
        im_id=image,
        obj_id=obj_id,
        score=rng.uniform(size=n),
        R=noise @ R,
        t=t + rng.normal(scale=8, size=(n, 3)),
        time=np.ones(n),
    )
    path = root / "near_made-test.csv"
    write_estimates(path, estimates)
    return path


def brute_force(root: Path, pairs: int) -> float:
    """CPU seconds of one ADD-S by the matrix of all distances."""
    points = World(BopDataset(root)).object(1).mesh.vertices
    start = time.process_time()
    for i in range(pairs):
        np.linalg.norm(points[:, None] + float(i) - points[None], axis=-1).min(axis=1).mean()
    return (time.process_time() - start) / pairs


def main(args: argparse.Namespace) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "made")
        root.mkdir()
        path = make(root, args)
        start = time.process_time()
        (scores,) = score_files(World(BopDataset(root)), "ycbv-auc", [path], Run(progress=program.progress))
        ours = time.process_time() - start
        pairs = args.images * args.objects
        brute, reference = brute_force(root, args.brute) * pairs, REFERENCE_SECONDS_PER_PAIR * pairs
    rows = [
        ["ours, annotations read", f"{ours:.1f}", "1"],
        ["brute force here, ADD-S alone", f"{brute:.0f}", f"{brute / ours:.0f}"],
        ["reference, from its seconds a pair", f"{reference:.0f}", f"{reference / ours:.0f}"],
    ]
    print(table([f"{args.images} images x {args.objects} objects", "CPU s", "ratio"], rows))
    print(f"AUC of ADD-S {scores['auc_add_s']:.3f}, of ADD(-S) {scores['auc_add(-s)']:.3f}")


if __name__ == "__main__":
    program.run(main, arguments())
