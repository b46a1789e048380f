"""What can be wrong with a dataset, and what to do about it; in the order of a report."""

from __future__ import annotations

import dataclasses
from typing import Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclasses.dataclass(frozen=True)
class Kind:
    """A cause: what is wrong, and what to do about it."""

    severity: Severity
    title: str
    remedy: str


_FETCH = "fetch or make the files again"
_POSE = "look at the pictures: wrong pose, wrong model, or another unit or frame than the dataset's"
_INFO = "make scene_gt_info.json and the masks again with workflow_scripts/annotate.py"
_TARGETS = "make the targets again with workflow_scripts/write_targets.py, or fetch those that were published"
KINDS: dict[str, Kind] = {
    # models
    "models-missing": Kind("error", "no models", "put obj_000001.ply ... and models_info.json into models/"),
    "model-unreadable": Kind("error", "the mesh cannot be read", "export the mesh again, as PLY with triangles"),
    "model-missing": Kind("error", "models_info.json names an object without a mesh", _FETCH),
    "model-info": Kind(
        "error", "the entry in models_info.json is missing or broken", "give diameter, min_* and size_* in mm"
    ),
    "model-unit": Kind(
        "error", "the model is not in millimetres", "multiply the vertices and models_info.json by the factor"
    ),
    "model-diameter": Kind(
        "error", "diameter in models_info.json and mesh disagree", "give the largest distance of two vertices in mm"
    ),
    "model-extents": Kind(
        "error", "min_* or size_* in models_info.json and mesh disagree", "give the box of the vertices in mm"
    ),
    "symmetry-record": Kind(
        "error", "a declared symmetry is no rigid motion", "give 16 numbers of a 4x4 matrix, or axis and offset"
    ),
    "symmetry-wrong": Kind(
        "error", "a declared symmetry does not map the mesh onto itself", "correct axis, angle or offset (mm)"
    ),
    "symmetry-loose": Kind(
        "warning", "a declared symmetry maps the mesh onto itself only roughly", "look whether it is meant"
    ),
    # annotations
    "scene-unreadable": Kind("error", "annotations cannot be read", _FETCH),
    "no-ground-truth": Kind(
        "note", "no ground truth: poses and masks were not checked", "nothing, if it is not published"
    ),
    "no-info": Kind("warning", "no scene_gt_info.json", _INFO),
    "camera-record": Kind(
        "error", "intrinsics are missing or no finite numbers", "give cam_K (9 numbers) for every image"
    ),
    "camera-absurd": Kind(
        "error", "intrinsics are not those of a camera", "cam_K is fx 0 cx 0 fy cy 0 0 1, row by row, px"
    ),
    "camera-size": Kind(
        "warning", "intrinsics do not go with the image's size", "scale cam_K together with the images"
    ),
    "depth-scale-record": Kind(
        "error", "depth_scale is not a positive number", "give mm per depth unit, for example 1.0"
    ),
    "pose-record": Kind(
        "error", "a pose is missing or no finite numbers", "give obj_id, cam_R_m2c (9), cam_t_m2c (3, mm)"
    ),
    "pose-rotation": Kind("error", "a rotation is not orthogonal", "write rotations row by row with at least 6 digits"),
    "pose-behind": Kind("error", "an object is behind the camera", "poses map model to camera, z forward, in mm"),
    "pose-unit": Kind("error", "translations are not in millimetres", "multiply cam_t_m2c by 1000"),
    "pose-object": Kind("error", "an instance of an object that has no model", "add the model, or remove the instance"),
    "pose-twice": Kind("error", "an instance is annotated twice", "remove the repeated entry and its masks"),
    "image-unannotated": Kind(
        "note", "images without an entry in scene_camera.json", "add entries, or remove the images"
    ),
    "truth-without-camera": Kind(
        "error", "ground truth of an image without camera", "add the image to scene_camera.json"
    ),
    "info-count": Kind("error", "scene_gt_info.json has not as many entries as scene_gt.json", _INFO),
    "info-record": Kind("error", "an entry of scene_gt_info.json is broken", _INFO),
    "info-inconsistent": Kind("error", "counts and visible fraction contradict each other", _INFO),
    # images
    "image-missing": Kind("error", "the image is missing", _FETCH),
    "image-unreadable": Kind("error", "the image cannot be read", _FETCH),
    "depth-missing": Kind("error", "the depth image is missing where others of the scene have one", _FETCH),
    "depth-unreadable": Kind("error", "the depth image cannot be read", _FETCH),
    "depth-type": Kind("error", "the depth image is not of 16 bits and one channel", "write depth as 16-bit PNG"),
    "depth-empty": Kind("warning", "the depth image measures nothing", "remove it, or make it again"),
    "size": Kind(
        "error", "image, depth and masks differ in size", "register depth to the image; make masks of its size"
    ),
    "size-camera": Kind(
        "warning", "images are not of the size that camera.json says", "correct width and height there"
    ),
    "masks-absent": Kind("warning", "no masks", _INFO),
    "mask-missing": Kind("error", "a mask is missing", _INFO),
    "mask-unreadable": Kind("error", "a mask cannot be read", _INFO),
    "mask-surplus": Kind("error", "more masks than instances", _INFO),
    "mask-empty": Kind("error", "a mask is empty though its instance is said to be visible", _INFO),
    "mask-info": Kind("error", "masks and scene_gt_info.json disagree", _INFO),
    "box-outside": Kind("error", "a box reaches outside of where it can be", _INFO),
    # poses against pixels
    "depth-unit": Kind(
        "error", "measured depth is a multiple of the rendered one", "correct depth_scale in scene_camera.json"
    ),
    "pose-silhouette": Kind("error", "the posed model does not cover its mask", _POSE),
    "mask-visible": Kind("warning", "the visible mask is not what the depth leaves visible", _INFO),
    "pose-depth": Kind("warning", "the posed model is before or behind the measured surface", _POSE),
    # targets
    "targets-missing": Kind("note", "no targets file", _TARGETS),
    "targets-broken": Kind("error", "an entry of the targets file is broken", _TARGETS),
    "target-image": Kind("error", "a target names an image that is missing", _TARGETS),
    "target-object": Kind("error", "a target names an object that is not in its image", _TARGETS),
    "target-count": Kind("error", "a target asks for more instances than are annotated", _TARGETS),
    "target-visible": Kind(
        "note", "counts of targets differ from a recount", "nothing: the published file is the rule"
    ),
    "target-twice": Kind("error", "a target is listed twice", _TARGETS),
}
ORDER = {code: number for number, code in enumerate(KINDS)}
