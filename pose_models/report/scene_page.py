"""A page of reconstructed scenes: a 3D view to turn, and candidates and objects drawn into every view."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from pose_models.datasets.image_files import read_image
from pose_models.geometry.cameras import project
from pose_models.geometry.transforms import apply
from pose_models.meshes.mesh import Mesh, load_mesh
from pose_models.multiview.matching import Candidates
from pose_models.multiview.scenario import Scenario
from pose_models.multiview.scene import ReconstructedScene
from pose_models.render.raycast import RayCaster
from pose_models.report.overlay import COLORS, Drawn, draw_estimates
from pose_models.report.page import TEMPLATES, environment
from pose_models.report.pictures import data_uri

Array = NDArray[np.float64]
MOST_FACES = 2000  # of an object in the 3D view; finer meshes are made coarser


def scene_page(scenario: Scenario, scenes: Sequence[ReconstructedScene], nms_mm: float) -> str:
    """HTML of a scenario and its scenes; objects that double a better one are left out."""
    shown = [scene.without_duplicates(nms_mm) for scene in scenes]
    obj_ids = sorted(set(scenario.candidates.obj_id.tolist()))
    meshes = {i: load_mesh(scenario.folder / "models" / f"obj_{i:06d}.ply") for i in obj_ids}
    casters = {i: RayCaster(mesh) for i, mesh in meshes.items()}
    colors = {i: COLORS[n % len(COLORS)] for n, i in enumerate(obj_ids)}
    found = sum(len(scene.view_id) for scene in shown)
    return (
        environment()
        .get_template("scene.html.j2")
        .render(
            title=f"Scenario {scenario.folder.name}",
            summary=f"{len(scenario.candidates)} candidates in {len(scenario.views)} views; "
            f"{found} views hang together in {len(shown)} scene{'' if len(shown) == 1 else 's'}.",
            scenes=[_scene_table(scene, colors) for scene in shown],
            views=[_view(scenario, shown, view, casters, colors) for view in scenario.views],
            data=_embedded([_scene_data(scene, meshes, colors) for scene in shown]),
            script=Markup((TEMPLATES / "scene.js").read_text(encoding="utf-8")),
        )
    )


def _scene_table(scene: ReconstructedScene, colors: dict[int, tuple[int, int, int]]) -> dict[str, Any]:
    rows = zip(scene.obj_id.tolist(), scene.score, scene.candidates_of_object, scene.T_world_obj, strict=True)
    return {
        "views": scene.view_id.tolist(),
        "objects": [
            {
                "obj_id": obj_id,
                "color": f"rgb{colors[obj_id]}",
                "score": score,
                "count": int(count),
                "position": ", ".join(f"{v:.0f}" for v in T[:3, 3]),
            }
            for obj_id, score, count, T in rows
        ],
    }


def _view(
    scenario: Scenario, scenes: Sequence[ReconstructedScene], view: int, casters: dict[int, RayCaster],
    colors: dict[int, tuple[int, int, int]],
) -> dict[str, Any]:  # fmt: skip
    K = scenario.K[view]
    path = scenario.image(view)
    if path is not None:
        image = np.ascontiguousarray(read_image(path, cv2.IMREAD_COLOR)[..., ::-1])
    else:  # a camera's principal point is near its middle
        image = np.full((round(2 * K[1, 2]) + 1, round(2 * K[0, 2]) + 1, 3), 235, dtype=np.uint8)
    own = scenario.candidates.select(scenario.candidates.view_id == view)
    seen = [scene.reprojected() for scene in scenes if view in scene.view_id]
    after = [drawn for c in seen for drawn in _drawn(c.select(c.view_id == view), K, casters, colors)]
    pictures = [draw_estimates(image, K, items) for items in (_drawn(own, K, casters, colors), after)]
    return {
        "id": view,
        "count": len(own),
        "before": data_uri(pictures[0], quality=85),
        "after": data_uri(pictures[1], quality=85),
        "found": f"{len(after)} objects" if seen else "hangs together with no other view",
    }


def _drawn(
    candidates: Candidates, K: Array, casters: dict[int, RayCaster], colors: dict[int, tuple[int, int, int]]
) -> list[Drawn]:  # fmt: skip
    return [
        Drawn(casters[i], T, _box(casters[i].mesh, T, K), f"{i}: {score:.2f}", colors[i])
        for i, T, score in zip(candidates.obj_id.tolist(), candidates.T_cam_obj, candidates.score, strict=True)
    ]


def _box(mesh: Mesh, T_cam_obj: Array, K: Array) -> tuple[float, float, float, float]:
    """Box x, y, w, h px about the projected mesh, where its label goes; empty if any of it is behind the camera."""
    points = apply(T_cam_obj, mesh.vertices)
    if points[:, 2].min() <= 0:
        return 0.0, 0.0, 0.0, 0.0
    pixels = project(points, K)
    (x, y), (width, height) = pixels.min(axis=0).tolist(), np.ptp(pixels, axis=0).tolist()
    return x, y, width, height


def _scene_data(
    scene: ReconstructedScene, meshes: dict[int, Mesh], colors: dict[int, tuple[int, int, int]]
) -> dict[str, Any]:  # fmt: skip
    bodies = []
    for obj_id, T in zip(scene.obj_id.tolist(), scene.T_world_obj, strict=True):
        vertices, faces = _coarse(meshes[obj_id])
        posed = apply(T, vertices)
        bodies.append({"vertices": posed.round(1).tolist(), "faces": faces.tolist(), "color": list(colors[obj_id])})
    center = scene.T_world_obj[:, :3, 3].mean(axis=0)
    reach = 0.12 * float(np.linalg.norm(scene.T_world_cam[:, :3, 3] - center, axis=1).mean())
    cameras = []
    for view, K, T in zip(scene.view_id.tolist(), scene.K, scene.T_world_cam, strict=True):
        corners = np.array([[0, 0], [2 * K[0, 2], 0], [2 * K[0, 2], 2 * K[1, 2]], [0, 2 * K[1, 2]]])
        rays = np.c_[corners, np.ones(4)] @ np.linalg.inv(K).T * reach
        cameras.append({"id": view, "points": apply(T, np.r_[np.zeros((1, 3)), rays]).round(1).tolist()})
    return {"bodies": bodies, "cameras": cameras}


def _coarse(mesh: Mesh) -> tuple[Array, NDArray[np.int64]]:
    """Vertices (N, 3) and faces (F, 3), at most MOST_FACES: vertices in one cell of a grid become their mean."""
    vertices, faces = mesh.vertices, mesh.faces
    cells, extent = 32, float(np.ptp(mesh.vertices, axis=0).max())
    while len(faces) > MOST_FACES and cells > 2:
        grid = np.floor((mesh.vertices - mesh.vertices.min(axis=0)) / extent * cells).astype(np.int64)
        _, cell = np.unique(grid, axis=0, return_inverse=True)
        cell = cell.reshape(-1)
        sums = [np.bincount(cell, weights=column) for column in mesh.vertices.T]
        vertices = np.stack(sums, axis=1) / np.bincount(cell)[:, None]
        faces = cell[mesh.faces]
        corners = np.sort(faces, axis=1)
        faces = np.unique(corners[(np.diff(corners, axis=1) > 0).all(axis=1)], axis=0)
        cells = cells * 3 // 4
    return vertices, faces


def _embedded(value: Any) -> Markup:
    return Markup(json.dumps(value).replace("</", "<\\/"))
