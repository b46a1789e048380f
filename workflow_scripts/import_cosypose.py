"""Turn checkpoints of CosyPose's authors into one of ours."""

import argparse
from pathlib import Path

from pose_models import program
from pose_models.files import InputError


def main(arguments: argparse.Namespace) -> None:
    """Read the released networks, write a checkpoint, say which settings a run needs to use it."""
    stages = {"coarse": arguments.coarse, "refiner": arguments.refiner}
    given = {stage: path for stage, path in stages.items() if path is not None}
    if not given:
        raise InputError("nothing to import; give --coarse, --refiner or both")
    from pose_models.datasets.bop import models_in
    from pose_models.methods.cosypose.model import save_model
    from pose_models.methods.cosypose.released import read_released

    model = read_released(given, models_in(arguments.models))
    save_model(arguments.out, model)
    network = model.settings.network
    print(f"wrote {arguments.out}: {' and '.join(given)} for objects {model.object_ids}; a run that uses it has")
    values = {name: getattr(network, name) for name in ("backbone", "rotation", "start", "render_center")}
    print(f"  set: {{network: {{{', '.join(f'{name}: {value}' for name, value in values.items())}}}}}")


if __name__ == "__main__":
    parser = program.parser("Turn released checkpoints of CosyPose into one that infer.py reads.")
    parser.add_argument(
        "--coarse", type=Path, help="checkpoint.pth.tar of a coarse run; its config.yaml lies beside it"
    )
    parser.add_argument("--refiner", type=Path, help="checkpoint.pth.tar of a refiner run, likewise")
    parser.add_argument("--models", type=Path, required=True, help="the models they were trained with: obj_XXXXXX.ply")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint, such as results/tless/cosypose/model.ckpt")
    program.run(main, parser)
