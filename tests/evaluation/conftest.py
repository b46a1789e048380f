"""A small dataset made here: a box and a cylinder-like prism, two scenes of two images, exact depth by rasterising."""

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from pose_models.datasets.bop import BopDataset
from pose_models.datasets.estimates import Estimates
from pose_models.evaluation.groundtruth import annotate_image, write_scene
from pose_models.geometry.transforms import random_rotation
from pose_models.meshes.mesh import Mesh, load_mesh, save_ply
from pose_models.render.rasterize import Window, rasterize

WIDTH, HEIGHT = 160, 120
K = np.array([[200.0, 0, 79.0], [0, 210.0, 61.0], [0, 0, 1]])


def prism(sides: int, radius: float, height: float, squeeze: float = 1.0) -> Mesh:
    """A closed prism along z; `squeeze` scales x, which breaks its symmetry."""
    angles = 2 * np.pi * np.arange(sides) / sides
    ring = np.stack([radius * squeeze * np.cos(angles), radius * np.sin(angles)], axis=1)
    low, high = (np.column_stack([ring, np.full(sides, z)]) for z in (-height / 2, height / 2))
    vertices = np.concatenate([low, high, [[0, 0, -height / 2], [0, 0, height / 2]]])
    i, j = np.arange(sides), (np.arange(sides) + 1) % sides
    bottom, top = np.full(sides, 2 * sides), np.full(sides, 2 * sides + 1)
    faces = [(i, j, sides + j), (i, sides + j, sides + i), (bottom, j, i), (top, sides + i, sides + j)]
    return Mesh(vertices, np.concatenate([np.stack(f, axis=1) for f in faces]).astype(np.int64))


def diameter(mesh: Mesh) -> float:
    return float(np.linalg.norm(mesh.vertices[:, None] - mesh.vertices[None], axis=-1).max())


@pytest.fixture(scope="session")
def made_dataset(tmp_path_factory) -> Path:
    """Dataset folder `made`: objects 1 (no symmetry) and 2 (continuous about z); annotated by our own tools."""
    root = tmp_path_factory.mktemp("made") / "made"
    rng = np.random.default_rng(7)
    meshes = {1: prism(5, 30, 40, squeeze=0.6), 2: prism(24, 20, 50)}
    infos = {str(obj_id): {"diameter": diameter(mesh)} for obj_id, mesh in meshes.items()}
    infos["2"]["symmetries_continuous"] = [{"axis": [0, 0, 1], "offset": [0, 0, 0]}]
    for folder in ("models", "models_eval"):
        for obj_id, mesh in meshes.items():
            save_ply(root / folder / f"obj_{obj_id:06d}.ply", mesh)
        (root / folder / "models_info.json").write_text(json.dumps(infos))
    (root / "camera.json").write_text(json.dumps({"width": WIDTH, "height": HEIGHT}))
    for scene_id in (1, 2):
        _scene(root / "test" / f"{scene_id:06d}", meshes, rng)
    dataset = BopDataset(root)
    targets = []
    for scene_id in (1, 2):
        scene = dataset.scene("test", scene_id)
        images = [annotate_image(scene, i, lambda o: load_mesh(dataset.model_path(o)), 15.0) for i in scene.image_ids]
        write_scene(scene, images, "made")
        for image in images:
            for obj_id in sorted(set(image.obj_ids)):
                visible = sum(
                    o == obj_id and info["visib_fract"] >= 0.1
                    for o, info in zip(image.obj_ids, image.infos, strict=True)
                )
                if visible:
                    targets.append(
                        {"scene_id": scene_id, "im_id": image.im_id, "obj_id": obj_id, "inst_count": visible}
                    )
    (root / "test_targets_bop19.json").write_text(json.dumps(targets))
    return root


def _scene(folder: Path, meshes: dict[int, Mesh], rng: np.random.Generator) -> None:
    (folder / "depth").mkdir(parents=True)
    cameras, truths = {}, {}
    for im_id in (0, 3):
        depth = np.full((HEIGHT, WIDTH), 900.0, np.float32)
        truths[str(im_id)] = []
        for obj_id in (1, 2, 1):
            R, t = random_rotation(rng), np.array([rng.uniform(-80, 80), rng.uniform(-50, 50), rng.uniform(350, 600)])
            layer = rasterize(meshes[obj_id], K, R, t, Window.of_image(WIDTH, HEIGHT)).paste(WIDTH, HEIGHT)
            depth = np.where((layer > 0) & (layer < depth), layer, depth)
            truths[str(im_id)].append({"obj_id": obj_id, "cam_R_m2c": R.ravel().tolist(), "cam_t_m2c": t.tolist()})
        cameras[str(im_id)] = {"cam_K": K.ravel().tolist(), "depth_scale": 0.1}
        cv2.imwrite(str(folder / "depth" / f"{im_id:06d}.png"), np.round(depth * 10).astype(np.uint16))
    (folder / "scene_camera.json").write_text(json.dumps(cameras))
    (folder / "scene_gt.json").write_text(json.dumps(truths))


@pytest.fixture(scope="session")
def perfect(made_dataset) -> Estimates:
    """The ground truth as estimates, scores falling from 1."""
    dataset = BopDataset(made_dataset)
    rows = [
        (scene_id, im_id, instance.obj_id, instance.T_cam_obj)
        for scene_id in (1, 2)
        for im_id, instances in dataset.scene("test", scene_id).ground_truth.items()
        for instance in instances
    ]
    T = np.stack([row[3] for row in rows])
    ids = np.array([row[:3] for row in rows], dtype=np.int64)
    count = len(rows)
    return Estimates(*ids.T, np.linspace(1, 0.5, count), T[:, :3, :3], T[:, :3, 3], np.full(count, 0.5))


@pytest.fixture(scope="session")
def noisy(perfect) -> Estimates:
    """Estimates that are off by some centimetres, in random order of score."""
    rng = np.random.default_rng(3)
    shift = rng.normal(scale=12.0, size=(len(perfect), 3))
    return dataclasses.replace(perfect, t=perfect.t + shift, score=rng.random(len(perfect)))
