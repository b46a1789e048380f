"""One synthetic scene folder: arrange, look, shade, annotate, write.

Every image draws from its own generator, seeded by dataset seed, look, scene number and image number: any image can be
made again alone, and the number of images changes none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pose_models.datasets.bop_writer import InstanceRecord, SceneWriter
from pose_models.files import InputError, read_json
from pose_models.geometry.cameras import project
from pose_models.geometry.transforms import apply, from_rotation_translation, random_rotation
from pose_models.meshes.bounds import diameter
from pose_models.meshes.mesh import Mesh, load_mesh
from pose_models.program import progress
from pose_models.render.raycast import RayCaster
from pose_models.render.scene import Body, Float, SceneCaster, SceneHits, Shape, camera_rays, lengths
from pose_models.render.shading import (
    Camera,
    PixelLight,
    edges,
    light_received,
    pixel_pattern,
    shade,
    smooth_received,
    subpixel_rays,
)
from pose_models.render.visibility import DepthPatch, box_of_mask
from pose_models.synthesis.appearance import Appearance, TextureBank, draw_appearance
from pose_models.synthesis.arrangement import (
    Arrangement,
    Model,
    camera_above,
    floating_parts,
    intrinsics,
    settled_bin,
)
from pose_models.synthesis.config import SceneSettings
from pose_models.synthesis.sensor import expose, measure_depth

LOOK_NUMBERS = {"train": 1, "test": 2, "random": 3}


def load_models(folder: str | Path, collision_folder: str | Path | None = None) -> dict[int, Model]:
    """Object models of a BOP models folder by object id.

    Args:
        collision_folder: meshes of the same names whose connected components are convex pieces, for physics; objects
            without one fall as their convex hull.
    """
    folder = Path(folder)
    models = {}
    for path in sorted(folder.glob("obj_*.ply")):
        mesh = load_mesh(path)
        obj_id = int(path.stem.removeprefix("obj_"))
        pieces_path = Path(collision_folder) / path.name if collision_folder else None
        pieces = split_components(load_mesh(pieces_path)) if pieces_path and pieces_path.exists() else [mesh]
        models[obj_id] = Model(obj_id, mesh, Shape(mesh), pieces, diameter(mesh.vertices))
    if not models:
        raise InputError(f"{folder}: no obj_*.ply; give the folder of a dataset's models")
    return models


def split_components(mesh: Mesh) -> list[Mesh]:
    """Connected components of a mesh, in order of their first vertex."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    i, j = mesh.faces[:, [0, 1, 2]].reshape(-1), mesh.faces[:, [1, 2, 0]].reshape(-1)
    size = len(mesh.vertices)
    count, label = connected_components(coo_array((np.ones(len(i)), (i, j)), shape=(size, size)), directed=False)
    parts = []
    for index in range(count):
        chosen = label == index
        number = np.cumsum(chosen) - 1
        faces = mesh.faces[chosen[mesh.faces[:, 0]]]
        if len(faces):
            parts.append(Mesh(mesh.vertices[chosen], number[faces]))
    return parts


def sensor_intrinsics(camera_file: str | Path) -> NDArray[np.float64]:
    """K (3, 3) of a dataset's camera.json."""
    content = read_json(camera_file)
    try:
        fx, fy, cx, cy = (float(content[key]) for key in ("fx", "fy", "cx", "cy"))
    except KeyError as error:
        raise InputError(f"{camera_file}: no key {error}; a BOP camera.json has fx, fy, cx, cy") from None
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def write_scene(
    folder: Path,
    models: Mapping[int, Model],
    K_sensor: NDArray[np.float64],
    settings: SceneSettings,
    seed: int,
    scene_number: int,
    images: int,
) -> None:
    """Make `images` images and their annotation in a new folder (wrap it in `files.atomic_path`)."""
    start = [seed, LOOK_NUMBERS[settings.look], scene_number]
    bank = TextureBank(settings.look, np.random.default_rng([*start, 0]))
    casters = {obj_id: RayCaster(model.mesh) for obj_id, model in models.items()}
    writer = SceneWriter(folder)
    arrangement, caster = Arrangement(), None
    for im_id in progress(range(images), f"scene {scene_number}"):
        group, first = divmod(im_id, settings.images_per_arrangement)
        rng = np.random.default_rng([*start, 1, im_id])
        K = intrinsics(K_sensor, settings, rng)
        if settings.settled and (first == 0 or caster is None):
            arrangement = settled_bin(models, settings, np.random.default_rng([*start, 2, group]))
            caster = SceneCaster(arrangement.bodies)
        if settings.settled:
            T_cam_world = camera_above(arrangement, settings, rng)
        else:
            arrangement, T_cam_world = _turned(floating_parts(models, settings, K[0, 0], rng), rng)
            caster = SceneCaster(arrangement.bodies)
        assert caster is not None  # made with the first image
        camera = Camera(K, T_cam_world, settings.width, settings.height)
        # Under the test look a bin keeps its colours and lamps; otherwise every image has its own.
        paint_rng = np.random.default_rng([*start, 3, group]) if settings.look == "test" else rng
        appearance = draw_appearance(arrangement.kinds, arrangement.obj_ids, settings, bank, paint_rng)
        radiance, body, depth = render(caster, camera, appearance)
        writer.add(
            im_id,
            expose(radiance, settings.look, rng),
            measure_depth(depth, settings.depth_noise_mm, settings.depth_scale, rng),
            K,
            settings.depth_scale,
            annotate(arrangement, camera, body, depth, casters),
            T_cam_world if settings.settled else None,
        )
    writer.close()


def _turned(arrangement: Arrangement, rng: np.random.Generator) -> tuple[Arrangement, NDArray[np.float64]]:
    """Turn bodies given in the camera frame into a world whose up direction is anywhere, for the lighting."""
    R = random_rotation(rng)
    T_world_cam = from_rotation_translation(R, np.zeros(3))
    arrangement.bodies = [Body(body.shape, T_world_cam @ body.T_world_obj) for body in arrangement.bodies]
    return arrangement, from_rotation_translation(R.T, np.zeros(3))


def render(caster: SceneCaster, camera: Camera, appearance: Appearance) -> tuple[Float, NDArray[np.int32], Float]:
    """One picture of a scene.

    Returns:
        Linear radiance (H, W, 3), anti-aliased at edges; body (H, W) int32 seen at each pixel's centre, -1 where
        nothing is; depth (H, W) float32 mm there, 0 where nothing is.
    """
    height, width = camera.height, camera.width
    origins, directions = camera_rays(camera.K, camera.T_cam_world, size=(width, height))
    hits = caster.cast(origins, directions)
    body = np.full(height * width, -1, dtype=np.int32)
    depth = np.zeros(height * width, dtype=np.float32)
    normal = np.zeros((height * width, 3), dtype=np.float32)
    body[hits.ray], depth[hits.ray], normal[hits.ray] = hits.body, hits.depth, hits.normal
    received = np.zeros((height * width, len(appearance.lighting.lamps) + 1), dtype=np.float32)
    pattern = pixel_pattern(width, height)[hits.ray]
    received[hits.ray] = light_received(caster, hits, appearance.lighting, pattern)
    image_body, image_normal = body.reshape(height, width), normal.reshape(height, width, 3)
    smooth = smooth_received(received.reshape(height, width, -1), image_body, image_normal)
    pixels = PixelLight(image_body, image_normal, smooth)
    radiance = appearance.background.reshape(-1, 3).copy()
    radiance[hits.ray] = _shade(caster, hits, directions, appearance, smooth.reshape(received.shape)[hits.ray])
    chosen = np.flatnonzero(edges(image_body, image_normal, depth.reshape(height, width)))
    radiance[chosen] = _edge_radiance(caster, camera, appearance, chosen, pixels)
    return radiance.reshape(height, width, 3), image_body, depth.reshape(height, width)


def _shade(caster: SceneCaster, hits: SceneHits, directions: Float, appearance: Appearance, received: Float) -> Float:
    view = -directions[hits.ray]
    view /= lengths(view)
    albedo = appearance.albedo(caster, hits)
    return shade(hits, view, albedo, appearance.materials, appearance.lighting, received)


def _edge_radiance(
    caster: SceneCaster, camera: Camera, appearance: Appearance, chosen: NDArray[np.int64], pixels: PixelLight
) -> Float:
    """Radiance (n, 3) of the chosen pixels, the mean of four samples each."""
    origins, directions = subpixel_rays(camera, chosen)
    hits = caster.cast(origins, directions)
    received, known = pixels.at_samples(hits, chosen)
    rest = hits.select(~known)
    pattern = (pixel_pattern(camera.width, camera.height)[chosen][rest.ray // 4] + 5 * (rest.ray % 4)) % 16
    received[~known] = light_received(caster, rest, appearance.lighting, pattern)
    samples = appearance.background.reshape(-1, 3)[chosen.repeat(4)]
    samples[hits.ray] = _shade(caster, hits, directions, appearance, received)
    return np.asarray(samples.reshape(-1, 4, 3).mean(axis=1))


def annotate(
    arrangement: Arrangement,
    camera: Camera,
    body: NDArray[np.int32],
    depth: Float,
    casters: Mapping[int, RayCaster],
) -> list[InstanceRecord]:
    """Poses, masks and visibility of the parts that reach into the picture.

    The visible mask is what the renderer saw (exact instance ids at pixel centres), not a depth comparison. Silhouettes
    are cast on a canvas three times the image, its counts and boxes follow bop.md 2.1.
    """
    records = []
    for index, obj_id in enumerate(arrangement.obj_ids):
        if obj_id is None:
            continue
        T_cam_obj = camera.T_cam_world @ arrangement.bodies[index].T_world_obj
        visible = body == index
        patch = large_patch(casters[obj_id], camera, T_cam_obj)
        alone = patch.paste(camera.width, camera.height) > 0
        inside = alone | visible  # two casts may differ by a pixel at the outline
        if not inside.any():
            continue
        count_all = int((patch.depth > 0).sum() + (inside & ~alone).sum())
        count_visible = int(visible.sum())
        info = {
            "bbox_obj": box_of_mask(patch.depth > 0, patch.x, patch.y) if count_visible else [-1, -1, -1, -1],
            "bbox_visib": box_of_mask(visible),
            "px_count_all": count_all,
            "px_count_valid": int((depth[inside] > 0).sum()),
            "px_count_visib": count_visible,
            "visib_fract": count_visible / count_all,
        }
        records.append(InstanceRecord(obj_id, T_cam_obj, info, inside, visible))
    return records


def large_patch(caster: RayCaster, camera: Camera, T_cam_obj: NDArray[np.float64]) -> DepthPatch:
    """Depth of one object alone, in its box on a canvas three times the image (image in the middle, BOP's canvas)."""
    points = apply(T_cam_obj, caster.mesh.vertices)
    low = np.array([-camera.width, -camera.height])
    high = 2 * np.array([camera.width, camera.height])
    if (points[:, 2] > 1.0).all():
        uv = project(points, camera.K)
        low = np.maximum(np.floor(uv.min(axis=0)).astype(int), low)
        high = np.minimum(np.ceil(uv.max(axis=0)).astype(int) + 1, high)
    x, y = int(low[0]), int(low[1])
    width, height = (int(size) for size in np.maximum(high - low, 1))
    K = camera.K.copy()
    K[:2, 2] -= x, y
    return DepthPatch(caster.cast(K, T_cam_obj, width, height).depth, x, y)
