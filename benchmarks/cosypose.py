r"""CosyPose's speed: a training step of the refiner split into crop, render, network and loss; the sample pipeline.

CPU seconds of all threads on a CPU, seconds on the wall on a GPU (which has to be idle otherwise).

python benchmarks/cosypose.py                                        # the paper's network, crops of 240 x 320
python benchmarks/cosypose.py --batch 32 --set network.backbone=matching network.height=48 network.width=64 \
    network.box_points=300 loss.points=100 data.augment=0 data.background=0
python benchmarks/cosypose.py --device cuda --batch 32
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models.datasets.bop import BopScene, read_models_info
from pose_models.memory import keep_freed_memory
from pose_models.meshes.mesh import load_mesh
from pose_models.methods.cosypose.config import CosyPoseSettings
from pose_models.methods.cosypose.crops import cut
from pose_models.methods.cosypose.data import PoseSamples
from pose_models.methods.cosypose.model import CosyPoseModule
from pose_models.methods.cosypose.network import Comparison
from pose_models.methods.cosypose.objects import ObjectTable
from pose_models.methods.results import Clock
from pose_models.settings import resolve


class Laps(Clock):
    """Seconds by stage: of all threads on a CPU, on the wall on a GPU."""

    def _now(self) -> float:
        return super()._now() if self._cuda else time.process_time()


def step(module: CosyPoseModule, optimizer: torch.optim.Optimizer, batch: dict[str, torch.Tensor], laps: Laps) -> None:
    """One training step of the refiner, as `CosyPoseModule.loss` makes it."""
    comparer, index, T = module.comparer, batch["object_index"], batch["start_refiner"]
    laps.lap("rest")
    regions, K_crop = comparer.regions(batch["K"], index, T)
    crops = cut(batch["image"], torch.arange(len(index), device=index.device), regions, comparer.size)
    laps.lap("crop")
    with torch.no_grad():
        drawn = comparer.draw(index, T, K_crop)
    laps.lap("render")
    seen = Comparison(crops, drawn, comparer.points[index], T, regions, K_crop)
    output, matches = module.answer("refiner", seen)
    laps.lap("network")
    loss = module.judged(seen, output, matches, batch).mean()
    laps.lap("loss")
    loss.backward()
    module.clip_networks()
    optimizer.step()
    optimizer.zero_grad()
    laps.lap("network")


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, default=Path("data/demo"), help="folder with models/ and train_synt/")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of CosyPose")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--give-back", action="store_true", help="do not keep freed memory, as training on a CPU does")
    arguments = parser.parse_args()
    if arguments.device == "cpu" and not arguments.give_back:
        keep_freed_memory()
    settings = resolve(CosyPoseSettings, ["network.stages=[refiner]", *arguments.set])
    infos = read_models_info(arguments.dataset / "models")
    meshes = {i: load_mesh(arguments.dataset / "models" / f"obj_{i:06d}.ply", texture=True) for i in infos}
    table = ObjectTable.of(meshes, infos, settings.loss.rotations)
    scene = BopScene(min(path for path in (arguments.dataset / "train_synt").iterdir() if path.is_dir()))
    samples = PoseSamples([scene], table, settings)
    items = [samples.sample(number) for number in range(arguments.batch)]
    start = time.process_time()
    for number in range(64):
        samples.sample(number)
    prepare = (time.process_time() - start) / 64
    batch = {k: v.to(arguments.device) for k, v in torch.utils.data.default_collate(items).items()}
    module = CosyPoseModule(settings, table.ids).to(arguments.device).train()
    module.show(meshes, table)
    optimizer = torch.optim.Adam(module.parameters(), lr=settings.loss.lr)
    step(module, optimizer, batch, Laps(arguments.device))
    laps = Laps(arguments.device)
    for _ in range(arguments.steps):
        step(module, optimizer, batch, laps)
    count, total = arguments.batch * arguments.steps, sum(laps.times.values())
    size = f"{settings.network.backbone}, {settings.network.height} x {settings.network.width}"
    print(f"{size}, batch {arguments.batch}, {arguments.device}: {count / total:.2f} samples/s")
    for stage in ("crop", "render", "network", "loss"):
        print(f"  {stage:8s} {1e3 * laps.times[stage] / count:8.2f} ms per sample {laps.times[stage] / total:6.1%}")
    print(f"  one sample is made in {1e3 * prepare:.2f} ms of CPU by the loading processes, images to be read")


if __name__ == "__main__":
    main()
