"""Pictures of estimates over images: test crops with embeddings, whole images, photographs with outlines."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models.datasets.bop import BopDataset
from pose_models.datasets.catalogue import has_truth
from pose_models.datasets.estimates import Estimates
from pose_models.detections.coco import Detections
from pose_models.evaluation import kernels
from pose_models.evaluation.world import ImageTruth, World
from pose_models.files import read_json
from pose_models.geometry.cameras import project
from pose_models.geometry.transforms import from_rotation_translation
from pose_models.meshes.mesh import load_mesh
from pose_models.render.raycast import RayCaster
from pose_models.report.contours import Polyline, contours, polygon_mask, silhouette, silhouette_iou
from pose_models.report.gather import RunResults
from pose_models.report.pictures import fit_width, picture

Array = NDArray[np.float64]
GOOD, FAIR = 0.1, 0.3
"""Largest MSSD, as a share of the diameter, of an estimate drawn as good and as fair."""
IMAGE_WIDTH = 960


@dataclasses.dataclass(frozen=True)
class Judged:
    """An estimate and the ground truth it comes nearest to.

    gt_id: position in the image's list, None if the object is not there. error: MSSD in diameters, inf without one,
    nan where the ground truth is not published.
    """

    gt_id: int | None
    error: float

    @property
    def grade(self) -> str:
        """CSS class: good, fair, bad or unjudged."""
        if math.isnan(self.error):
            return "unjudged"
        return "good" if self.error < GOOD else "fair" if self.error < FAIR else "bad"

    @property
    def text(self) -> str:
        """The error in words."""
        if math.isnan(self.error):
            return "ground truth hidden"
        return f"{100 * self.error:.1f} % of d" if math.isfinite(self.error) else "object not there"


class Viewer:
    """Draws estimates and ground truth of one split; models are loaded when they are first needed."""

    def __init__(self, dataset: BopDataset, split: str) -> None:
        self.dataset, self.split = dataset, split
        self.world = World(dataset, split)
        self.has_truth = has_truth(dataset.root, split)

    def truth(self, key: tuple[int, int]) -> ImageTruth:
        """Ground truth of an image; empty where it is not published."""
        return self.world.truth(key) if self.has_truth else ImageTruth.empty()

    @functools.cache  # noqa: B019 - lives as long as the report is made
    def caster(self, obj_id: int) -> RayCaster:
        """The object's mesh, ready to be drawn."""
        return RayCaster(load_mesh(self.dataset.model_path(obj_id)))

    def judge(self, scene_id: int, im_id: int, obj_id: int, T_cam_obj: Array) -> Judged:
        """The nearest ground truth by MSSD."""
        if not self.has_truth:
            return Judged(None, math.nan)
        truth = self.truth((scene_id, im_id))
        gt_ids = truth.of_object(obj_id)
        if len(gt_ids) == 0 or not np.isfinite(T_cam_obj).all():
            return Judged(int(gt_ids[0]) if len(gt_ids) == 1 else None, math.inf)
        obj = self.world.object(obj_id)
        R, t = np.ascontiguousarray(T_cam_obj[:3, :3]), np.ascontiguousarray(T_cam_obj[:3, 3])
        errors = [kernels.mssd(obj.mesh.vertices, R, t, truth.R[g], truth.t[g], obj.symmetries) for g in gt_ids]
        best = int(np.argmin(errors))
        return Judged(int(gt_ids[best]), errors[best] / obj.diameter_mm)

    def truth_pose(self, scene_id: int, im_id: int, gt_id: int) -> Array:
        """T_cam_obj (4, 4) mm of a ground truth."""
        truth = self.truth((scene_id, im_id))
        return from_rotation_translation(truth.R[gt_id], truth.t[gt_id])


def crop_rows(viewer: Viewer, run: RunResults, count: int) -> list[dict[str, Any]]:
    """The inspected crops of a run: pictures with contours, mask, embeddings, and the error in words."""
    data = run.inspection
    if data is None:
        return []
    chosen = np.unique(np.linspace(0, len(data["crop"]) - 1, min(count, len(data["crop"]))).astype(int))
    return [_crop_row(viewer, {name: values[i] for name, values in data.items()}) for i in chosen]


def _crop_row(viewer: Viewer, view: dict[str, NDArray[Any]]) -> dict[str, Any]:
    scene_id, im_id, obj_id = (int(value) for value in view["index"][:3])
    crop, K, T_est = view["crop"], view["K_crop"], view["T_est"].astype(np.float64)
    side = crop.shape[0]
    judged = viewer.judge(scene_id, im_id, obj_id, T_est)
    gt_id = judged.gt_id
    if not judged.error < FAIR:  # far from every instance: show the one that the crop was made of
        gt_id = _central_truth(viewer, (scene_id, im_id), obj_id, K, side)
    caster = viewer.caster(obj_id)
    truth = [] if gt_id is None else contours(caster, K, viewer.truth_pose(scene_id, im_id, gt_id), side, side)
    estimate = contours(caster, K, T_est, side, side)
    mask = np.round(np.clip(view["mask_prob"], 0, 1) * 255).astype(np.uint8)
    visib = None if gt_id is None else float(viewer.truth((scene_id, im_id)).visib_fract[gt_id])
    return {
        "title": f"object {obj_id}, scene {scene_id}, image {im_id}",
        "score": float(view["index"][3]),
        "visib": visib,
        "error": judged.text if np.isfinite(T_est).all() else "no pose found",
        "grade": judged.grade,
        "pictures": [
            picture(crop, [("truth", truth)], title="ground truth"),
            picture(crop, [(f"estimate {judged.grade}", estimate)], title=f"estimate, error {judged.text}"),
            picture(mask, title="probability of the object's mask", quality=None),
            picture(view["query_vis"], title="queries: embedding of each pixel", quality=None),
            picture(view["key_vis"], title="keys: embedding of the surface at the estimated pose", quality=None),
        ],
    }


def _central_truth(viewer: Viewer, key: tuple[int, int], obj_id: int, K: Array, side: int) -> int | None:
    """The ground truth of an object whose origin projects nearest to the crop's centre."""
    truth = viewer.truth(key)
    gt_ids = truth.of_object(obj_id)
    if len(gt_ids) == 0:
        return None
    distances = np.linalg.norm(project(truth.t[gt_ids][:, None], K)[:, 0] - side / 2, axis=1)
    return int(gt_ids[np.argmin(distances)])


def used_rows(viewer: Viewer, estimates: Estimates, key: tuple[int, int]) -> list[int]:
    """Rows of the estimates of an image that count: the inst_count best-scored ones of each target object."""
    rows: list[int] = []
    here = np.flatnonzero((estimates.scene_id == key[0]) & (estimates.im_id == key[1]))
    for obj_id, inst_count in viewer.world.targets.get(key, {}).items():
        own = here[estimates.obj_id[here] == obj_id]
        rows += own[np.argsort(-estimates.score[own], kind="stable")][:inst_count].tolist()
    return rows


def spread_images(viewer: Viewer, count: int) -> list[tuple[int, int]]:
    """Some target images, evenly spread over the split."""
    keys = list(viewer.world.targets)
    return [keys[i] for i in np.unique(np.linspace(0, len(keys) - 1, min(count, len(keys))).astype(int))]


def image_view(viewer: Viewer, run: RunResults, key: tuple[int, int], detections: Detections | None) -> dict[str, Any]:
    """One whole image: detections as boxes, ground truth of the targets and the estimates that count as contours."""
    image, K, factor = scaled_image(viewer, key, IMAGE_WIDTH)
    size = (image.shape[1], image.shape[0])
    estimates = estimate_contours(viewer, run, key, K, size)
    layers = [("truth", truth_contours(viewer, key, K, size))]
    layers += [(f"estimate {judged.grade}", lines) for judged, lines in estimates]
    grades = [judged.grade for judged, _ in estimates]
    boxes: list[tuple[str, list[float]]] = []
    if detections is not None:
        chosen = (detections.scene_id == key[0]) & (detections.im_id == key[1])
        boxes = [("box", (box * factor).tolist()) for box in detections.bbox_xywh[chosen]]
    shown = ("good", "fair", "bad") if viewer.has_truth else ("unjudged",)
    counts = {grade: grades.count(grade) for grade in shown}
    title = f"scene {key[0]}, image {key[1]}"
    return {"title": title, "counts": counts, "svg": picture(image, layers, boxes, title, quality=85)}


def scaled_image(viewer: Viewer, key: tuple[int, int], width: int) -> tuple[NDArray[np.uint8], Array, float]:
    """An image no wider than `width` px, its intrinsics (pixel centres at integers), and the factor of its size."""
    scene = viewer.world.scene(key[0])
    image, factor = fit_width(scene.rgb(key[1]), width)
    corner = np.array([[factor, 0, (factor - 1) / 2], [0, factor, (factor - 1) / 2], [0, 0, 1]])
    return image, corner @ scene.camera(key[1]).K, factor


def truth_contours(viewer: Viewer, key: tuple[int, int], K: Array, size: tuple[int, int]) -> list[Polyline]:
    """Outlines of the visible instances of an image's target objects; `size` is width, height px."""
    truth = viewer.truth(key)
    return [
        line
        for gt_id, obj_id in enumerate(truth.obj_id.tolist())
        if obj_id in viewer.world.targets[key] and truth.visib_fract[gt_id] > 0
        for line in contours(viewer.caster(obj_id), K, viewer.truth_pose(*key, gt_id), *size)
    ]


def estimate_contours(
    viewer: Viewer, run: RunResults, key: tuple[int, int], K: Array, size: tuple[int, int]
) -> list[tuple[Judged, list[Polyline]]]:
    """Each estimate of an image that counts: how good it is, and its outline; `size` is width, height px."""
    if run.estimates is None:
        return []
    result = []
    for row in used_rows(viewer, run.estimates, key):
        T = from_rotation_translation(run.estimates.R[row], run.estimates.t[row])
        obj_id = int(run.estimates.obj_id[row])
        result.append((viewer.judge(*key, obj_id, T), contours(viewer.caster(obj_id), K, T, *size)))
    return result


def photo_rows(viewer: Viewer, run: RunResults) -> list[dict[str, Any]]:
    """Silhouette IoU of every estimate that counts with the reference pose, and with the hand-drawn outline if any."""
    if run.estimates is None:
        return []
    rows = []
    for key in viewer.world.targets:
        scene = viewer.world.scene(key[0])
        width, height = viewer.world.image_size(key)
        K = scene.camera(key[1]).K
        outlines = _outlines(scene.path, key[1])
        for row in used_rows(viewer, run.estimates, key):
            T = from_rotation_translation(run.estimates.R[row], run.estimates.t[row])
            obj_id = int(run.estimates.obj_id[row])
            judged = viewer.judge(*key, obj_id, T)
            if judged.gt_id is None:
                continue
            mask = silhouette(viewer.caster(obj_id), K, T, width, height)
            truth = silhouette(viewer.caster(obj_id), K, viewer.truth_pose(*key, judged.gt_id), width, height)
            outline = outlines[judged.gt_id] if judged.gt_id < len(outlines) else None
            drawn = polygon_mask(outline, width, height) if outline else None
            layers = [
                ("outline", [] if outline is None else [np.array(outline)]),
                ("truth", contours(viewer.caster(obj_id), K, viewer.truth_pose(*key, judged.gt_id), width, height)),
                (f"estimate {judged.grade}", contours(viewer.caster(obj_id), K, T, width, height)),
            ]
            rows.append(
                {
                    "title": f"scene {key[0]}, image {key[1]}, object {obj_id}",
                    "error": judged.text,
                    "grade": judged.grade,
                    "iou": silhouette_iou(mask, truth),
                    "iou_outline": None if drawn is None else silhouette_iou(mask, drawn),
                    "reference_outline": None if drawn is None else silhouette_iou(truth, drawn),
                    "svg": close_up(scene.rgb(key[1]), mask | truth, layers),
                }
            )
    return rows


def close_up(image: NDArray[np.uint8], mask: NDArray[np.bool_], layers: list[tuple[str, list[Array]]]) -> str:
    """The part of an image (H, W, 3) around a mask, square where the image allows it, with lines over it."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return picture(image, layers)
    center = np.array([columns[0] + columns[-1], rows[0] + rows[-1]]) / 2
    half = 0.65 * max(np.ptp(columns), np.ptp(rows)) + 8
    size = np.array(image.shape[1::-1])
    left, top = np.clip(np.floor(center - half), 0, size).astype(int)
    right, bottom = np.clip(np.ceil(center + half), 0, size).astype(int)
    shifted = [(name, [line - np.array([left, top]) for line in lines]) for name, lines in layers]
    return picture(image[top:bottom, left:right], shifted, title="close-up", quality=92)


def _outlines(scene_folder: Any, im_id: int) -> list[list[list[float]] | None]:
    path = scene_folder / "outlines.json"
    return list(read_json(path).get(str(im_id), [])) if path.exists() else []
