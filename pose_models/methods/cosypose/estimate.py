"""From boxes to poses: a first pose, then passes of the coarse network and the refiner (cosypose.md section 11)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pose_models.datasets.bop import read_models_info
from pose_models.files import InputError
from pose_models.meshes.mesh import load_mesh
from pose_models.methods.cosypose.config import InferSettings
from pose_models.methods.cosypose.model import CosyPoseModule
from pose_models.methods.cosypose.network import Comparer
from pose_models.methods.cosypose.objects import ObjectTable
from pose_models.methods.cosypose.poses import fixed_start, updated, upright_start
from pose_models.methods.results import Clock

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Passes:
    """Poses (P, N, 4, 4) mm of N boxes after each of P passes, the first poses first; times: seconds by stage."""

    T_cam_obj: Array
    times: dict[str, float]


class Estimator:
    """A trained model with the meshes of its objects.

    Raises:
        InputError: a mesh is missing, or the model lacks a network that the settings ask for.
    """

    def __init__(self, model: CosyPoseModule, settings: InferSettings, models: Path, device: str) -> None:
        wanted = {"coarse": settings.coarse_iterations, "refiner": settings.refiner_iterations}
        for stage, passes in wanted.items():
            if passes and stage not in model.networks:
                raise InputError(f"the checkpoint has no {stage} network; set infer.{stage}_iterations=0")
        self.model, self.settings, self.models, self.device = model.to(device).eval(), settings, models, device
        self.stages = [stage for stage, passes in wanted.items() for _ in range(passes)]
        meshes = {i: load_mesh(models / f"obj_{i:06d}.ply", texture=True) for i in model.object_ids}
        table = ObjectTable.of(meshes, read_models_info(models), rotations=1)  # symmetries serve training alone
        self.comparer = Comparer(meshes, table, model.settings.network, device)

    @property
    def pass_names(self) -> list[str]:
        """Of the first poses and those after every pass: start, coarse 1, refiner 1, refiner 2, ..."""
        seen = [f"{stage} {self.stages[: i + 1].count(stage)}" for i, stage in enumerate(self.stages)]
        return ["start", *seen]

    def index(self, obj_ids: Sequence[int]) -> Tensor:
        """Positions (N,) of objects in the model's table.

        Raises:
            InputError: the model was not trained on one of them.
        """
        known = self.model.object_ids
        unknown = sorted(set(obj_ids) - set(known))
        if unknown:
            raise InputError(f"object {unknown[0]} is not among the checkpoint's objects {known}")
        return torch.tensor([known.index(obj_id) for obj_id in obj_ids], dtype=torch.int64, device=self.device)

    def first_poses(self, boxes: Tensor, K: Tensor, index: Tensor) -> Tensor:
        """Poses (N, 4, 4) that passes start from, of boxes (N, 4) ltrb."""
        if self.model.settings.network.start == "fixed":
            return fixed_start(boxes, K)
        return upright_start(boxes, K, self.comparer.points[index])

    def estimate(self, image: NDArray[np.uint8], K: ArrayLike, obj_ids: Sequence[int], boxes_ltrb: ArrayLike) -> Passes:
        """Estimate the poses of N objects in an image from their boxes.

        Args:
            image: (H, W, 3) RGB. K: (3, 3). obj_ids: (N,). boxes_ltrb: (N, 4) px.
        """
        index = self.index(obj_ids)
        boxes = torch.tensor(np.asarray(boxes_ltrb, dtype=np.float32).reshape(-1, 4), device=self.device)
        intrinsics = torch.tensor(np.asarray(K, dtype=np.float32), device=self.device).expand(len(index), 3, 3)
        return self.refine(image, K, obj_ids, self.first_poses(boxes, intrinsics, index).cpu().numpy())

    @torch.no_grad()
    def refine(self, image: NDArray[np.uint8], K: ArrayLike, obj_ids: Sequence[int], T_first: ArrayLike) -> Passes:
        """The passes from poses (N, 4, 4) mm on, wherever they come from."""
        clock = Clock(self.device)
        pixels = torch.from_numpy(np.ascontiguousarray(image)).to(self.device).permute(2, 0, 1)[None]
        index = self.index(obj_ids)
        intrinsics = torch.tensor(np.asarray(K, dtype=np.float32), device=self.device).expand(len(index), 3, 3)
        passes = [torch.tensor(np.asarray(T_first, dtype=np.float32).reshape(-1, 4, 4), device=self.device)]
        clock.lap("start")
        for stage in self.stages:
            passes.append(self._pass(stage, pixels, intrinsics, index, passes[-1]))
            clock.lap(stage)
        return Passes(torch.stack(passes).double().cpu().numpy(), clock.times)

    def _pass(self, stage: str, pixels: Tensor, K: Tensor, index: Tensor, T: Tensor) -> Tensor:
        parts, size = [T[:0]], self.settings.batch_size
        for start in range(0, len(index), size):
            chosen = slice(start, start + size)
            first_image = torch.zeros(len(index[chosen]), dtype=torch.int64, device=self.device)
            seen = self.comparer.compare(pixels, first_image, K[chosen], index[chosen], T[chosen])
            output = self.model.networks[stage](seen)
            parts.append(updated(T[chosen], output, seen.K_crop))
        return torch.cat(parts)
