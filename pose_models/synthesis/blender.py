"""Photorealistic shards, the first half: draw what is in the scenes and have Blender path-trace them.

Blender lives in an environment of its own (envs/blender, `make blender`); it gets a plan (JSON, mm) and leaves images,
depth and poses. The plan is a function of settings, seed and shard.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pose_models.files import InputError, read_json
from pose_models.meshes.mesh import Mesh, load_mesh, save_ply
from pose_models.synthesis.arrangement import distractor
from pose_models.synthesis.blender_config import BlenderSettings
from pose_models.synthesis.textures import random_color, texture, value_noise

Array = NDArray[np.float64]
ENVIRONMENT = Path(__file__).resolve().parents[2] / "envs" / "blender"
SHAPES = 12  # procedural foreign objects of a shard
TEXTURE_SIZE = 2048
STREAM = 4  # of random numbers; the looks of the fast generator have others


@dataclasses.dataclass(frozen=True)
class Sensor:
    """Camera of a shard: K (3, 3) with pixel centres at integers, size in pixels."""

    K: Array
    width: int
    height: int


def read_sensor(camera_file: str | Path, settings: BlenderSettings) -> Sensor:
    """The sensor of a dataset's camera.json, scaled to the settings' width and height.

    Raises:
        InputError: a key is missing, or the settings would change the image's shape.
    """
    content = read_json(camera_file)
    try:
        fx, fy, cx, cy, width, height = (float(content[key]) for key in ("fx", "fy", "cx", "cy", "width", "height"))
    except KeyError as error:
        raise InputError(
            f"{camera_file}: no key {error}; a BOP camera.json has fx, fy, cx, cy, width, height"
        ) from None
    new = settings.width or round(width), settings.height or round(height)
    scale = new[0] / width
    if abs(new[1] / height - scale) > 0.01:
        raise InputError(
            f"{camera_file}: {width:g}x{height:g} cannot become {new[0]}x{new[1]}; keep the ratio of sides"
        )
    # Pixel centres are integers: the image's corner, which scaling leaves in place, is at -0.5.
    K = np.array([[fx * scale, 0, (cx + 0.5) * scale - 0.5], [0, fy * scale, (cy + 0.5) * scale - 0.5], [0, 0, 1]])
    return Sensor(K, *new)


def load_meshes(folder: str | Path) -> dict[int, tuple[Path, Mesh]]:
    """File and mesh of each obj_*.ply of a folder, by object id."""
    paths = sorted(Path(folder).glob("obj_*.ply"))
    if not paths:
        raise InputError(f"{folder}: no obj_*.ply; give the folder of a dataset's models")
    return {int(path.stem.removeprefix("obj_")): (path, load_mesh(path, texture=True)) for path in paths}


@dataclasses.dataclass(frozen=True)
class Plan:
    """What Blender is asked for: `content` as envs/blender/scenes.py reads it; meshes by their key there."""

    content: dict[str, Any]
    meshes: dict[str, Mesh]


def draw_plan(
    folder: Path,
    models: Mapping[int, tuple[Path, Mesh]],
    sensor: Sensor,
    settings: BlenderSettings,
    seed: int,
    shard: int,
    images: int,
    texture_folder: str | Path | None = None,
) -> Plan:
    """Draw objects, materials, textures and lights of a shard's scenes; files that Blender needs go to `folder`.

    Args:
        texture_folder: of CC textures (ambientCG, 2K JPG), one folder each; None for procedural ones.
    """
    rng = np.random.default_rng([seed, STREAM, shard])
    files: dict[str, dict[str, Any]] = {}
    meshes: dict[str, Mesh] = {}
    for obj_id, (path, mesh) in models.items():
        _add_model(files, meshes, str(obj_id), path, mesh, folder)
    foreign = _foreign_models(settings, models, rng)
    for number, (foreign_path, mesh) in enumerate(foreign):
        _add_model(files, meshes, f"foreign{number}", foreign_path, mesh, folder)
    textures = _texture_folders(texture_folder)
    scenes = []
    for group in range(-(-images // settings.images_per_arrangement)):
        scene_rng = np.random.default_rng([seed, STREAM, shard, group])
        count = min(settings.images_per_arrangement, images - group * settings.images_per_arrangement)
        scene = _draw_scene(sorted(models), len(foreign), settings, scene_rng) | {"images": count}
        scene["texture_folder"] = str(_texture(folder / "textures" / str(group), textures, scene_rng))
        scenes.append(scene)
    kept = {"samples", "drop_half_mm", "drop_height_mm", "collision_margin_mm", "physics_substeps", "room_half_mm"}
    kept |= {"distance_mm", "elevation_deg", "nearest_mm", "placing_limit_s"}
    content = {"K": sensor.K.tolist(), "width": sensor.width, "height": sensor.height}
    content |= settings.model_dump(mode="json", include=kept) | {"models": files, "scenes": scenes}
    return Plan(content, meshes)


def _add_model(
    files: dict[str, dict[str, Any]], meshes: dict[str, Mesh], key: str, path: Path | None, mesh: Mesh, folder: Path
) -> None:
    """Enter a model; Blender gets a copy as our reader understood it, or the file itself if it has a texture."""
    copy = folder / f"model_{key}.ply"
    if mesh.texture is None:
        save_ply(copy, mesh)
    file = copy if mesh.texture is None else path
    files[key] = {"path": str(file), "is_plain": mesh.texture is None and mesh.colors is None}
    meshes[key] = mesh


def _foreign_models(
    settings: BlenderSettings, models: Mapping[int, tuple[Path, Mesh]], rng: np.random.Generator
) -> list[tuple[Path | None, Mesh]]:
    if settings.distractors[1] == 0:
        return []
    if settings.distractor_folders:
        return [entry for folder in settings.distractor_folders for entry in load_meshes(folder).values()]
    typical = float(np.median([np.linalg.norm(np.ptp(mesh.vertices, axis=0)) for _, mesh in models.values()]))
    return [(None, distractor(rng, typical / 110)) for _ in range(SHAPES)]


def _draw_scene(
    obj_ids: list[int], foreign: int, settings: BlenderSettings, rng: np.random.Generator
) -> dict[str, Any]:
    """Objects (each of the data set's equally often), their materials, and the lights of one scene."""
    count = int(rng.integers(settings.instances[0], settings.instances[1] + 1))
    rounds = [rng.permutation(obj_ids) for _ in range(-(-count // len(obj_ids)))]
    keys = [str(obj_id) for obj_id in np.concatenate(rounds)[:count]]
    if foreign:
        more = int(rng.integers(settings.distractors[0], settings.distractors[1] + 1))
        keys += [f"foreign{number}" for number in rng.choice(foreign, more, replace=more > foreign)]
    objects = []
    for key in keys:
        is_target = not key.startswith("foreign")
        grey = [float(rng.uniform(*settings.grey))] * 3
        color = grey if is_target else [float(value) for value in random_color(rng)]
        material = {
            name: float(rng.uniform(*getattr(settings, name))) for name in ("roughness", "specular", "metallic")
        }
        objects.append({"model": key, "is_target": is_target, "color": color} | material)
    distance, elevation = rng.uniform(*settings.lamp_distance_mm), np.radians(rng.uniform(5, 89))
    azimuth = rng.uniform(0, 2 * np.pi)
    ring = distance * np.cos(elevation)
    return {
        "seed": int(rng.integers(2**32)),
        "objects": objects,
        "ceiling_strength": float(rng.uniform(*settings.ceiling_strength)),
        "ceiling_color": rng.uniform(0.5, 1, 3).tolist(),
        "lamp_watt": settings.lamp_watt,
        "lamp_color": rng.uniform(0.5, 1, 3).tolist(),
        "lamp_mm": [ring * np.cos(azimuth), ring * np.sin(azimuth), distance * np.sin(elevation)],
    }


def _texture_folders(folder: str | Path | None) -> list[Path]:
    """The opaque textures of a folder of CC textures, by name."""
    if folder is None:
        return []
    found = [
        path.parent for path in sorted(Path(folder).glob("*/*_Color.jpg")) if path.name.startswith(path.parent.name)
    ]
    opaque = [path for path in found if not list(path.glob("*_Opacity.jpg"))]
    if not opaque:
        raise InputError(
            f"{folder}: no texture <name>/<name>_2K-JPG_Color.jpg; unpack CC textures there, one folder each"
        )
    return opaque


def _texture(place: Path, textures: list[Path], rng: np.random.Generator) -> Path:
    """A folder with the one texture of a scene: a link to the user's, or a procedural one of the same layout."""
    place.mkdir(parents=True)
    if textures:
        chosen = textures[rng.integers(len(textures))]
        (place / chosen.name).symlink_to(chosen.resolve(), target_is_directory=True)
        return place
    (place / "Procedural").mkdir()
    repeats = int(rng.integers(2, 7))  # tiles of 0.7 to 2 m on a wall of 4 m
    size = TEXTURE_SIZE // repeats
    grain = value_noise(size, int(rng.integers(8, 65)), 3, rng)
    slope = np.gradient(rng.uniform(0, 12) * grain)
    normal = np.stack([np.ones_like(grain), slope[0], -slope[1]], axis=-1)  # BGR: z, y, x
    normal = 0.5 + 0.5 * normal / np.linalg.norm(normal, axis=-1, keepdims=True)
    color = np.sqrt(texture(size, rng)[..., ::-1])  # near enough to sRGB's curve
    roughness = rng.uniform(0.2, 0.6) + 0.4 * value_noise(size, 4, 4, rng)
    for name, image in (("Color", color), ("Roughness", roughness), ("NormalGL", normal)):
        tile = (255 * np.clip(image, 0, 1)).astype(np.uint8)
        pixels = np.tile(tile, (repeats, repeats, 1)[: tile.ndim])
        cv2.imwrite(str(place / "Procedural" / f"Procedural_2K-JPG_{name}.jpg"), pixels)
    return place


def run_blender(folder: Path, plan: Plan, device: str, threads: int) -> None:
    """Have Blender carry out a plan; its images, depths and poses.json lie in `folder` afterwards.

    Args:
        device: auto, cpu or cuda.
        threads: CPU cores to render with.

    Raises:
        InputError: Blender's environment is not there, no GPU was found, or placing a scene failed or hung.
    """
    command = ENVIRONMENT / ".venv" / "outside" / "bin" / "blenderproc"
    if not command.exists():
        raise InputError(f"{command}: Blender's environment is not there; make it with `make blender`")
    path = folder / "plan.json"
    path.write_text(json.dumps(plan.content | {"device": device, "threads": threads}), encoding="utf-8")
    home = ENVIRONMENT / ".venv" / "blender"
    script = ENVIRONMENT / "scenes.py"
    arguments = [command, "run", "--custom-blender-path", home, "--temp-dir", folder, script, path]
    said = ""
    with subprocess.Popen(
        [str(a) for a in arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                print(line, end="", file=sys.stderr, flush=True)
                if line.startswith(("bopflow:", "Timeout (")):
                    said = line.strip().removeprefix("bopflow: ")
        except BaseException:
            process.terminate()
            raise
    if said.startswith("Timeout"):
        limit = plan.content["placing_limit_s"]
        raise InputError(f"a pile was not placed within {limit:g} s; allow fewer instances or larger placing_limit_s")
    if said.startswith("error: "):
        raise InputError(said.removeprefix("error: "))
    if process.returncode or not (folder / "poses.json").exists():
        raise RuntimeError(f"Blender ended with exit code {process.returncode}; its output above says why")
