"""Estimates on their way, pass by pass: how far from the ground truth, and outlines to slide through."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models.evaluation.errors import box_iou
from pose_models.methods.passes import PassPoses
from pose_models.multiview.boxes import Box
from pose_models.report import charts
from pose_models.report.contours import contours, silhouette
from pose_models.report.pictures import data_uri, picture
from pose_models.report.renders import Painter
from pose_models.report.views import GOOD, Judged, Viewer, close_up, scaled_image, truth_contours

Array = NDArray[np.float64]
MOST_POINTS = 1000  # of a mesh that distances are measured at
LEAST_OVERLAP = 0.5  # intersection over union of a detection's box with that of the instance it is taken for
WIDTH = 640


@dataclasses.dataclass(frozen=True)
class JudgedPasses:
    """Poses, and for each of N detections the instance that it is of: gt_id (N,), -1 where it is of none or unknown.

    add_mm, add_share: (N, P) mean distance of points up to symmetry (ADD), mm and in diameters; nan without an instance
    or a pose.
    """

    poses: PassPoses
    gt_id: NDArray[np.int64]
    add_mm: Array
    add_share: Array

    def grade(self, row: int, number: int) -> str:
        """CSS class of a detection's pose after a pass."""
        return Judged(None, float(self.add_share[row, number])).grade


def judge_passes(viewer: Viewer, poses: PassPoses) -> JudgedPasses:
    """Compare poses after all passes with the instance whose box overlaps the detection's most.

    Where a detection has no box, it is the instance nearest to the first pose.
    """
    gt_id = np.full(len(poses), -1, dtype=np.int64)
    T_true = np.full((len(poses), 4, 4), np.nan)
    for row in range(len(poses)) if viewer.has_truth else ():
        key = (int(poses.scene_id[row]), int(poses.im_id[row]))
        gt_id[row] = _instance(viewer, key, int(poses.obj_id[row]), poses.bbox_xywh[row], poses.T_cam_obj[row, 0])
        if gt_id[row] >= 0:
            T_true[row] = viewer.truth_pose(*key, int(gt_id[row]))
    add_mm, add_share = (np.full(poses.T_cam_obj.shape[:2], np.nan) for _ in range(2))
    for obj_id in np.unique(poses.obj_id[gt_id >= 0]).tolist():
        obj = viewer.world.object(obj_id)
        step = -(-len(obj.mesh.vertices) // MOST_POINTS)
        points = Box(obj.mesh.vertices[::step], obj.symmetries)
        for number in range(len(poses.names)):
            T = poses.T_cam_obj[:, number]
            rows = np.flatnonzero((poses.obj_id == obj_id) & (gt_id >= 0) & np.isfinite(T).all(axis=(1, 2)))
            add_mm[rows, number] = points.distance(T_true[rows], T[rows])[0]
            add_share[rows, number] = add_mm[rows, number] / obj.diameter_mm
    return JudgedPasses(poses, gt_id, add_mm, add_share)


def _instance(viewer: Viewer, key: tuple[int, int], obj_id: int, bbox_xywh: Array, T_first: Array) -> int:
    scene = viewer.world.scene(key[0])
    if key[1] not in scene.ground_truth:
        return -1
    if not np.isfinite(bbox_xywh).all():
        own = [i for i in scene.ground_truth[key[1]] if i.obj_id == obj_id]
        return min(own, key=lambda i: float(np.linalg.norm(i.T_cam_obj[:3, 3] - T_first[:3, 3]))).gt_id if own else -1
    best, found = LEAST_OVERLAP, -1
    for instance, info in zip(scene.ground_truth[key[1]], scene.ground_truth_info[key[1]], strict=True):
        if instance.obj_id == obj_id:
            boxes = [np.array(box, dtype=np.float64) for box in (info.bbox_visib, info.bbox_obj)]
            overlap = max(box_iou(bbox_xywh, box) for box in boxes)
            if overlap >= best:
                best, found = overlap, instance.gt_id
    return found


def pass_table(judged: JudgedPasses) -> dict[str, Any] | None:
    """Medians after every pass, of all detections and by object; None where no ground truth is known."""
    known = judged.gt_id >= 0
    if not known.any():
        return None
    obj_ids = np.unique(judged.poses.obj_id[known]).tolist()
    rows = [
        {
            "name": name,
            "median": float(np.nanmedian(judged.add_mm[known, number])),
            "share": float(np.nanmedian(judged.add_share[known, number])),
            "good": float(np.mean(judged.add_share[known, number] < GOOD)),
            "objects": [
                float(np.nanmedian(judged.add_mm[known & (judged.poses.obj_id == obj_id), number]))
                for obj_id in obj_ids
            ],
        }
        for number, name in enumerate(judged.poses.names)
        if np.isfinite(judged.add_mm[known, number]).any()
    ]
    return {"rows": rows, "obj_ids": obj_ids, "count": int(known.sum()), "of": len(known)}


def pass_chart(judged: JudgedPasses, color: str) -> str:
    """Median of ADD over the passes, with the quartiles dotted; "" of two passes and without ground truth."""
    if len(judged.poses.names) < 3:
        return ""
    errors = judged.add_mm[judged.gt_id >= 0]
    if not np.isfinite(errors).any(axis=0).all():
        return ""
    series = [
        charts.Series(
            f"{percent} % are nearer",
            color,
            list(enumerate(np.nanpercentile(errors, percent, axis=0).tolist())),
            dotted,
        )
        for percent, dotted in ((50, False), (25, True), (75, True))
    ]
    return charts.line_chart(series, "pass", "ADD, mm", size=(360, 220), markers=True)


def pass_view(viewer: Viewer, judged: JudgedPasses, name: str, color: str, rows: Sequence[int]) -> dict[str, Any]:
    """What a page shows of a run: numbers, and close-ups of some detections."""
    return {
        "run": name,
        "names": list(judged.poses.names),
        "table": pass_table(judged),
        "chart": pass_chart(judged, color),
        "instances": [_close_up(viewer, judged, row) for row in rows],
    }


def spread_rows(poses: PassPoses, count: int, obj_ids: Sequence[int] = ()) -> list[int]:
    """Some detections, of some objects or all, evenly spread."""
    rows = np.flatnonzero(np.isin(poses.obj_id, obj_ids)) if obj_ids else np.arange(len(poses))
    return [int(rows[i]) for i in np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int))]


def _close_up(viewer: Viewer, judged: JudgedPasses, row: int) -> dict[str, Any]:
    poses = judged.poses
    key, obj_id = (int(poses.scene_id[row]), int(poses.im_id[row])), int(poses.obj_id[row])
    scene = viewer.world.scene(key[0])
    image, K = scene.rgb(key[1]), scene.camera(key[1]).K
    height, width = image.shape[:2]
    layers = []
    if judged.gt_id[row] >= 0:
        true = viewer.truth_pose(*key, int(judged.gt_id[row]))
        layers.append(("truth", contours(viewer.caster(obj_id), K, true, width, height)))
    for number, T in enumerate(poses.T_cam_obj[row]):
        lines = contours(viewer.caster(obj_id), K, T, width, height)
        layers.append((f"estimate pass pass-{number} {judged.grade(row, number)}", lines))
    if np.isfinite(poses.bbox_xywh[row]).all():
        mask = np.zeros((height, width), dtype=bool)
        left, top, right, bottom = _whole(poses.bbox_xywh[row])
        mask[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = True
    else:
        mask = silhouette(viewer.caster(obj_id), K, poses.T_cam_obj[row, 0], width, height)
    return {
        "title": f"object {obj_id}, scene {key[0]}, image {key[1]}",
        "svg": close_up(image, mask, layers),
        "errors": [_error_text(mm, share) for mm, share in zip(judged.add_mm[row], judged.add_share[row], strict=True)],
        "score": float(poses.score[row]),
    }


def _whole(bbox_xywh: Array) -> tuple[int, int, int, int]:
    x, y, width, height = bbox_xywh.tolist()
    return int(x), int(y), int(np.ceil(x + width)), int(np.ceil(y + height))


def _error_text(mm: float, share: float) -> str:
    return f"ADD {mm:.1f} mm, {100 * share:.0f} % of d" if np.isfinite(mm) else "no ground truth"


def image_panels(viewer: Viewer, judged: JudgedPasses, key: tuple[int, int], painter: Painter) -> dict[str, Any]:
    """Detections, outlines, render and overlay of a whole image; the last three after every pass."""
    poses = judged.poses
    rows = np.flatnonzero((poses.scene_id == key[0]) & (poses.im_id == key[1]))
    image, K, factor = scaled_image(viewer, key, WIDTH)
    height, width = image.shape[:2]
    layers = [("truth", truth_contours(viewer, key, K, (width, height)))] if viewer.has_truth else []
    renders, overlays = [], []
    for number in range(len(poses.names)):
        T = poses.T_cam_obj[rows, number]
        for row, pose in zip(rows.tolist(), T, strict=True):
            lines = contours(viewer.caster(int(poses.obj_id[row])), K, pose, width, height)
            layers.append((f"estimate pass pass-{number} {judged.grade(row, number)}", lines))
        rendered = painter.render(poses.obj_id[rows].tolist(), T, K, width, height)
        renders.append(data_uri(rendered.before((0, 0, 0)), 85))
        overlays.append(data_uri(rendered.over(image), 85))
    known = rows[np.isfinite(poses.bbox_xywh[rows]).all(axis=1)]
    boxes = [("box", (box * factor).tolist()) for box in poses.bbox_xywh[known]]
    title = f"scene {key[0]}, image {key[1]}"
    return {
        "title": f"{title}: {len(rows)} detections",
        "detections": picture(image, [], boxes, f"detections, {title}", quality=85),
        "outlines": picture(image, layers, title=f"outlines, {title}", quality=85),
        "renders": renders,
        "overlays": overlays,
    }
