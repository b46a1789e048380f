"""Estimate the poses of objects in one image: a checkpoint, a camera and boxes in; poses and a picture out."""

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program
from pose_models.files import InputError, read_json, write_bytes, write_json
from pose_models.settings import parse_overrides


def main(arguments: argparse.Namespace) -> None:
    """Read, estimate, write."""
    K, depth_scale = read_camera(arguments.camera)
    boxes, obj_ids = read_boxes(arguments.boxes)
    import cv2
    import numpy as np

    from pose_models.datasets.bop import read_image
    from pose_models.datasets.estimates import write_estimates
    from pose_models.methods.api import from_checkpoint, to_result_file
    from pose_models.report.overlay import draw_estimates, drawn_estimates

    image = np.ascontiguousarray(read_image(arguments.image, cv2.IMREAD_COLOR)[..., ::-1])
    depth = None
    if arguments.depth is not None:
        depth = read_image(arguments.depth, cv2.IMREAD_UNCHANGED).astype(np.float32) * np.float32(depth_scale)
    estimator = from_checkpoint(
        arguments.checkpoint,
        models=arguments.models,
        surface=arguments.surface,
        device=arguments.device,
        settings=parse_overrides(arguments.set).get("infer", {}),
    )
    estimates = estimator.estimate(image, K, boxes, obj_ids, depth)
    overlay = draw_estimates(image, K, drawn_estimates(estimates, estimator.models))
    write_json(arguments.out / "estimates.json", [e.as_json() for e in estimates])
    write_estimates(arguments.out / "estimates.csv", to_result_file(estimates))
    write_bytes(arguments.out / "overlay.png", cv2.imencode(".png", overlay[..., ::-1])[1].tobytes())
    for e in estimates:
        t = ", ".join(f"{value:.1f}" for value in e.T_cam_obj[:3, 3])
        seconds = sum(e.times.values())
        print(
            f"object {e.obj_id}: "
            + (f"t = ({t}) mm, score {e.score:.3f}" if e.found else "no pose")
            + f", {seconds:.2f} s"
        )
    print(f"wrote {arguments.out}/: estimates.json, estimates.csv, overlay.png")


def read_camera(path: Path) -> tuple[list[list[float]], float]:
    """Intrinsics (3, 3) and millimetres per depth unit: `fx fy cx cy` (camera.json), or `cam_K`, 9 numbers row by row.

    Raises:
        InputError: neither is there.
    """
    camera = read_json(path)
    try:
        scale = float(camera.get("depth_scale", 1.0))
        if "cam_K" in camera:
            k = [float(value) for value in camera["cam_K"]]
            return [k[0:3], k[3:6], k[6:9]], scale
        fx, fy, cx, cy = (float(camera[key]) for key in ("fx", "fy", "cx", "cy"))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InputError(f"{path}: expected fx, fy, cx, cy in pixels, or cam_K with 9 numbers") from None
    return [[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]], scale


def read_boxes(path: Path) -> tuple[list[list[float]], list[int]]:
    """Boxes (N, 4) x, y, w, h px and object ids (N,): a list of records with `bbox` and `obj_id` (or `category_id`).

    Raises:
        InputError: naming the record.
    """
    records: Any = read_json(path)
    if not isinstance(records, list):
        raise InputError(f"{path}: expected a list of records with obj_id and bbox")
    boxes, obj_ids = [], []
    for index, record in enumerate(records):
        try:
            obj_ids.append(int(record["obj_id"] if "obj_id" in record else record["category_id"]))
            x, y, width, height = (float(value) for value in record["bbox"])
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{path}: record {index}: expected obj_id and bbox: [x, y, width, height]") from None
        boxes.append([x, y, width, height])
    return boxes, obj_ids


if __name__ == "__main__":
    parser = program.parser(__doc__)
    parser.add_argument("image", type=Path, help="colour image")
    parser.add_argument("--checkpoint", type=Path, required=True, help="model.ckpt of train.py or import_released.py")
    parser.add_argument("--camera", type=Path, required=True, help="json: fx fy cx cy, or cam_K; depth_scale")
    parser.add_argument("--boxes", type=Path, required=True, help="json: list of obj_id and bbox [x, y, w, h] px")
    parser.add_argument("--depth", type=Path, help="16-bit depth image; times the camera's depth_scale it is mm")
    parser.add_argument("--models", type=Path, help="meshes; default: models/ beside the checkpoint, or the graph's")
    parser.add_argument("--surface", type=Path, help="surface samples; default: surface/ beside it, or the graph's")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="such as infer.refine_steps=0")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    program.run(main, parser)
