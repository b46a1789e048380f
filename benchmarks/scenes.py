"""CPU milliseconds (one thread) per synthetic image, by stage, for each look; and adaptive against full supersampling.

python benchmarks/scenes.py --models data/demo/models --camera data/demo/camera.json
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models.datasets.bop_writer import SceneWriter
from pose_models.render import shading
from pose_models.settings import validate
from pose_models.synthesis import scenes
from pose_models.synthesis.config import PRESETS, SceneSettings

STAGES = {
    "arrange (physics)": (scenes, "settled_bin"),
    "arrange (floating)": (scenes, "floating_parts"),
    "build the ray-caster": (scenes, "SceneCaster"),
    "colours and lamps": (scenes, "draw_appearance"),
    "render": (scenes, "render"),
    "sensor": (scenes, "expose"),
    "annotate": (scenes, "annotate"),
    "write files": (SceneWriter, "add"),
}


class Clock:
    """Times functions by replacing them where they are looked up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def watch(self, label: str, owner: Any, name: str) -> None:
        """Replace `owner.name` by itself with a clock."""
        original: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            try:
                return original(*args, **kwargs)
            finally:
                self.seconds[label] += time.process_time() - start

        setattr(owner, name, timed)


def milliseconds(clock: Clock, models: Any, K: Any, settings: SceneSettings, images: int) -> dict[str, float]:
    """Time per image of every stage and of all."""
    clock.seconds.clear()
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        scenes.write_scene(Path(folder) / "000001", models, K, settings, 0, 1, images)
        total = time.process_time() - start
    return {label: 1e3 * clock.seconds[label] / images for label in STAGES} | {"all": 1e3 * total / images}


def full_against_adaptive(models: Any, K: Any, repeats: int) -> tuple[float, float]:
    """Median milliseconds of one `train` picture with four samples in every pixel, and at edges only."""
    settings = validate(SceneSettings, PRESETS["train"], "benchmark")
    rng = np.random.default_rng(0)
    arrangement = scenes.settled_bin(models, settings, rng)
    caster = scenes.SceneCaster(arrangement.bodies)
    view = (scenes.intrinsics(K, settings, rng), scenes.camera_above(arrangement, settings, rng))
    camera = shading.Camera(*view, settings.width, settings.height)
    bank = scenes.TextureBank(settings.look, rng)
    appearance = scenes.draw_appearance(arrangement.kinds, arrangement.obj_ids, settings, bank, rng)
    medians = []
    for everywhere in (True, False):
        if everywhere:
            scenes.edges = lambda body, normal, depth: np.ones(body.shape, dtype=bool)
        else:
            scenes.edges = shading.edges
        times = []
        for _ in range(repeats):
            start = time.process_time()
            scenes.render(caster, camera, appearance)
            times.append(1e3 * (time.process_time() - start))
        medians.append(statistics.median(times[1:]))
    return medians[0], medians[1]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", required=True, help="folder of obj_*.ply")
    parser.add_argument("--camera", required=True, help="camera.json")
    parser.add_argument("--images", type=int, default=12, help="images per look")
    arguments = parser.parse_args()
    models = scenes.load_models(arguments.models, Path(arguments.models).with_name("models_collision"))
    K = scenes.sensor_intrinsics(arguments.camera)
    full, adaptive = full_against_adaptive(models, K, 8)
    clock = Clock()
    for label, (owner, name) in STAGES.items():
        clock.watch(label, owner, name)
    columns = {}
    for look, values in PRESETS.items():
        settings = validate(SceneSettings, values, look)
        milliseconds(clock, models, K, settings, 1)  # warm-up
        columns[f"{look} {settings.width}x{settings.height}"] = milliseconds(
            clock, models, K, settings, arguments.images
        )
    print(f"{'CPU ms per image':24}" + "".join(f"{name:>18}" for name in columns))
    for label in next(iter(columns.values())):
        print(f"{label:24}" + "".join(f"{column[label]:18.1f}" for column in columns.values()))
    print(f"four samples everywhere {full:.0f} ms, at edges only {adaptive:.0f} ms: {full / adaptive:.1f} times faster")


if __name__ == "__main__":
    main()
