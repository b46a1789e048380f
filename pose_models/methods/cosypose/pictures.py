"""What the networks see and answer on training samples, as a picture (cosypose.md section 17)."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from pose_models.methods.cosypose.network import Comparer
from pose_models.methods.cosypose.poses import transformed, updated
from pose_models.render.silhouettes import outlines

Image = NDArray[np.uint8]
Color = tuple[int, int, int]
PICTURED = 4  # samples of a batch
PANEL_PX = 144  # least height of a panel; smaller crops are enlarged by a whole factor
LINE_PX = 18
TRUE, START, AFTER = (255, 255, 255), (255, 150, 40), (40, 235, 120)
TITLES: list[tuple[float, str, Color]] = [
    *((0.0, "crop", TRUE), (0.25, "render at the start", TRUE), (0.5, "render after the pass", TRUE)),
    *((0.75, "truth", TRUE), (0.83, "start", START), (0.91, "after", AFTER)),
]


@torch.no_grad()
def comparison_picture(networks: nn.ModuleDict, comparer: Comparer, batch: Mapping[str, Tensor]) -> Image:
    """One pass of every network on the first samples of a batch as `data.py` makes it (H, W, 3) RGB.

    A row per sample and stage: what was cut out, the object rendered there at the start and after the pass, and on the
    crop the outlines of start, pass and truth; above it ADD up to symmetry, mm.
    """
    few = {name: value[:PICTURED] for name, value in batch.items()}
    of_stage = [_rows(stage, network, comparer, few) for stage, network in networks.items()]
    rows = [row for sample in zip(*of_stage, strict=True) for row in sample]
    return np.concatenate([_line(rows[0].shape[1], TITLES), *rows])


def _rows(stage: str, network: nn.Module, comparer: Comparer, batch: Mapping[str, Tensor]) -> list[Image]:
    index, T = batch["object_index"], batch[f"start_{stage}"]
    everyone = torch.arange(len(index), device=index.device)
    seen = comparer.compare(batch["image"], everyone, batch["K"], index, T)
    after = updated(T, network(seen).float(), seen.K_crop)
    scale = -(-PANEL_PX // comparer.size[0])
    panels = [
        interpolate(images, scale_factor=float(scale), mode="nearest")
        for images in (seen.crops, seen.drawn.images, comparer.draw(index, after, seen.K_crop).images, 0.6 * seen.crops)
    ]
    for pose, color in ((T, START), (after, AFTER), (batch["T_cam_obj"], TRUE)):
        lines = outlines(comparer.cast(index, pose, seen.K_crop, scale).mask)
        panels[3] = torch.where(lines[:, None], panels[3].new_tensor(color)[:, None, None] / 255, panels[3])
    pixels = (torch.cat(panels, dim=3).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    possible = batch["T_cam_obj"][:, None] @ comparer.symmetries[index]
    errors = [symmetric_add(possible, pose, batch["points"]).tolist() for pose in (T, after)]
    captions = [
        f"object {comparer.table.ids[i]}, {stage}: ADD {before:.1f} mm, then {later:.1f} mm"
        for i, before, later in zip(index.tolist(), *errors, strict=True)
    ]
    return [
        np.concatenate([_line(row.shape[1], [(0.0, text, TRUE)]), row])
        for text, row in zip(captions, pixels, strict=True)
    ]


def symmetric_add(T_possible: Tensor, T: Tensor, points: Tensor) -> Tensor:
    """ADD (B,) mm of poses (B, 4, 4) to the nearest of equivalent true ones (B, S, 4, 4); points (B, N, 3) mm."""
    moved = transformed(T, points)
    each = [(transformed(true, points) - moved).norm(dim=2).mean(dim=1) for true in T_possible.unbind(dim=1)]
    return torch.stack(each).amin(dim=0)


def _line(width: int, texts: list[tuple[float, str, Color]]) -> Image:
    """A dark strip with texts, each at a share of the width and in a colour."""
    strip = np.full((LINE_PX, width, 3), 40, dtype=np.uint8)
    for share, text, color in texts:
        at = (round(share * width) + 4, LINE_PX - 5)
        cv2.putText(strip, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.38, color, 1, cv2.LINE_AA)
    return strip
