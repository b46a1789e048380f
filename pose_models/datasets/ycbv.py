"""YCB-V as PoseCNN, PVNet and DeepIM evaluate it: models (cosypose.md section 14.3) and frames (14.1).

BOP moved the origin of every YCB-V model and declares the master chef can and the large marker symmetric. Scores that
are to be compared with those papers need their vertices, moved by BOP's offset, and the two objects without symmetry.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pose_models.datasets.bop import BopDataset
from pose_models.files import InputError, atomic_path, remove, write_json
from pose_models.meshes.mesh import Mesh, save_ply

NOT_SYMMETRIC = (1, 18)  # to everybody but BOP
NAMES = {
    1: "002_master_chef_can", 2: "003_cracker_box", 3: "004_sugar_box", 4: "005_tomato_soup_can",
    5: "006_mustard_bottle", 6: "007_tuna_fish_can", 7: "008_pudding_box", 8: "009_gelatin_box",
    9: "010_potted_meat_can", 10: "011_banana", 11: "019_pitcher_base", 12: "021_bleach_cleanser", 13: "024_bowl",
    14: "025_mug", 15: "035_power_drill", 16: "036_wood_block", 17: "037_scissors", 18: "040_large_marker",
    19: "051_large_clamp", 20: "052_extra_large_clamp", 21: "061_foam_brick",
}  # fmt: skip
# What BOP added to the vertices of the original models, mm, from the information file of the dataset's publisher.
OFFSETS_MM = {
    1: (1.3360, -0.5000, 3.5105), 2: (0.5575, 1.7005, 4.8050), 3: (-0.9520, 1.4670, 4.3645),
    4: (-0.0240, -1.5270, 8.4035), 5: (1.2995, 2.4870, -11.8290), 6: (-0.1565, 0.1150, 4.2625),
    7: (1.1645, -4.2015, 3.1190), 8: (1.4460, -0.5915, 3.6085), 9: (2.4195, 0.3075, 8.0715),
    10: (-18.6730, 12.1915, -1.4635), 11: (5.3370, 5.8855, 25.6115), 12: (4.9290, -2.4800, -13.2920),
    13: (-0.2270, 0.7950, -2.9675), 14: (-8.4675, -0.6995, -1.6145), 15: (9.0710, 20.9360, -2.1190),
    16: (1.4265, -2.5305, 17.1890), 17: (7.0535, -28.1320, 0.0420), 18: (0.0460, -2.1040, 0.3500),
    19: (10.5180, -1.9640, -0.4745), 20: (-0.3950, -10.4130, 0.1620), 21: (-0.0805, 0.0805, -8.2435),
}  # fmt: skip


def compatible_info(infos: Mapping[int, Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    """Entries of models_info.json with empty symmetry lists for the two objects that only BOP calls symmetric."""
    none: dict[str, list[Any]] = {"symmetries_continuous": [], "symmetries_discrete": []}
    return {obj_id: dict(info) | (none if obj_id in NOT_SYMMETRIC else {}) for obj_id, info in infos.items()}


def original_to_bop(points_m: ArrayLike, offset_mm: ArrayLike) -> NDArray[np.float64]:
    """Points (N, 3) of an original model (metres) in the frame of BOP's model (mm)."""
    return np.asarray(points_m, dtype=np.float64) * 1000 + np.asarray(offset_mm, dtype=np.float64)


def write_compatible_models(dataset: BopDataset, original: Path, names: Mapping[int, str] = NAMES) -> list[Path]:
    """Write `models_bop-compat/` (BOP's meshes) and `models_bop-compat_eval/` (PoseCNN's points) into the dataset.

    Args:
        dataset: ycbv, with models/.
        original: folder of the YCB-Video models: `<name>/points.xyz`, metres.
        names: folder of each object.

    Returns:
        The two folders; each appears whole or not at all.
    """
    infos = dataset.models_info()
    missing = [obj_id for obj_id in infos if obj_id not in names or obj_id not in OFFSETS_MM]
    if missing:
        raise InputError(f"{dataset.root / 'models'}: object {missing[0]} is none of YCB-V's")
    outs = [dataset.root / "models_bop-compat", dataset.root / "models_bop-compat_eval"]
    for out in outs:
        if out.exists():
            raise InputError(f"{out}: is there already; remove it to write it again")
    points = {obj_id: _read_points(original / names[obj_id] / "points.xyz") for obj_id in infos}
    content = {str(obj_id): info for obj_id, info in compatible_info(infos).items()}
    try:
        with atomic_path(outs[0]) as models, atomic_path(outs[1]) as evaluated:
            shutil.copytree(dataset.root / "models", models)
            evaluated.mkdir()
            for obj_id, original_m in points.items():
                vertices = original_to_bop(original_m, OFFSETS_MM[obj_id])
                save_ply(evaluated / f"obj_{obj_id:06d}.ply", Mesh(vertices, np.zeros((0, 3), dtype=np.int64)))
            for folder in (models, evaluated):
                remove(folder / "models_info.json")
                write_json(folder / "models_info.json", content)
    except BaseException:
        remove(outs[1])  # the one that is renamed first
        raise
    return outs


def read_keyframes(path: str | Path) -> list[tuple[int, int]]:
    """(scene id, image id) of the frames that YCB-Video results are reported on, from `keyframe.txt`, in file order.

    Raises:
        InputError: the file is missing or a line is not `scene/frame`.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InputError(f"{path}: file not found") from None
    keys = []
    for number, line in enumerate(lines, 1):
        scene, _, frame = line.strip().partition("/")
        if not (scene.isdigit() and frame.isdigit()):
            raise InputError(f"{path}: line {number}: '{line}' is not scene/frame, such as 0048/000001")
        keys.append((int(scene), int(frame)))
    return keys


def _read_points(path: Path) -> NDArray[np.float64]:
    try:
        points = np.loadtxt(path, dtype=np.float64, ndmin=2)
    except FileNotFoundError:
        raise InputError(
            f"{path}: file not found; give the folder of the YCB-Video models (<name>/points.xyz)"
        ) from None
    except ValueError as error:
        raise InputError(f"{path}: not three numbers per line ({error}); fetch the file again") from None
    if points.shape[1:] != (3,) or not len(points) or not np.isfinite(points).all():
        raise InputError(f"{path}: not three finite numbers per line; fetch the file again")
    if np.abs(points).max() > 2:
        raise InputError(f"{path}: reaches {np.abs(points).max():.0f}, but these points are metres")
    return points
