"""Turn a Mask R-CNN of CosyPose's release into a detector that detect.py reads."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program


def main(arguments: argparse.Namespace) -> None:
    """Read, check, write."""
    from pose_models.detections.maskrcnn import save_detector
    from pose_models.detections.maskrcnn_released import read_released_detector

    module = read_released_detector(arguments.checkpoint, arguments.config)
    save_detector(arguments.out, module)
    print(f"wrote {arguments.out}: Mask R-CNN for objects {module.object_ids}")


if __name__ == "__main__":
    options = program.parser(__doc__)
    options.add_argument(
        "--checkpoint",
        type=Path,
        required=True,
        help="checkpoint.pth.tar of a run such as detector-bop-tless-pbr--873074",
    )
    options.add_argument("--config", type=Path, help="its config.yaml; the one beside the checkpoint without it")
    options.add_argument("--out", type=Path, required=True, help="such as results/tless/detections/maskrcnn/model.ckpt")
    program.run(main, options)
