"""Writer of the classic BOP layout (bop.md section 2): one scene folder, written image by image; targets of a split."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pose_models.datasets.bop import BopDataset
from pose_models.datasets.image_files import write_png
from pose_models.files import write_json

MIN_VISIBLE_FRACTION = 0.1  # an instance that shows less is no target


@dataclasses.dataclass(frozen=True)
class InstanceRecord:
    """One annotated instance: pose T_cam_obj (4, 4) mm, its entry of scene_gt_info.json, two masks (H, W)."""

    obj_id: int
    T_cam_obj: NDArray[np.float64]
    info: dict[str, Any]
    mask: NDArray[np.bool_]
    mask_visible: NDArray[np.bool_]


class SceneWriter:
    """Fills a new scene folder; `close` writes the JSON files. Wrap the folder in `files.atomic_path`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("rgb", "depth", "mask", "mask_visib"):
            (folder / name).mkdir(parents=True)
        self._camera: dict[str, Any] = {}
        self._gt: dict[str, Any] = {}
        self._info: dict[str, Any] = {}

    def add(
        self,
        im_id: int,
        rgb: NDArray[np.uint8],
        depth: NDArray[np.uint16],
        K: ArrayLike,
        depth_scale: float,
        instances: list[InstanceRecord],
        T_cam_world: ArrayLike | None = None,
    ) -> None:
        """Write one image.

        Args:
            rgb: (H, W, 3). depth: (H, W) in units of `depth_scale` mm, 0 = not measured.
            K: (3, 3). T_cam_world: (4, 4) mm, or None where the world has no meaning.
        """
        camera: dict[str, Any] = {"cam_K": _numbers(K), "depth_scale": depth_scale}
        if T_cam_world is not None:
            T = np.asarray(T_cam_world)
            camera |= {"cam_R_w2c": _numbers(T[:3, :3]), "cam_t_w2c": _numbers(T[:3, 3])}
        key = str(im_id)
        self._camera[key] = camera
        self._gt[key] = [
            {"cam_R_m2c": _numbers(r.T_cam_obj[:3, :3]), "cam_t_m2c": _numbers(r.T_cam_obj[:3, 3]), "obj_id": r.obj_id}
            for r in instances
        ]
        self._info[key] = [r.info for r in instances]
        write_png(self.folder / "rgb" / f"{im_id:06d}.png", rgb[..., ::-1])
        write_png(self.folder / "depth" / f"{im_id:06d}.png", depth)
        for gt_id, record in enumerate(instances):
            name = f"{im_id:06d}_{gt_id:06d}.png"
            write_png(self.folder / "mask" / name, record.mask.astype(np.uint8) * 255)
            write_png(self.folder / "mask_visib" / name, record.mask_visible.astype(np.uint8) * 255)

    def close(self) -> None:
        """Write scene_camera.json, scene_gt.json and scene_gt_info.json."""
        for name, content in (("camera", self._camera), ("gt", self._gt), ("gt_info", self._info)):
            write_json(self.folder / f"scene_{name}.json", content, indent=None)


def _numbers(values: ArrayLike) -> list[float]:
    return [float(value) for value in np.asarray(values, dtype=np.float64).reshape(-1)]


def localisation_targets(dataset: BopDataset, split: str) -> list[dict[str, int]]:
    """Content of test_targets_bop19.json: per image and object how many instances show at least a tenth."""
    targets = []
    for scene_id in dataset.scene_ids(split):
        scene = dataset.scene(split, scene_id)
        for im_id in scene.image_ids:
            pairs = zip(scene.ground_truth[im_id], scene.ground_truth_info[im_id], strict=True)
            visible = [gt.obj_id for gt, info in pairs if info.visib_fract >= MIN_VISIBLE_FRACTION]
            for obj_id in sorted(set(visible)):
                entry = {"scene_id": scene_id, "im_id": im_id, "obj_id": obj_id, "inst_count": visible.count(obj_id)}
                targets.append(entry)
    return targets
