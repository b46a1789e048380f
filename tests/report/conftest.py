"""A small dataset with results of two runs, made by the real parts: importer, ray caster, evaluation."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from pose_models.datasets.bop import BopDataset
from pose_models.datasets.estimates import Estimates, write_estimates
from pose_models.evaluation.protocols import Run, score_files
from pose_models.evaluation.world import World
from pose_models.files import write_json
from pose_models.meshes.mesh import Mesh, save_ply
from pose_models.synthesis.photos import import_photos
from pose_models.synthesis.photos_config import PhotosDescription

WIDTH, HEIGHT, SIDE = 160, 120, 64
CAMERA = {"fx": 200.0, "fy": 200.0, "cx": 79.5, "cy": 59.5}
TURN = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1.0]])


def cuboid(size: tuple[float, float, float]) -> Mesh:
    """Box of the given sides (mm) around the origin."""
    sign = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)])
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = [face for a, b, c, d in quads for face in ((a, b, c), (a, c, d))]
    return Mesh(sign * np.array(size) / 2, np.array(faces))


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> BopDataset:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    save_ply(folder / "a.ply", cuboid((60, 40, 20)))
    save_ply(folder / "b.ply", cuboid((30, 30, 50)))
    photos = []
    for image in (0, 1):
        cv2.imwrite(str(folder / f"{image}.png"), rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8))
        objects = [
            {"model": 1, "pose": {"R": TURN.tolist(), "t": [-30, 5, 450]}, "pose_source": "a ruler",
             "outline": [[50, 40], [90, 40], [90, 80], [50, 80]] if image == 0 else []},
            {"model": 2, "pose": {"rotvec": [0.4, 0.2, 0], "t": [40, -10 * image, 500]}},
        ]  # fmt: skip
        photos.append({"scene": 1, "image": image, "file": f"{image}.png", "camera": CAMERA, "objects": objects})
    models = {1: {"file": "a.ply", "name": "flat box"}, 2: {"file": "b.ply"}}
    description = PhotosDescription.model_validate({"title": "two boxes", "models": models, "photos": photos})
    out = folder / "boxes"
    import_photos(description, folder, out)
    write_json(folder / "simulated.json", _detections())
    return BopDataset(out)


def _detections() -> list[dict[str, object]]:
    keys = ("scene_id", "image_id", "category_id", "score", "bbox", "time")
    values = [(1, image, obj, 0.9, [40, 30, 40, 40], 0.0) for image in (0, 1) for obj in (1, 2)]
    return [dict(zip(keys, row, strict=True)) for row in values]


@pytest.fixture
def detections(dataset) -> Path:
    return dataset.root.parent / "simulated.json"


@pytest.fixture(scope="session")
def results(dataset, tmp_path_factory) -> Path:
    """Results of `exact` (ground truth, 20 mm off for object 2) and of `bare`, which left its estimates only."""
    root = tmp_path_factory.mktemp("results")
    truth = [(im, i) for im in (0, 1) for i in dataset.scene("test", 1).ground_truth[im]]
    T = np.stack([instance.T_cam_obj for _, instance in truth])
    obj_id = np.array([instance.obj_id for _, instance in truth])
    T[obj_id == 2, 2, 3] += 20
    n = len(truth)
    estimates = Estimates(
        np.full(n, 1), np.array([im for im, _ in truth]), obj_id, np.ones(n), T[:, :3, :3], T[:, :3, 3], np.full(n, 0.5)
    )
    for run in ("exact", "bare"):
        (root / run).mkdir()
        write_estimates(root / run / "estimates.csv", estimates)
    _scores(dataset, root / "exact")
    _inspection(root / "exact" / "inspect.npz", truth, T)
    train = root / "exact" / "train"
    train.mkdir()
    rows = ["step,seconds,train/loss,valid/loss", "10,1,3.5,", "20,2,2.5,2.75", "30,3,2.25,2.5", "40,4,2,2.4"]
    (train / "metrics.csv").write_text("\n".join(rows) + "\n")
    write_json(train / "settings.json", {"train": {"steps": 40}, "network": {"backbone": "small"}})
    _benchmarks(root / "benchmarks")
    return root


def _scores(dataset: BopDataset, folder: Path) -> None:
    # VSD needs depth, which these photographs do not have: the evaluation would refuse them, so it is given here.
    scene = dataset.scene("test", 1)
    for im_id in (0, 1):
        path = scene.path / "depth" / f"{im_id:06d}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), np.zeros((HEIGHT, WIDTH), np.uint16))
    (scores,) = score_files(World(dataset, "test"), "bop19", [folder / "estimates.csv"], Run())
    scores["provenance"] = {"commit": "abc1234", "versions": {"python": "3.11.9", "numpy": "2.0"}}
    write_json(folder / "scores.json", scores)


def _inspection(path: Path, truth: list, T: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    n = len(truth)
    K = np.array([[200.0, 0, 79.5], [0, 200.0, 59.5], [0, 0, 1]])
    centers = T[:, :3, 3] @ K.T
    centers = centers[:, :2] / centers[:, 2:]
    K_crop = np.stack([np.array([[1, 0, SIDE / 2 - u], [0, 1, SIDE / 2 - v], [0, 0, 1]]) @ K for u, v in centers])
    images = rng.integers(0, 255, (3, n, SIDE, SIDE, 3), dtype=np.uint8)
    T_est = T.copy()
    T_est[-1] = np.nan  # a detection without a pose
    np.savez(
        path, crop=images[0], query_vis=images[1], key_vis=images[2], K_crop=K_crop, T_est=T_est,
        mask_prob=rng.uniform(0, 1, (n, SIDE, SIDE)).astype(np.float32),
        index=np.array([[1, im, i.obj_id, 0.5] for im, i in truth]),
    )  # fmt: skip


def _benchmarks(folder: Path) -> None:
    (folder / "train").mkdir(parents=True)
    record = {"s": 83.0, "h:m:s": "0:01:23", "max_rss": 900.5, "cpu_time": 150.0, "rule_name": "train"}
    (folder / "train" / "exact.jsonl").write_text(json.dumps({**record, "wildcards": {"run": "exact"}}) + "\n")
    for scene in (1, 2):
        record = {"s": 10.0 * scene, "max_rss": 100.0 * scene, "cpu_time": 5.0, "rule_name": "demo_scene"}
        (folder / f"scene_{scene}.jsonl").write_text(json.dumps(record) + "\n" + '{"s": 3, "tru')
    (folder / "targets.tsv").write_text("s\th:m:s\tmax_rss\tcpu_time\n0.5\t0:00:00\t-\t0.25\n")
