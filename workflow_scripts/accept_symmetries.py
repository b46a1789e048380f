"""Enter proposed symmetries, once you have looked at their pictures, into the models_info.json of a dataset."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program
from pose_models.files import InputError, read_json, write_json

KEYS = ("symmetries_discrete", "symmetries_continuous")


def main(arguments: argparse.Namespace) -> None:
    """Replace the symmetries of the objects that the proposals are of; others stay."""
    path = arguments.models / "models_info.json"
    info = read_json(path)
    for file in arguments.proposals:
        number = file.stem.removeprefix("obj_")
        key = str(int(number)) if number.isdigit() else ""
        if key not in info:
            raise InputError(f"{file}: its name must be obj_<id>.json of an object that {path} lists")
        content = read_json(file)
        if not isinstance(content, dict) or not isinstance(content.get("proposal"), dict):
            raise InputError(f"{file}: no proposal in it; make it with propose_symmetries.py")
        rest = {name: value for name, value in info[key].items() if name not in KEYS}
        info[key] = rest | {name: content["proposal"][name] for name in KEYS if name in content["proposal"]}
        counts = [f"{len(info[key].get(name, []))} {name.removeprefix('symmetries_')}" for name in KEYS]
        print(f"object {key}: {' and '.join(counts)} symmetries")
    write_json(path, info)
    print(f"wrote {path}; what was made with other symmetries is to be made again")


if __name__ == "__main__":
    parser = program.parser(__doc__)
    parser.add_argument("--proposals", nargs="+", required=True, type=Path, help="files of propose_symmetries.py")
    parser.add_argument("--models", required=True, type=Path, help="models folder, such as data/mine/models")
    program.run(main, parser)
