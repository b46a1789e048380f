"""A page to look at images before training on them: contact sheet, distributions, viewpoints; for any BOP scenes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from pose_models.datasets.bop import BopScene
from pose_models.files import InputError
from pose_models.geometry.cameras import resize_intrinsics
from pose_models.meshes.mesh import Mesh, load_mesh
from pose_models.program import progress
from pose_models.render.raycast import RayCaster
from pose_models.report.charts import COLORS
from pose_models.report.contours import Polyline, contours
from pose_models.report.histograms import coverage, direction_map, histogram, viewing_directions
from pose_models.report.pictures import fit_width, picture
from pose_models.report.renders import Painter

TEMPLATES = Path(__file__).parent / "templates"
WIDTH_PX = 420
HIDDEN = 0.35  # strength of a mask where the instance is hidden
Image = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class Sightings:
    """One row per annotated instance of all scenes.

    obj_id, image: (N,) int64, the image counted over all scenes. visible: (N,) fraction. distance_mm: (N,) camera to
    the object's origin. size_px: (N,) longer side of the visible box. T_cam_obj: (N, 4, 4).
    """

    obj_id: NDArray[np.int64]
    image: NDArray[np.int64]
    visible: NDArray[np.float64]
    distance_mm: NDArray[np.float64]
    size_px: NDArray[np.float64]
    T_cam_obj: NDArray[np.float64]

    def of(self, obj_id: int) -> Sightings:
        """Those of one object."""
        chosen = self.obj_id == obj_id
        return Sightings(*(getattr(self, field.name)[chosen] for field in dataclasses.fields(self)))


def gather(scenes: Sequence[BopScene]) -> Sightings:
    """Read the annotation of scenes.

    Raises:
        InputError: there is no annotated instance.
    """
    rows: list[tuple[float, ...]] = []
    poses = []
    image = 0
    for scene in scenes:
        for im_id in scene.image_ids:
            pairs = zip(scene.ground_truth.get(im_id, []), scene.ground_truth_info.get(im_id, []), strict=True)
            for instance, info in pairs:
                distance = float(np.linalg.norm(instance.T_cam_obj[:3, 3]))
                size = float(max(info.bbox_visib[2:]))
                rows.append((instance.obj_id, image, info.visib_fract, distance, size))
                poses.append(instance.T_cam_obj)
            image += 1
    if not rows:
        raise InputError(f"{scenes[0].path}: no annotated instance in the scenes given")
    t = np.array(rows, dtype=np.float64)
    obj_id, images = t[:, 0].astype(np.int64), t[:, 1].astype(np.int64)
    return Sightings(obj_id, images, t[:, 2], t[:, 3], t[:, 4], np.stack(poses))


def render(folders: Sequence[Path], title: str, models: Path | None, images: int) -> str:
    """The page as HTML.

    Args:
        folders: scene folders. models: folder of obj_*.ply for contours of poses; None leaves them away.
        images: how many to show, spread evenly over the scenes.

    Raises:
        InputError: unreadable scenes, no instance, a model that is missing.
    """
    scenes = [BopScene(folder) for folder in folders]
    sightings = gather(scenes)
    keys = [(scene, im_id) for scene in scenes for im_id in scene.image_ids]
    chosen = [keys[i] for i in np.unique(np.linspace(0, len(keys) - 1, min(images, len(keys))).round().astype(int))]
    objects = sorted(int(obj_id) for obj_id in np.unique(sightings.obj_id))
    colors = {obj_id: COLORS[index % len(COLORS)] for index, obj_id in enumerate(objects)}
    meshes = _meshes(models, chosen)
    casters = {obj_id: RayCaster(mesh) for obj_id, mesh in meshes.items()}
    painter = Painter(meshes) if meshes else None
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["svg"] = Markup
    return environment.get_template("preview.html.j2").render(
        title=title,
        counts=_counts(scenes, keys, sightings, objects),
        sheets=[_sheet(scene, im_id, casters, painter, colors) for scene, im_id in progress(chosen, "pictures")],
        has_models=models is not None,
        charts=_charts(sightings, len(keys)),
        objects=[_object_view(sightings.of(obj_id), obj_id, colors[obj_id]) for obj_id in objects],
    )


def _meshes(models: Path | None, chosen: Sequence[tuple[BopScene, int]]) -> dict[int, Mesh]:
    if models is None:
        return {}
    needed = {instance.obj_id for scene, im_id in chosen for instance in scene.ground_truth.get(im_id, [])}
    return {obj_id: load_mesh(models / f"obj_{obj_id:06d}.ply", texture=True) for obj_id in sorted(needed)}


def _counts(scenes: Sequence[BopScene], keys: Sequence[Any], s: Sightings, objects: Sequence[int]) -> dict[str, str]:
    per_image = np.bincount(s.image, minlength=len(keys))
    return {
        "Scenes": f"{len(scenes)}",
        "Images": f"{len(keys)}",
        "Objects": f"{len(objects)}",
        "Instances": f"{len(s.obj_id)}; {per_image.min()} to {per_image.max()} per image",
        "At least a tenth visible": f"{np.mean(s.visible >= 0.1):.0%} of the instances",
        "Hidden altogether": f"{np.mean(s.visible == 0):.1%}",
    }


def _charts(s: Sightings, images: int) -> list[dict[str, str]]:
    seen = s.visible > 0
    charts = {
        "Distance": histogram(s.distance_mm, "camera to object, mm", COLORS[0]),
        "Visibility": histogram(s.visible, "visible fraction", COLORS[1], (0, 1), 20),
        "Size in the image": histogram(s.size_px[seen], "longer side of the visible box, px", COLORS[2]),
        "Instances per image": histogram(
            np.bincount(s.image, minlength=images), "instances", COLORS[4],
            (-0.5, np.bincount(s.image).max() + 0.5), int(np.bincount(s.image).max()) + 1,
        ),
    }  # fmt: skip
    return [{"title": title, "svg": svg} for title, svg in charts.items()]


def _object_view(s: Sightings, obj_id: int, color: str) -> dict[str, Any]:
    directions = viewing_directions(s.T_cam_obj[s.visible >= 0.1])
    return {
        "obj_id": obj_id,
        "color": color,
        "instances": len(s.obj_id),
        "images": len(np.unique(s.image)),
        "visible": f"{np.median(s.visible):.0%}",
        "distance": f"{np.median(s.distance_mm):.0f} mm ({s.distance_mm.min():.0f} to {s.distance_mm.max():.0f})",
        "coverage": f"{coverage(directions):.0%}",
        "map": direction_map(directions, f"object {obj_id}: where it was seen from"),
    }


def _sheet(
    scene: BopScene, im_id: int, casters: dict[int, RayCaster], painter: Painter | None, colors: dict[int, str]
) -> dict[str, str]:
    """Pictures of one image: colour with contours and boxes, depth, masks; objects rendered at the annotated poses."""
    full = scene.rgb(im_id)
    image, factor = fit_width(full, WIDTH_PX)
    height, width = image.shape[:2]
    K = resize_intrinsics(scene.camera(im_id).K, factor, factor)
    instances, infos = scene.ground_truth.get(im_id, []), scene.ground_truth_info.get(im_id, [])
    lines: list[Polyline] = []
    for instance in instances:
        if instance.obj_id in casters:
            lines += contours(casters[instance.obj_id], K, instance.T_cam_obj, width, height)
    boxes = [("box", [factor * side for side in info.bbox_visib]) for info in infos if info.px_count_visib > 0]
    name = f"{scene.path.name} / {im_id:06d}"
    depth, caption = "", "no depth"
    if scene.has_depth(im_id):
        colored, low, high = color_depth(scene.depth(im_id))
        depth, caption = (
            picture(fit_width(colored, WIDTH_PX)[0], title=f"depth of {name}"),
            f"{low:.0f} to {high:.0f} mm",
        )
    render, overlay = "", ""
    if painter is not None:
        T = np.array([instance.T_cam_obj for instance in instances]).reshape(-1, 4, 4)
        rendered = painter.render([instance.obj_id for instance in instances], T, K, width, height)
        render = picture(rendered.before((0, 0, 0)), title=f"render at the annotated poses of {name}", quality=85)
        overlay = picture(rendered.over(image), title=f"render over {name}", quality=85)
    masks = fit_width(_color_masks(scene, im_id, full, colors), WIDTH_PX)[0]
    return {
        "name": name,
        "depth_range": caption,
        "image": picture(image, [("truth", lines)], boxes, f"image {name}", quality=85),
        "depth": depth,
        "masks": picture(masks, title=f"masks of {name}", quality=85),
        "render": render,
        "overlay": overlay,
        "instances": f"{len(instances)} instances, {sum(info.visib_fract >= 0.1 for info in infos)} visible",
    }


def color_depth(depth: NDArray[np.float32]) -> tuple[Image, float, float]:
    """Depth (H, W) mm as colours (H, W, 3), near red and far blue, black where nothing was measured; the ends mm."""
    measured = depth[depth > 0]
    if measured.size == 0:
        return np.zeros((*depth.shape, 3), dtype=np.uint8), 0.0, 0.0
    low, high = (float(value) for value in np.percentile(measured, [1, 99]))
    near = np.clip((high - depth) / max(high - low, 1e-6), 0, 1)
    colored = cv2.applyColorMap((25 + 215 * near).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    return np.where((depth > 0)[..., None], colored, 0).astype(np.uint8), low, high


def _color_masks(scene: BopScene, im_id: int, image: Image, colors: dict[int, str]) -> Image:
    """Masks over the grey image: visible parts in the object's colour, hidden parts pale."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32) * 0.5 + 90
    result = np.repeat(grey, 3, axis=2)
    for visible in (False, True):
        for instance in scene.ground_truth.get(im_id, []):
            color = np.array([int(colors[instance.obj_id][i : i + 2], 16) for i in (1, 3, 5)], dtype=np.float32)
            mask = scene.mask(im_id, instance.gt_id, visible)
            strength = 0.8 if visible else HIDDEN
            result[mask] = (1 - strength) * result[mask] + strength * color
            if visible:  # a pale rim tells neighbours of one object apart
                rim = mask & ~cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1).astype(bool)
                result[rim] = 255
    return np.clip(result, 0, 255).astype(np.uint8)
