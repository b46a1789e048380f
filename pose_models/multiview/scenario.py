"""A custom scenario: candidate poses and cameras in a folder, reconstructed scenes out of it (cosypose.md 12.8).

FOLDER/models/             models_info.json and meshes, BOP layout, mm
FOLDER/candidates.csv      BOP result file of one scene; im_id tells the view
FOLDER/scene_camera.json   by view: cam_K, and cam_R_w2c, cam_t_w2c where camera poses are known
FOLDER/rgb/000001.png      images, to draw on; not needed
FOLDER/detections.json     BOP COCO boxes, FOLDER/scene_gt.json ground truth: to draw; not needed
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models.datasets.bop import read_models_info
from pose_models.datasets.estimates import Estimates, read_estimates, write_estimates
from pose_models.datasets.index import INSTANCES, load_table
from pose_models.datasets.records import Instance
from pose_models.datasets.scene import instance
from pose_models.detections.coco import Detections, read_detections
from pose_models.files import InputError, atomic_path, read_json, write_json
from pose_models.geometry.transforms import from_rotation_translation, invert
from pose_models.multiview.config import MultiviewSettings
from pose_models.multiview.matching import Candidates
from pose_models.multiview.scene import ReconstructedScene, reconstruct
from pose_models.multiview.stage import boxes_of, candidates_of, with_scores_of

Array = NDArray[np.float64]
MM_PER_M = 1000.0


@dataclasses.dataclass(frozen=True)
class Scenario:
    """What a folder holds: candidates, K and, where they are known, T_world_cam (mm) and ground truth by view id."""

    folder: Path
    scene_id: int
    candidates: Candidates
    K: dict[int, Array]
    T_world_cam: dict[int, Array]
    truth: dict[int, list[Instance]]
    detections: Detections | None

    @property
    def views(self) -> list[int]:
        """View ids, ascending."""
        return sorted(self.K)

    def image(self, view: int) -> Path | None:
        """The image of a view, None where there is none."""
        names = [self.folder / "rgb" / f"{view:06d}.{suffix}" for suffix in ("png", "jpg")]
        return next((path for path in names if path.exists()), None)


def read_scenario(folder: Path, settings: MultiviewSettings) -> Scenario:
    """Read and check a scenario.

    Raises:
        InputError: a file is missing or wrong, the candidates are of several scenes, or a view has no camera.
    """
    path = folder / "candidates.csv"
    estimates = with_scores_of(read_estimates(path), settings)
    scenes = np.unique(estimates.scene_id).tolist()
    if len(scenes) != 1:
        raise InputError(f"{path}: has candidates of scenes {scenes}, a scenario is one scene; split the file")
    entries = read_json(folder / "scene_camera.json")
    cameras = {int(key): _camera(folder / "scene_camera.json", key, value) for key, value in entries.items()}
    without = sorted(set(estimates.im_id.tolist()) - set(cameras))
    if without:
        raise InputError(f"{folder / 'scene_camera.json'}: no entry for view {without[0]}, which has candidates")
    known = {view: T for view, (_, T) in cameras.items() if T is not None}
    if settings.known_cameras and len(known) < len(cameras):
        first = min(set(cameras) - set(known))
        raise InputError(f"{folder / 'scene_camera.json'}: view {first} has no cam_R_w2c; set known_cameras=false")
    candidates = candidates_of(estimates, scenes[0], list(cameras))
    return Scenario(
        folder, scenes[0], candidates, {view: K for view, (K, _) in cameras.items()}, known, *_to_draw(folder)
    )


def _to_draw(folder: Path) -> tuple[dict[int, list[Instance]], Detections | None]:
    truth, boxes = folder / "scene_gt.json", folder / "detections.json"
    instances: dict[int, list[Instance]] = {}
    if truth.exists():
        table = load_table(INSTANCES, truth)
        instances = {i: [instance(table, n, row) for n, row in enumerate(table.rows(i))] for i in table.positions}
    return instances, read_detections(boxes) if boxes.exists() else None


def _camera(path: Path, key: str, entry: Any) -> tuple[Array, Array | None]:
    try:
        K = np.array(entry["cam_K"], dtype=np.float64).reshape(3, 3)
        if "cam_R_w2c" not in entry:
            return K, None
        R, t = np.array(entry["cam_R_w2c"], dtype=np.float64).reshape(3, 3), np.array(entry["cam_t_w2c"], np.float64)
        return K, invert(from_rotation_translation(R, t))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: entry {key} has no camera of 9 numbers cam_K ({error})") from None


def solve(scenario: Scenario, settings: MultiviewSettings) -> list[ReconstructedScene]:
    """Reconstruct the scenes of a scenario; views that do not hang together give several."""
    boxes = boxes_of(read_models_info(scenario.folder / "models"), settings.match.rotations)
    unknown = set(scenario.candidates.obj_id.tolist()) - set(boxes)
    if unknown:
        raise InputError(f"{scenario.folder / 'models'}: no object {min(unknown)}, which candidates.csv names")
    known = scenario.T_world_cam if settings.known_cameras else None
    return reconstruct(scenario.candidates, scenario.K, boxes, settings.match, settings.adjust, known)


def write_scene(folder: Path, scene: ReconstructedScene, scene_id: int, nms_mm: float) -> None:
    """Write predicted_scene.json (metres, after suppression in space) and scene_reprojected.csv (all objects, mm)."""
    best = scene.without_duplicates(nms_mm)
    objects = [
        {"score": float(score), "label": f"obj_{obj_id:06d}", "n_cand": int(count), "TWO": _metres(T)}
        for score, obj_id, count, T in zip(
            best.score, best.obj_id, best.candidates_of_object, best.T_world_obj, strict=True
        )
    ]
    cameras = [
        {"view_id": int(view), "TWC": _metres(T), "K": K.tolist()}
        for view, T, K in zip(scene.view_id, scene.T_world_cam, scene.K, strict=True)
    ]
    seen = scene.reprojected()
    estimates = Estimates(
        scene_id=np.full(len(seen), scene_id, dtype=np.int64),
        im_id=seen.view_id,
        obj_id=seen.obj_id,
        score=seen.score,
        R=seen.T_cam_obj[:, :3, :3],
        t=seen.T_cam_obj[:, :3, 3],
        time=np.full(len(seen), -1.0),
    )
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        write_json(temporary / "predicted_scene.json", {"objects": objects, "cameras": cameras})
        write_estimates(temporary / "scene_reprojected.csv", estimates)


def _metres(T: Array) -> list[list[float]]:
    scaled = T.copy()
    scaled[:3, 3] /= MM_PER_M
    rows: list[list[float]] = scaled.tolist()
    return rows
