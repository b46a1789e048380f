"""SurfEmb's speed at the paper's sizes, in CPU seconds: one detection by stage with its peak memory, the sample
pipeline of training by stage, and, where there is a GPU, detections and training steps per second.

python benchmarks/surfemb.py                            # one detection
python benchmarks/surfemb.py --dataset data/demo        # and the sample pipeline, on the demo's images
OMP_NUM_THREADS=2 python benchmarks/surfemb.py          # two threads: CPU seconds are of both together
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models.datasets.bop import BopScene
from pose_models.geometry.transforms import from_rotation_translation, random_rotation
from pose_models.images import augment
from pose_models.images.crops import Crop
from pose_models.meshes.bounds import bounding_sphere
from pose_models.meshes.mesh import load_mesh
from pose_models.meshes.sampling import AreaSampler
from pose_models.meshes.shapes import box
from pose_models.methods.surfemb import data, estimate
from pose_models.methods.surfemb.config import InferSettings, NetworkSettings, SurfEmbSettings
from pose_models.methods.surfemb.data import CropSamples
from pose_models.methods.surfemb.estimate import Surface, estimate_pose
from pose_models.methods.surfemb.keys import KeyNetwork, Sphere
from pose_models.methods.surfemb.network import QueryNetwork, rotate_four
from pose_models.render.raycast import RayCaster

SIDE, POINTS = 224, 73_000
K = np.array([[900.0, 0, 112], [0, 900, 112], [0, 0, 1]])
# CPU seconds of the release on two cores and its peak memory (methods/surfemb.md, section 17.4).
REFERENCE = {"network": 3.95, "keys": 0.8, "correlation": 29.0, "sampling": 1.9, "hypotheses": 0.21, "scoring": 8.0,
             "refinement": 4.5}  # fmt: skip
REFERENCE_GB = 5.2
SEARCH = ("correlation", "sampling", "hypotheses", "scoring", "refinement")


class CpuClock:
    """Stands in for `estimate.Clock`: CPU seconds of all threads instead of seconds on the wall."""

    def __init__(self, _: Any = None) -> None:
        self.times: dict[str, float] = defaultdict(float)
        self._last = time.process_time()

    def lap(self, stage: str) -> None:
        now = time.process_time()
        self.times[stage] += now - self._last
        self._last = now


def analytic_keys(points: torch.Tensor) -> torch.Tensor:
    """Keys (N, 12) of normalised points (N, 3) that vary over the surface as smoothly as a trained network's."""
    generator = torch.Generator().manual_seed(1)
    W = 4 * torch.randn(6, 3, generator=generator).to(points)
    phase = points @ W.T
    return 8 / 6**0.5 * torch.cat([torch.cos(phase), torch.sin(phase)], dim=-1)


def crop_problem(rng: np.random.Generator) -> tuple[Surface, torch.Tensor, torch.Tensor, np.ndarray[Any, Any]]:
    """A surface, noisy mask logits (224, 224) and queries (224, 224, 12) of a crop, and the true T_cam_obj."""
    mesh = box([80, 50, 30])
    center, radius = bounding_sphere(mesh.vertices)
    points, faces = AreaSampler(mesh).draw_with_faces(POINTS, rng)
    normalised = torch.from_numpy((points - center) / radius).float()
    surface = Surface(
        points=torch.from_numpy(points).float(),
        normals=torch.from_numpy(mesh.face_normals()[faces]).float(),
        keys=analytic_keys(normalised),
        key_function=analytic_keys,
        caster=RayCaster(mesh),
        sphere=Sphere((float(center[0]), float(center[1]), float(center[2])), float(radius)),
        diameter_mm=2 * float(radius),
    )
    T = from_rotation_translation(random_rotation(rng, 1)[0], [2.0, -3.0, 480.0])
    hits = surface.caster.cast(K, T, SIDE, SIDE)
    seen = torch.from_numpy((surface.caster.coordinates(hits) - center) / radius).float()
    mask = torch.from_numpy(hits.mask)
    noise = torch.from_numpy(rng.normal(size=(SIDE, SIDE, 12)).astype(np.float32))
    queries = torch.where(mask[..., None], analytic_keys(seen) + noise, noise)
    logits = torch.where(mask, 3.0, -3.0) + torch.from_numpy(rng.normal(size=(SIDE, SIDE)).astype(np.float32))
    return surface, logits, queries, T


def search_seconds(settings: InferSettings, repeats: int) -> tuple[dict[str, float], float]:
    """Median CPU seconds by stage of the pose search, and the process's peak memory in GB."""
    surface, logits, queries, T = crop_problem(np.random.default_rng(0))
    estimate.Clock = CpuClock  # type: ignore[misc, assignment]
    runs = []
    for seed in range(repeats + 1):
        found = estimate_pose(logits, queries, K, surface, settings, np.random.default_rng(seed))
        if found is None or np.linalg.norm(found.T_cam_obj[:3, 3] - T[:3, 3]) > 0.05 * T[2, 3]:
            raise SystemExit(f"seed {seed}: the benchmark's pose was not found")
        runs.append(found.times)
    times = {stage: statistics.median(run[stage] for run in runs[1:]) for stage in SEARCH}  # the first one warms up
    return times, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def network_seconds(repeats: int) -> dict[str, float]:
    """CPU seconds of the ResNet-18 network on four rotations of a crop, and of the keys of all surface samples."""
    settings = NetworkSettings(pretrained=False)
    network, keys = QueryNetwork(settings, 1).eval().to(memory_format=torch.channels_last), KeyNetwork(settings)
    crops = rotate_four(torch.randn(3, SIDE, SIDE)).to(memory_format=torch.channels_last)
    points, index = torch.rand(POINTS, 3), torch.zeros(4, dtype=torch.int64)
    with torch.inference_mode():
        return {
            "network": _median_cpu(lambda: network(crops, index), repeats),
            "keys": _median_cpu(lambda: keys(points), repeats),
        }


def _median_cpu(function: Callable[[], Any], repeats: int) -> float:
    function()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def in_a_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run where nothing has been allocated yet, so that the peak memory is the function's own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def detection(repeats: int) -> None:
    """One detection by stage, default and faithful, beside the release."""
    searches = {
        name: in_a_fresh_process(search_seconds, InferSettings(faithful=faithful), repeats)
        for name, faithful in (("default", False), ("faithful", True))
    }
    once = in_a_fresh_process(network_seconds, repeats)
    print(f"One detection: {SIDE} px crop, {POINTS:,} surface points, 10,000 hypotheses, 1,000 scored; CPU seconds,")
    print(f"{torch.get_num_threads()} thread(s), median of {repeats}\n")
    print(f"{'stage':34s}{'release':>9s}{'default':>9s}{'ratio':>8s}{'faithful':>10s}")
    default, faithful_times = (searches[name][0] for name in ("default", "faithful"))
    rows = [(stage, REFERENCE[stage], default[stage], faithful_times[stage]) for stage in SEARCH]
    total = ("pose search, all of the above", *(sum(row[i] for row in rows) for i in (1, 2, 3)))
    for label, theirs, ours, faithful in [*rows, total]:
        print(f"{label:34s}{theirs:9.2f}{ours:9.2f}{theirs / ours:7.1f}x{faithful:10.2f}")
    for label, stage in (("image network, 4 rotations", "network"), ("keys, here once per object", "keys")):
        print(f"{label:34s}{REFERENCE[stage]:9.2f}{once[stage]:9.2f}{REFERENCE[stage] / once[stage]:7.1f}x")
    peak = searches["default"][1]
    print(f"{'peak memory of the search, GB':34s}{REFERENCE_GB:9.2f}{peak:9.2f}{REFERENCE_GB / peak:7.1f}x")
    print("(the release multiplies and pools in one stage; the peak is of the whole process, importing torch included)")


STAGES: dict[str, tuple[Any, str]] = {
    "read image (not cached)": (CropSamples, "_read_image"),
    "hull of the visible mask": (CropSamples, "_read_hull"),
    "augment image (stage A)": (augment, "photometric"),
    "augment crop (stage B)": (augment, "on_crop"),
    "warp into the crop": (Crop, "warp"),
    "cast rays": (CropSamples, "_render"),
    "sample correspondences": (CropSamples, "_correspondences"),
    "normalise": (data, "to_network"),
}


def training_samples(root: Path, cached: bool) -> CropSamples:
    """Samples of the paper's settings at 224 px from the training scenes of a dataset in BOP layout."""
    from pose_models.methods.surfemb.model import spheres_of

    if not cached:
        data.PRELOAD_BYTES = 0
    meshes = {int(path.stem[4:]): load_mesh(path) for path in sorted((root / "models").glob("obj_*.ply"))}
    bounds = [bounding_sphere(mesh.vertices) for mesh in meshes.values()]
    spheres = spheres_of(list(meshes), [center for center, _ in bounds], [radius for _, radius in bounds])
    folders = [path for path in sorted(root.glob("train*/*")) if path.is_dir()][:2]
    return CropSamples([BopScene(path) for path in folders], meshes, spheres, SurfEmbSettings(), 1)


def watch(label: str, owner: Any, name: str, seconds: dict[str, float]) -> None:
    """Replace `owner.name` by itself with a clock."""
    original: Callable[..., Any] = getattr(owner, name)

    def timed(*args: Any, **kwargs: Any) -> Any:
        start = time.process_time()
        try:
            return original(*args, **kwargs)
        finally:
            seconds[label] += time.process_time() - start

    setattr(owner, name, timed)


def sample_seconds(root: Path, count: int, cached: bool) -> dict[str, float]:
    """CPU seconds per training sample by stage, one thread; `whole` is the sum, `rest` what no stage counts."""
    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    seconds: dict[str, float] = defaultdict(float)
    for label, (owner, name) in STAGES.items():
        watch(label, owner, name, seconds)
    samples = training_samples(root, cached)
    if cached:
        samples.preload()
    for number in range(10):
        samples.sample(number)
    seconds.clear()
    start = time.process_time()
    for number in range(count):
        samples.sample(1000 + number)
    whole = time.process_time() - start
    rest = whole - sum(seconds.values())
    return {label: value / count for label, value in {**seconds, "rest": rest, "whole": whole}.items()}


def pipeline(root: Path, count: int) -> None:
    """Where the time of a training sample goes, images cached in memory and read anew."""
    cached, read = (in_a_fresh_process(sample_seconds, root, count, kind) for kind in (True, False))
    print(f"\nTraining samples at {SIDE} px with augmentation from {root}: CPU milliseconds per sample, one core,")
    print(f"mean of {count} samples\n")
    print(f"{'stage':34s}{'in memory':>10s}{'from disk':>10s}")
    for label in [*STAGES, "rest", "whole"]:
        print(f"{label:34s}{1e3 * cached.get(label, 0):10.2f}{1e3 * read.get(label, 0):10.2f}")
    print(f"{'samples per second and core':34s}{1 / cached['whole']:10.0f}{1 / read['whole']:10.0f}   (wanted: 40)")


def gpu(root: Path | None, repeats: int) -> None:
    """Seconds per detection and training steps per second on a GPU."""
    if not torch.cuda.is_available():
        print("\nNo GPU on this machine: detections and training steps per second on a GPU were not measured.")
        return
    surface, logits, queries, _ = crop_problem(np.random.default_rng(0))
    tensors = {name: getattr(surface, name).cuda() for name in ("points", "normals", "keys")}
    surface = Surface(**{**vars(surface), **tensors})
    network = QueryNetwork(NetworkSettings(pretrained=False), 1).eval().cuda().to(memory_format=torch.channels_last)
    print(f"\nOn {torch.cuda.get_device_name()}: seconds per detection")
    times: dict[str, list[float]] = defaultdict(list)
    for seed in range(repeats + 2):
        clock = estimate.Clock("cuda")
        with torch.inference_mode():
            crops = rotate_four(torch.randn(3, SIDE, SIDE, device="cuda")).to(memory_format=torch.channels_last)
            network(crops, torch.zeros(4, dtype=torch.int64, device="cuda"))
        clock.lap("network")
        found = estimate_pose(logits.cuda(), queries.cuda(), K, surface, InferSettings(), np.random.default_rng(seed))
        clock.lap("search")
        for stage, value in {**clock.times, **(found.times if found else {})}.items():
            times[stage].append(value)
    medians = {stage: statistics.median(values[2:]) for stage, values in times.items()}
    for stage in ("network", *SEARCH):
        print(f"{stage:34s}{medians[stage]:9.4f}")
    print(f"{'whole detection (wanted: 0.1)':34s}{medians['network'] + medians['search']:9.4f}")
    if root is not None:
        _training_steps(training_samples(root, cached=True))


def _training_steps(samples: CropSamples, steps: int = 200, batch: int = 16, workers: int = 8) -> None:
    from torch.utils.data import DataLoader

    from pose_models.methods.surfemb.model import SurfEmbModule

    class Samples(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
        def __len__(self) -> int:
            return steps * batch

        def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
            return samples.sample(index)

    samples.preload()
    for precision in (torch.float32, torch.bfloat16):
        model = SurfEmbModule(SurfEmbSettings(), samples.spheres, pretrained=False).cuda()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)
        loader = DataLoader(Samples(), batch_size=batch, num_workers=workers, pin_memory=True)
        busy, start = [], 0.0
        for number, cpu_batch in enumerate(loader):
            if number == 20:
                torch.cuda.synchronize()
                start, busy = time.perf_counter(), []
            events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
            events[0].record()
            device_batch = {name: value.cuda(non_blocking=True) for name, value in cpu_batch.items()}
            with torch.autocast("cuda", precision, enabled=precision != torch.float32):
                loss = model.losses(device_batch)["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            events[1].record()
            busy.append(events)
        torch.cuda.synchronize()
        elapsed = time.perf_counter() - start
        share = sum(a.elapsed_time(b) for a, b in busy) / 1e3 / elapsed
        print(f"training, batch {batch}, {precision}: {(steps - 20) / elapsed:.1f} steps/s, GPU busy {share:.0%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, help="dataset in BOP layout with training scenes, such as data/demo")
    parser.add_argument("--repeats", type=int, default=5, help="timed repeats; medians are shown")
    parser.add_argument("--samples", type=int, default=200, help="training samples to time")
    arguments = parser.parse_args()
    detection(arguments.repeats)
    if arguments.dataset is not None:
        pipeline(arguments.dataset, arguments.samples)
    gpu(arguments.dataset, arguments.repeats)


if __name__ == "__main__":
    main()
