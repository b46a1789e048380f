"""CPU milliseconds per synthetic image by stage, images per second on two cores, and what a second process brings.

python benchmarks/scenes.py --models data/demo/models --camera data/demo/camera.json
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models.datasets.bop_writer import SceneWriter
from pose_models.render import shading
from pose_models.render.scene import SceneCaster, camera_rays
from pose_models.settings import validate
from pose_models.synthesis import scenes
from pose_models.synthesis.config import PRESETS, Look, SceneSettings

STAGES = {
    "physics": (scenes, "settle"),
    "rooms and cameras": (scenes, "draw_recording"),
    "build the ray-caster": (SceneCaster, "__init__"),
    "colours, lamps, background": (scenes, "draw_appearance"),
    "pixel centres": (shading, "see"),
    "shadow rays": (shading, "light_received"),
    "smooth light": (shading, "smooth_light"),
    "edge rays": (SceneCaster, "query"),
    "shading": (shading, "_shade"),
    "sensor": (scenes, "expose"),
    "depth noise": (scenes, "measure_depth"),
    "annotation": (scenes, "annotate"),
    "files": (scenes, "write_image"),
}
PROGRAM = Path(__file__).resolve().parent.parent / "workflow_scripts" / "render_scenes.py"
PARTS = 15
SIZE = {"width": 640, "height": 480}


class Clock:
    """Times functions by replacing them where they are looked up; a stage within a stage counts for itself only."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner = [0.0]

    def watch(self, label: str, owner: Any, name: str) -> None:
        """Replace `owner.name` by itself with a clock."""
        original: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            self._inner.append(0.0)
            try:
                return original(*args, **kwargs)
            finally:
                spent = time.process_time() - start
                self.seconds[label] += spent - self._inner.pop()
                self._inner[-1] += spent

        setattr(owner, name, timed)


def recipe(arguments: argparse.Namespace, look: Look) -> scenes.Recipe:
    """A look at 640x480 with 15 parts (the recording keeps its own numbers of parts)."""
    parts = {} if look == "cosypose" else {"instances": (PARTS, PARTS)}
    settings = validate(SceneSettings, {**PRESETS[look], **SIZE, **parts}, look)
    models = Path(arguments.models)
    return scenes.Recipe(models, models.with_name("models_collision"), Path(arguments.camera), settings, 0, 1)


def milliseconds(clock: Clock, made: scenes.Recipe, images: int, folder: Path) -> dict[str, float]:
    """Time per image of every stage, of the rest and of all, after one image to warm up."""
    maker = scenes.SceneMaker(made)
    writer = SceneWriter(folder / made.settings.look)
    maker.write(writer.folder, images)
    clock.seconds.clear()
    start = time.process_time()
    for im_id in range(images):
        writer.note(im_id, maker.write(writer.folder, im_id))
    writer.close()
    total = time.process_time() - start
    stages = {label: 1e3 * clock.seconds[label] / images for label in STAGES}
    return stages | {"rest": 1e3 * total / images - sum(stages.values()), "all": 1e3 * total / images}


def rate(arguments: argparse.Namespace, images: int, workers: int, folder: Path) -> float:
    """Images per second by the clock of a shard of the look `train`: the program's start, and all that it does."""
    sizes = [f"{key}={value}" for key, value in SIZE.items()]
    command = [sys.executable, str(PROGRAM), "--models", arguments.models, "--camera", arguments.camera]
    command += ["--out", f"{folder}/{images:05d}{workers}", "--images", str(images), "--workers", str(workers)]
    start = time.perf_counter()
    subprocess.run([*command, "--set", *sizes, f"instances=[{PARTS}, {PARTS}]"], check=True, capture_output=True)
    return images / (time.perf_counter() - start)


def orders(made: scenes.Recipe) -> dict[str, float]:
    """Million primary rays per second of Embree, rows one after the other, in 8x8 tiles, and in random order."""
    maker = scenes.SceneMaker(made)
    rng = np.random.default_rng(0)
    K = scenes.intrinsics(maker._K_sensor, made.settings, rng)
    _, caster, T_cam_world = maker._scene(0, K, None, rng)
    width, height = SIZE["width"], SIZE["height"]
    origins, directions = camera_rays(K, T_cam_world, size=(width, height))
    y, x = np.divmod(np.arange(width * height), width)
    tiles = np.argsort(((y // 8) * (width // 8) + x // 8) * 64 + (y % 8) * 8 + x % 8)
    result = {}
    for name, order in (("rows", np.arange(len(y))), ("tiles", tiles), ("random", rng.permutation(len(y)))):
        rays = origins[order], directions[order]
        best = np.inf
        for _ in range(5):
            start = time.process_time()
            caster.query(*rays)
            best = min(best, time.process_time() - start)
        result[name] = len(y) / best / 1e6
    return result


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", required=True, help="folder of obj_*.ply")
    parser.add_argument("--camera", required=True, help="camera.json")
    parser.add_argument("--images", type=int, default=60, help="images per look")
    parser.add_argument("--scaling", type=int, default=0, help="images of a shard made by one and by two processes")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    speeds = orders(recipe(arguments, "train"))
    print("Embree, million primary rays per second: " + ", ".join(f"{k} {v:.1f}" for k, v in speeds.items()))
    # Nothing is deleted before the end: ext4 takes six times as long to make a file soon after many were.
    with tempfile.TemporaryDirectory() as folder:
        if arguments.scaling:
            rate(
                arguments, 2, 2, Path(folder)
            )  # whatever is done but once is done: byte code, kernels, the disk's cache
            one, two = (rate(arguments, arguments.scaling, workers, Path(folder)) for workers in (1, 2))
            found = f"one process {one:.1f}, two {two:.1f}, ratio {two / one:.2f}"
            print(f"images per second by the clock, {arguments.scaling} images, start-up included: {found}")
        stages(arguments, Path(folder))


def stages(arguments: argparse.Namespace, folder: Path) -> None:
    """Print the table of CPU time by stage."""
    clock = Clock()
    for label, (owner, name) in STAGES.items():
        clock.watch(label, owner, name)
    looks: tuple[Look, ...] = ("train", "random", "cosypose")
    columns = {look: milliseconds(clock, recipe(arguments, look), arguments.images, folder) for look in looks}
    print(f"{'CPU ms per image 640x480':28}" + "".join(f"{name:>12}" for name in columns))
    for label in next(iter(columns.values())):
        print(f"{label:28}" + "".join(f"{column[label]:12.1f}" for column in columns.values()))
    print(f"{'images/s on two cores':28}" + "".join(f"{2e3 / column['all']:12.1f}" for column in columns.values()))


if __name__ == "__main__":
    main()
