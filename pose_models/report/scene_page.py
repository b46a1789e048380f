"""A page of reconstructed scenes: a 3D view to turn, and candidates and objects drawn into every view."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from pose_models.datasets.image_files import read_image
from pose_models.geometry.cameras import project
from pose_models.geometry.transforms import apply
from pose_models.meshes.mesh import Mesh, load_mesh
from pose_models.methods.results import NO_POSE
from pose_models.multiview.matching import Candidates
from pose_models.multiview.scenario import Scenario
from pose_models.multiview.scene import ReconstructedScene
from pose_models.program import progress
from pose_models.render.raycast import RayCaster
from pose_models.report.overlay import Drawn, draw_estimates
from pose_models.report.page import TEMPLATES, environment
from pose_models.report.pictures import data_uri
from pose_models.report.renders import Color, Image, object_colors

Array = NDArray[np.float64]
MATCHED, UNMATCHED = (30, 190, 90), (225, 60, 70)
MOST_FACES = 2000  # of an object in the 3D view; finer meshes are made coarser


def scene_page(scenario: Scenario, scenes: Sequence[ReconstructedScene], nms_mm: float) -> str:
    """HTML of a scenario and its scenes; objects that double a better one are left out."""
    shown = [scene.without_duplicates(nms_mm) for scene in scenes]
    meshes = scene_meshes(scenario)
    casters = {i: RayCaster(mesh) for i, mesh in meshes.items()}
    colors = object_colors(list(meshes))
    found = sum(len(scene.view_id) for scene in shown)
    return (
        environment()
        .get_template("scene.html.j2")
        .render(
            title=f"Scenario {scenario.folder.name}",
            summary=f"{len(scenario.candidates)} candidates in {len(scenario.views)} views; "
            f"{found} views hang together in {len(shown)} scene{'' if len(shown) == 1 else 's'}.",
            scenes=[_scene_table(scene, colors) for scene in shown],
            views=list(_views(scenario, shown, casters, colors)),
            data=_embedded([_scene_data(scene, meshes, colors) for scene in shown]),
            script=Markup((TEMPLATES / "scene.js").read_text(encoding="utf-8")),
        )
    )


def scene_meshes(scenario: Scenario) -> dict[int, Mesh]:
    """Meshes of all candidates' objects, mm, with textures."""
    obj_ids = sorted(set(scenario.candidates.obj_id.tolist()))
    return {i: load_mesh(scenario.folder / "models" / f"obj_{i:06d}.ply", texture=True) for i in obj_ids}


def _scene_table(scene: ReconstructedScene, colors: dict[int, Color]) -> dict[str, Any]:
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


def _views(
    scenario: Scenario, scenes: Sequence[ReconstructedScene], casters: dict[int, RayCaster], colors: dict[int, Color]
) -> Iterator[dict[str, Any]]:
    """For every view its pictures by title: image, detections and ground truth where they are known."""
    used = np.unique(np.concatenate([scene.rows for scene in scenes])) if scenes else np.zeros(0, np.int64)
    matched = np.isin(np.arange(len(scenario.candidates)), used)
    for view in progress(scenario.views, "views"):
        K, image = scenario.K[view], _image(scenario, view)
        rows = np.flatnonzero(scenario.candidates.view_id == view)
        before = _drawn(scenario.candidates.select(rows), K, casters, colors)
        verdicts = [MATCHED if matched[row] else UNMATCHED for row in rows]
        before = [dataclasses.replace(item, color=color) for item, color in zip(before, verdicts, strict=True)]
        seen = [scene.reprojected() for scene in scenes if view in scene.view_id]
        after = [item for c in seen for item in _drawn(c.select(c.view_id == view), K, casters, colors)]
        found = f"{len(after)} objects" if seen else "hangs together with no other view"
        pictures = {"image": image, **_detections(scenario, view, image, casters, colors)}
        pictures[f"{len(rows)} candidates, {int(matched[rows].sum())} matched"] = draw_estimates(image, K, before)
        pictures[f"reconstruction: {found}"] = draw_estimates(image, K, after)
        if view in scenario.truth:
            true = [item for item in scenario.truth[view] if item.obj_id in casters]
            poses = np.array([item.T_cam_obj for item in true]).reshape(-1, 4, 4)
            ids = np.array([item.obj_id for item in true], dtype=np.int64)
            known = Candidates(np.full(len(ids), view), ids, np.ones(len(ids)), poses)
            pictures["ground truth"] = draw_estimates(image, K, _drawn(known, K, casters, colors, scored=False))
        yield {"id": view, "pictures": {title: data_uri(pixels, quality=85) for title, pixels in pictures.items()}}


def _image(scenario: Scenario, view: int) -> Image:
    """A view's image; without one, grey of a size that puts the principal point in its middle."""
    path, K = scenario.image(view), scenario.K[view]
    if path is not None:
        return np.ascontiguousarray(read_image(path, cv2.IMREAD_COLOR)[..., ::-1]).astype(np.uint8)
    return np.full((round(2 * K[1, 2]) + 1, round(2 * K[0, 2]) + 1, 3), 235, dtype=np.uint8)


def _detections(
    scenario: Scenario, view: int, image: Image, casters: dict[int, RayCaster], colors: dict[int, Color]
) -> dict[str, Image]:
    found = scenario.detections
    if found is None:
        return {}
    rows = np.flatnonzero((found.scene_id == scenario.scene_id) & (found.im_id == view))
    items = [
        Drawn(casters[i], NO_POSE, tuple(box.tolist()), f"{i}: {score:.2f}", colors[i])
        for i, box, score in zip(found.obj_id[rows].tolist(), found.bbox_xywh[rows], found.score[rows], strict=True)
        if i in casters
    ]
    return {f"{len(items)} detections": draw_estimates(image, scenario.K[view], items)}


def _drawn(
    candidates: Candidates, K: Array, casters: dict[int, RayCaster], colors: dict[int, Color], scored: bool = True
) -> list[Drawn]:
    return [
        Drawn(casters[i], T, _box(casters[i].mesh, T, K), f"{i}: {score:.2f}" if scored else f"{i}", colors[i])
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
    scene: ReconstructedScene, meshes: dict[int, Mesh], colors: dict[int, Color]
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
