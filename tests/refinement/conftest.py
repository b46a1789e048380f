"""A BOP dataset made here: two kinds of parts on a table, seen by a depth camera with noise and an occluder."""

import dataclasses
import json

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pose_models.datasets.estimates import Estimates, write_estimates
from pose_models.geometry.transforms import from_rotation_translation, random_rotation
from pose_models.meshes.mesh import Mesh, save_ply
from pose_models.meshes.shapes import box, merged
from pose_models.render.raycast import RayCaster

WIDTH, HEIGHT = 320, 240
K = np.array([[400.0, 0, 161.3], [0, 400.0, 118.6], [0, 0, 1]])
IMAGES, PARTS = 8, 3
PLACES = [(-60, -30), (55, -25), (0, 40)]


def parts() -> dict[int, Mesh]:
    """Parts without symmetry."""
    return {
        1: merged([box((70, 40, 25)), box((20, 30, 40), (20, 5, 20))]),
        2: merged([box((50, 50, 30)), box((15, 15, 35), (-15, 10, 25)), box((30, 12, 12), (0, -20, 18))]),
    }


@dataclasses.dataclass
class Made:
    """The dataset's folder, the file of estimates, and true poses (N, 4, 4) in the order of its lines."""

    root: object
    estimates: object
    truth: np.ndarray

    def errors(self, estimates, K=K):
        """Largest distances of vertices mm and of their projections px, (N,) each."""
        meshes, found, pixels = parts(), [], []
        for obj_id, T, R, t in zip(estimates.obj_id, self.truth, estimates.R, estimates.t, strict=True):
            a = meshes[obj_id].vertices @ R.T + t
            b = meshes[obj_id].vertices @ T[:3, :3].T + T[:3, 3]
            found.append(np.linalg.norm(a - b, axis=1).max())
            uv = [(p @ K.T)[:, :2] / p[:, 2:] for p in (a, b)]
            pixels.append(np.linalg.norm(uv[0] - uv[1], axis=1).max())
        return np.array(found), np.array(pixels)


def make(folder, offset_px=(0, 0), rotation_deg=3.0, lateral_mm=2.0, depth_mm=8.0, images=IMAGES) -> Made:
    """Write the dataset; its depth lies `offset_px` right of and below where colour would be."""
    rng = np.random.default_rng(11)
    meshes = parts()
    casters = {obj_id: RayCaster(mesh) for obj_id, mesh in meshes.items()}
    for obj_id, mesh in meshes.items():
        save_ply(folder / "models" / f"obj_{obj_id:06d}.ply", mesh)
    diameters = {i: float(np.linalg.norm(np.ptp(m.vertices, axis=0))) for i, m in meshes.items()}
    (folder / "models" / "models_info.json").write_text(json.dumps({i: {"diameter": d} for i, d in diameters.items()}))
    scene = folder / "test" / "000001"
    (scene / "depth").mkdir(parents=True)
    shifted = K.copy()
    shifted[:2, 2] += offset_px
    table = RayCaster(box((2000, 2000, 10)))
    rows, truth = [], []
    for im_id in range(images):
        tilt = Rotation.from_euler("x", 200, degrees=True).as_matrix()
        depth = table.cast(shifted, from_rotation_translation(tilt, [0, 0, 520]), WIDTH, HEIGHT).depth.copy()
        for place in range(PARTS):
            obj_id = 1 + (im_id + place) % 2
            T = from_rotation_translation(random_rotation(rng), [*PLACES[place], rng.uniform(430, 470)])
            own = casters[obj_id].cast(shifted, T, WIDTH, HEIGHT).depth
            depth = np.where((own > 0) & (own < depth), own, depth)
            R = Rotation.from_rotvec(np.radians(rng.normal(0, rotation_deg, 3))).as_matrix() @ T[:3, :3]
            t = T[:3, 3] + rng.normal(0, [lateral_mm, lateral_mm, depth_mm])
            truth.append(T)
            rows.append((im_id, obj_id, R, t))
        depth[:, 150:158] = 300  # a bar in front
        depth += rng.normal(0, 0.7, depth.shape)
        depth[rng.random(depth.shape) < 0.02] = 0
        cv2.imwrite(str(scene / "depth" / f"{im_id:06d}.png"), np.round(depth * 10).clip(0, 65535).astype(np.uint16))
    cameras = {im_id: {"cam_K": K.ravel().tolist(), "depth_scale": 0.1} for im_id in range(images)}
    (scene / "scene_camera.json").write_text(json.dumps(cameras))
    n = len(rows)
    estimates = Estimates(
        np.full(n, 1), np.array([r[0] for r in rows]), np.array([r[1] for r in rows]), np.linspace(0.5, 0.9, n),
        np.stack([r[2] for r in rows]), np.stack([r[3] for r in rows]), np.full(n, 0.25),
    )  # fmt: skip
    write_estimates(folder / "estimates.csv", estimates)
    return Made(folder, folder / "estimates.csv", np.stack(truth))


@pytest.fixture(scope="session")
def table(tmp_path_factory):
    """The dataset with depth where colour is."""
    return make(tmp_path_factory.mktemp("table"))


@pytest.fixture(scope="session")
def misaligned(tmp_path_factory):
    """The dataset with depth three pixels beside colour, and estimates that are good already."""
    return make(tmp_path_factory.mktemp("misaligned"), (3, -2), 1.0, 0.5, 2.0)
