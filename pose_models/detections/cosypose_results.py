"""Reader of the `results.pth.tar` that CosyPose saves: Mask R-CNN boxes and the poses that were refined from them.

The file is a pickle of torch tensors and pandas tables. torch reads it with `weights_only=True`, which calls nothing
but what is listed here; the listed names of CosyPose and pandas stand for the passive classes below, so that neither
package is needed, whatever version wrote the file. Tables of pandas 0.25 to 3 are understood.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models.files import InputError

DETECTIONS = "/detections"
ITERATION = re.compile(r"/(coarse|refiner)/iteration=(\d+)$")


class Collection:
    """A table `infos` with tensors of equal length (`bboxes` xyxy px, `poses` metres)."""

    tensors: dict[str, Any]
    infos: Table

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.tensors, self.infos = state["tensors"], state["infos"]


class Blocks:
    """What pandas keeps its columns in: names, and arrays of columns of one type with their positions."""

    def __init__(self, blocks: Any = (), axes: Any = ()) -> None:
        self.blocks, self.axes = blocks, axes

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) > 3:  # up to pandas 1.2
            content = state[3]["0.14.1"]
            self.axes = content["axes"]
            self.blocks = [(block["values"], block["mgr_locs"]) for block in content["blocks"]]


class Table:
    """A pandas data frame; `column` gives what is needed of it."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.content: Blocks = state["_mgr"] if "_mgr" in state else state["_data"]

    def column(self, name: str) -> NDArray[Any] | None:
        """A column (N,), None if there is none of this name."""
        names = [str(value) for value in np.asarray(self.content.axes[0]).tolist()]
        if name not in names:
            return None
        position = names.index(name)
        for values, places in self.content.blocks:
            rows = np.arange(len(names))[places].tolist()
            if position in rows:
                return np.asarray(np.asarray(values)[rows.index(position)])
        return None


def _block(values: Any, places: Any, ndim: int = 2) -> tuple[Any, Any]:
    return values, places


def _places(places: Any) -> Any:
    return places


def _index(kind: Any, content: dict[str, Any]) -> Any:
    """An index of a table as an array; one that only counts (RangeIndex) as none, for rows go by position."""
    return content.get("data", np.zeros(0, dtype=object))


def _listed() -> list[Any]:
    from collections import defaultdict

    listed: list[Any] = [np.ndarray, np.dtype, slice, (slice, "builtins.slice"), list, dict, (list, "builtins.list")]
    helpers = {"_reconstruct": np.zeros(1).__reduce__()[0], "scalar": np.float64(0).__reduce__()[0]}
    for core in ("core", "_core"):  # numpy before 2, and since
        listed += [(function, f"numpy.{core}.multiarray.{name}") for name, function in helpers.items()]
    listed += [type(np.dtype(code)) for code in "?bBhHiIlLqQfdOSU"]
    listed += [(defaultdict, "collections.defaultdict")]
    for package in ("cosypose.utils", "happypose.toolbox.utils"):
        listed += [(Collection, f"{package}.tensor_collection.{kind}TensorCollection") for kind in ("", "Pandas")]
    listed += [(Table, name) for name in ("pandas.core.frame.DataFrame", "pandas.DataFrame")]
    listed += [(Blocks, f"pandas.core.internals{module}.BlockManager") for module in ("", ".managers")]
    listed += [(_block, "pandas._libs.internals._unpickle_block"), (_index, "pandas.core.indexes.base._new_Index")]
    listed += [(_places, "pandas._libs.internals.BlockPlacement")]
    for kind in ("Index", "RangeIndex", "Int64Index", "Float64Index"):
        for module in ("", ".core.indexes.base", ".core.indexes.range", ".core.indexes.numeric"):
            listed.append((Index, f"pandas{module}.{kind}"))
    return listed


class Index:
    """Stands for the classes of indices, which are only named."""


def load_predictions(path: str | Path) -> dict[str, Collection]:
    """The predictions of a results file by name, such as `maskrcnn_detections/detections`.

    Raises:
        InputError: no torch file, one that names anything unexpected (nothing was executed), or without predictions.
    """
    import torch

    try:
        with torch.serialization.safe_globals(_listed()):
            content = torch.load(path, map_location="cpu", weights_only=True)
        found = content["predictions"]
    except FileNotFoundError:
        raise InputError(f"{path}: file not found") from None
    except Exception as error:  # torch raises whatever the bytes lead to; its explanations run over many lines
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it names {named.group(1)}; nothing was executed" if named else f"{type(error).__name__}"
        raise InputError(f"{path}: no results of CosyPose that could be read ({reason}); fetch it again") from None
    kept = {str(name): value for name, value in dict(found).items() if isinstance(value, Collection)}
    if not any(name.endswith(DETECTIONS) for name in kept):
        raise InputError(f"{path}: no predictions named '...{DETECTIONS}', only {', '.join(sorted(kept)) or 'none'}")
    return kept


def read_cosypose(path: str | Path) -> dict[str, NDArray[Any]]:
    """Boxes and poses of a results file.

    Returns:
        scene_id, im_id, obj_id (N,) int64; score (N,); ltrb (N, 4) px; time (N,) s for the whole image, coarse poses
        included, -1 unknown (times of the detector alone were not recorded: surfemb.md 10); where the file has poses,
        T_cam_obj (N, 4, 4) mm of the last refinement.

    Raises:
        InputError: see `load_predictions`; a column is missing; several detectors in one file.
    """
    predictions = load_predictions(path)
    names = [name for name in predictions if name.endswith(DETECTIONS)]
    if len(names) > 1:
        raise InputError(f"{path}: detections of several detectors ({', '.join(sorted(names))}); save one per file")
    boxes = predictions[names[0]]
    n = len(boxes.tensors["bboxes"])
    prefix = names[0].removesuffix(DETECTIONS)
    stages = sorted(
        (match.group(1), int(match.group(2)), name)
        for name in predictions
        if (match := ITERATION.search(name)) and name.startswith(prefix) and len(_poses(predictions[name])) == n
    )
    tables = [boxes.infos] + [predictions[name].infos for _, _, name in stages[:1]]

    def column(*wanted: str) -> NDArray[Any]:
        for table in tables:
            for name in wanted:
                values = table.column(name)
                if values is not None:
                    return values
        raise InputError(f"{path}: the table of '{names[0]}' has no column '{wanted[0]}'")

    labels = [re.search(r"(\d+)$", str(label)) for label in column("label").tolist()]
    if not all(labels):
        raise InputError(f"{path}: a label of '{names[0]}' does not end with the object's number (obj_000012)")
    result: dict[str, NDArray[Any]] = {
        "scene_id": column("scene_id").astype(np.int64),
        "im_id": column("view_id", "im_id").astype(np.int64),
        "obj_id": np.array([int(label.group(1)) for label in labels if label], dtype=np.int64),
        "score": column("score").astype(np.float64),
        "ltrb": np.asarray(boxes.tensors["bboxes"].double()).reshape(-1, 4),
        "time": np.full(n, -1.0),
    }
    times = [values for table in tables if (values := table.column("time")) is not None]
    if times:
        result["time"] = times[0].astype(np.float64)
    if stages:
        result["T_cam_obj"] = np.asarray(_poses(predictions[stages[-1][2]]).double()).reshape(-1, 4, 4).copy()
        result["T_cam_obj"][:, :3, 3] *= 1000.0  # metres
    return result


def _poses(collection: Collection) -> Any:
    return collection.tensors.get("poses", ())
