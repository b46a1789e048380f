"""A picture of proposed symmetries: the object with each axis, coloured by how far the turned surface is off."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_models.geometry.cameras import project
from pose_models.geometry.transforms import apply, from_rotation_translation
from pose_models.meshes.bounds import bounding_sphere
from pose_models.meshes.mesh import Mesh
from pose_models.meshes.symmetry_search import AxisFinding, SurfaceDistance, SymmetryProposal
from pose_models.render.raycast import RayCaster

Image = NDArray[np.uint8]
TILE = 300
CAPTION = 44
BLUE_TO_RED = cv2.COLORMAP_TURBO


def symmetry_sheet(mesh: Mesh, surface: SurfaceDistance, proposal: SymmetryProposal) -> Image:
    """One row per finding (H, W, 3): along its axis, across it, and obliquely; red is two tolerances off, or more."""
    rows = [(finding, True) for finding in proposal.findings] + [(finding, False) for finding in proposal.nearly]
    caster = RayCaster(mesh)
    drawn = [_row(caster, surface, finding, accepted, proposal.tolerance_mm) for finding, accepted in rows]
    if not drawn:
        drawn = [_no_symmetry(caster)]
    return np.concatenate(drawn)


def _row(
    caster: RayCaster, surface: SurfaceDistance, finding: AxisFinding, accepted: bool, tolerance_mm: float
) -> Image:
    along, across = _frame(finding.axis)
    views = [along, across, across + 0.7 * along + 0.4 * np.cross(along, across)]
    turns = "any turn" if finding.order == 0 else f"1/{finding.order} turn"
    axis = " ".join(f"{value:+.3f}" for value in finding.axis)
    verdict = "proposed" if accepted else "NOT proposed"
    text = (
        f"{verdict}: {turns} about ({axis}); off by {finding.worst_mm:.2f} mm at most, {finding.mean_mm:.2f} on average"
    )
    tiles = [_tile(caster, view, finding, surface, tolerance_mm) for view in views]
    caption: Image = np.full((CAPTION, TILE * len(tiles), 3), 255, dtype=np.uint8)
    color = (20, 90, 20) if accepted else (150, 40, 20)
    cv2.putText(caption, text, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.42, color, 1, cv2.LINE_AA)
    scale = f"blue: 0 mm, green: tolerance {tolerance_mm:.2f} mm, red: {2 * tolerance_mm:.2f} mm and more"
    cv2.putText(caption, scale, (8, 37), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (90, 90, 90), 1, cv2.LINE_AA)
    return np.concatenate([caption, np.concatenate(tiles, axis=1)])


def _no_symmetry(caster: RayCaster) -> Image:
    tiles = [_tile(caster, np.array(view, dtype=np.float64)) for view in ((1, 0, 0), (0, 1, 0), (1, 1, 1))]
    caption: Image = np.full((CAPTION, TILE * len(tiles), 3), 255, dtype=np.uint8)
    cv2.putText(caption, "no symmetry was found", (8, 26), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (60, 60, 60), 1, cv2.LINE_AA)
    return np.concatenate([caption, np.concatenate(tiles, axis=1)])


def _frame(axis: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The unit axis and a unit vector across it."""
    across = np.cross(axis, np.eye(3)[np.abs(axis).argmin()])
    return axis, across / np.linalg.norm(across)


def _tile(
    caster: RayCaster,
    view: NDArray[np.float64],
    finding: AxisFinding | None = None,
    surface: SurfaceDistance | None = None,
    tolerance_mm: float = 1.0,
) -> Image:
    """The object seen from `view`, shaded from the camera, and coloured by its distance to itself after the turn."""
    center, radius = bounding_sphere(caster.mesh.vertices)
    forward = -view / np.linalg.norm(view)
    side = np.cross(forward, np.eye(3)[np.abs(forward).argmin()])
    side /= np.linalg.norm(side)
    R_cam_obj = np.stack([side, np.cross(forward, side), forward])
    distance = 6 * radius
    T_cam_obj = from_rotation_translation(R_cam_obj, -R_cam_obj @ center + [0, 0, distance])
    focal = 0.44 * TILE * distance / radius
    K = np.array([[focal, 0, (TILE - 1) / 2], [0, focal, (TILE - 1) / 2], [0, 0, 1]])
    hits = caster.cast(K, T_cam_obj, TILE, TILE)
    normals = caster.mesh.face_normals() @ R_cam_obj.T
    shade = 0.35 + 0.65 * np.abs(normals[hits.face[hits.mask], 2])
    color = np.full((int(hits.mask.sum()), 3), 190.0)
    if finding is not None and surface is not None:
        points = caster.coordinates(hits)[hits.mask].astype(np.float64)
        off = surface.at(apply(finding.transform(), points)) / (2 * tolerance_mm)
        palette = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], BLUE_TO_RED)[:, 0, ::-1]
        color = palette[np.clip(30 + 210 * off, 0, 240).astype(np.int64)].astype(np.float64)
    image: Image = np.full((TILE, TILE, 3), 255, dtype=np.uint8)
    image[hits.mask] = (color * shade[:, None]).astype(np.uint8)
    if finding is not None:
        ends = finding.center + np.outer([-1.25, 1.25], finding.axis) * radius
        (x0, y0), (x1, y1) = np.rint(project(apply(T_cam_obj, ends), K)).astype(int).tolist()
        cv2.line(image, (x0, y0), (x1, y1), (0, 0, 0), 1, cv2.LINE_AA)
        cv2.circle(image, (x0, y0), 3, (0, 0, 0), -1, cv2.LINE_AA)
    return image
