"""Fetch a published dataset or parts of it: plan, download, verify, unpack; the same command goes on after a stop."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program
from pose_models.datasets.archives import parse_ids
from pose_models.datasets.catalogue import catalogue_names, default_parts, published
from pose_models.datasets.fetch import Wanted, check_room, fetch, gigabytes, select_parts, wanted_files
from pose_models.datasets.install import is_unpacked, unpack_part, write_fetched
from pose_models.datasets.transfer import Patience


def main(arguments: argparse.Namespace) -> None:
    """Print the plan, refuse what does not fit, fetch what is missing, unpack it."""
    name, root, patience = arguments.dataset, arguments.root, Patience(arguments.retries, arguments.wait_s)
    entry = published(name)
    scenes = None if arguments.scenes is None else parse_ids(arguments.scenes)
    scenes_of = dict.fromkeys(arguments.scenes_of, scenes)
    parts = list(select_parts(name, entry, arguments.parts or default_parts(entry)))
    beside = list(select_parts(name, entry, arguments.beside)) if arguments.beside else []
    missing = [part for part in parts if not is_unpacked(root, name, part, scenes_of.get(part))]
    others = [p for p in beside if p not in parts and not is_unpacked(root, name, p, scenes_of.get(p))]
    if not missing:
        print(f"{root / name}: {', '.join(parts)} are there already; nothing to do")
        return
    mirror = Path(arguments.mirror) if arguments.mirror else None
    planned, licence = wanted_files(name, [*missing, *others], root, mirror, patience)
    if arguments.list or _is_news(root / name / "archives" / "licence.txt", licence):
        print(f"{entry.title} ({name}), licence: {licence}\ncite: {entry.citation}")
    _print_plan(planned)
    to_fetch, to_unpack, free = check_room(planned, root, _shares(name, scenes_of))
    amounts = (f"{label} {gigabytes(n)}" for label, n in (("to download", to_fetch), ("to unpack about", to_unpack)))
    print(f"{', '.join(amounts)}; free {gigabytes(free)}", flush=True)
    if arguments.list:
        return
    wanted = [file for file in planned if file.part in missing]
    fetch(name, wanted, root, patience)
    for part in missing:
        write_fetched(root, name, part, wanted)
        if not arguments.no_unpack:
            keep = not arguments.remove_archives
            record = unpack_part(root, name, part, scenes_of.get(part), arguments.workers, keep)
            print(f"{part}: {record['files']} files, {gigabytes(record['bytes'])}")
    print(f"{'fetched' if arguments.no_unpack else 'wrote'} {root / name}: {', '.join(missing)}")


def _is_news(file: Path, licence: str) -> bool:
    """Keep the licence beside the archives; whether this is the first of the jobs that fetch the dataset's parts."""
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(licence + "\n")
    except FileExistsError:
        return False
    return True


def _print_plan(planned: Sequence[Wanted]) -> None:
    for file in planned:
        state = "in the mirror" if file.mirrored else "there" if file.path.exists() else "to download"
        size = gigabytes(file.remote.size) if file.remote.size else "size not known"
        print(f"  {file.part:24} {file.remote.name:40} {size:>10}  {state}")


def _shares(name: str, scenes_of: Mapping[str, Collection[int] | None]) -> dict[str, float]:
    """Share of each part that its chosen scenes are."""
    parts = published(name).parts
    known = {part: parts[part].scenes for part, scenes in scenes_of.items() if scenes is not None and part in parts}
    return {part: len(set(scenes_of[part] or ()) & set(all_)) / len(all_) for part, all_ in known.items() if all_}


if __name__ == "__main__":
    options = program.parser(__doc__)
    options.add_argument("--dataset", required=True, help=f"dataset: {', '.join(catalogue_names())}")
    options.add_argument("--parts", nargs="*", help="parts to fetch; default: what inference and training need")
    options.add_argument("--beside", nargs="*", help="parts fetched by other jobs, for which room must be left")
    options.add_argument("--root", type=Path, default=Path("data"), help="folder that holds a folder per dataset")
    options.add_argument("--mirror", help="folder that holds archives, used instead of the internet")
    options.add_argument("--scenes", help="unpack only these scenes, such as 0-4; default: all")
    options.add_argument("--scenes-of", nargs="*", default=["train_pbr"], help="parts that --scenes is meant for")
    options.add_argument("--workers", type=int, default=4, help="processes that unpack")
    options.add_argument("--remove-archives", action="store_true", help="remove downloaded archives when unpacked")
    options.add_argument("--no-unpack", action="store_true", help="only fetch (unpack_dataset.py unpacks)")
    options.add_argument("--list", action="store_true", help="only show the plan")
    options.add_argument("--retries", type=int, default=8, help="attempts without any progress before giving up")
    options.add_argument("--wait-s", type=float, default=1.0, help="first pause between attempts; it doubles each time")
    program.run(main, options)
