"""Look into a SurfEmb model: a contact sheet of its twelve views, and a page to explore with the mouse."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program
from pose_models.files import InputError, write_bytes, write_text
from pose_models.settings import parse_overrides

if TYPE_CHECKING:
    from pose_models.methods.surfemb.inspection import Source


def main(arguments: argparse.Namespace) -> None:
    """Choose instances, ask the model, write sheet and page."""
    import cv2

    from pose_models.datasets.bop import BopDataset
    from pose_models.methods.surfemb.api import SurfEmb
    from pose_models.methods.surfemb.inspection import inspect_instances
    from pose_models.report.inspection import contact_sheet, inspection_page

    changes = parse_overrides(arguments.set).get("infer", {})
    folders = {"models": arguments.models or BopDataset(arguments.dataset).models, "surface": arguments.surface}
    method = SurfEmb.from_checkpoint(arguments.checkpoint, **folders, device=arguments.device, settings=changes)
    sources = choose(arguments, method.object_ids)
    found = inspect_instances(method.estimator, sources, arguments.points)
    items = list(program.progress(found, "instances", total=len(sources)))
    title = f"{arguments.checkpoint.parent.name} on {arguments.dataset.name}, {arguments.split}"
    sheet, page = arguments.out / "sheet.png", arguments.out / "index.html"
    write_bytes(sheet, cv2.imencode(".png", contact_sheet(items)[..., ::-1])[1].tobytes())
    write_text(page, inspection_page(items, title))
    print(f"wrote {sheet} and {page} ({page.stat().st_size / 1e6:.1f} MB): {len(items)} instances")
    if arguments.open:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())


def choose(arguments: argparse.Namespace, object_ids: list[int]) -> "list[Source]":
    """Instances of the split, evenly spread: those of a detections file, or the ground truth that is visible enough.

    Raises:
        InputError: there is none.
    """
    from pose_models.datasets.bop import BopDataset
    from pose_models.methods.surfemb.inspection import Source

    wanted = set(arguments.objects or object_ids)
    dataset = BopDataset(arguments.dataset)
    scenes = {scene_id: dataset.scene(arguments.split, scene_id) for scene_id in dataset.scene_ids(arguments.split)}
    sources = []
    if arguments.detections is not None:
        from pose_models.detections.coco import read_detections

        found = read_detections(arguments.detections).sorted()
        rows = [i for i in range(len(found)) if found.obj_id[i] in wanted and found.scene_id[i] in scenes]
        for i in rows:
            scene = scenes[int(found.scene_id[i])]
            sources.append(Source(scene, int(found.im_id[i]), int(found.obj_id[i]), box_ltrb=found.bbox_ltrb[i]))
    else:
        for scene in scenes.values():
            for im_id, instances in scene.ground_truth.items():
                for instance, info in zip(instances, scene.ground_truth_info[im_id], strict=True):
                    if instance.obj_id in wanted and info.visib_fract >= arguments.min_visible:
                        sources.append(Source(scene, im_id, instance.obj_id, gt_id=instance.gt_id))
    if not sources:
        raise InputError(
            f"{arguments.dataset / arguments.split}: no instance of the objects {sorted(wanted)} to look at"
        )
    step = max(len(sources) / arguments.count, 1)
    return [sources[int(i * step)] for i in range(min(arguments.count, len(sources)))]


if __name__ == "__main__":
    parser = program.parser(__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="model.ckpt")
    parser.add_argument("--dataset", type=Path, required=True, help="BOP dataset folder")
    parser.add_argument("--split", default="test", help="split folder, training ones too")
    parser.add_argument(
        "--detections", type=Path, help="look at these boxes (BOP COCO json), not at the ground truth's"
    )
    parser.add_argument("--objects", type=int, nargs="+", help="only these objects")
    parser.add_argument("--count", type=int, default=8, help="instances, evenly spread over the split")
    parser.add_argument("--min-visible", type=float, default=0.1, help="least visible share of a ground-truth instance")
    parser.add_argument("--points", type=int, default=20_000, help="surface points shown per object")
    parser.add_argument("--models", type=Path, help="meshes; default: the dataset's")
    parser.add_argument("--surface", type=Path, help="surface samples; default: surface/ beside it, or the graph's")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="such as infer.refine_steps=0")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    parser.add_argument("--out", type=Path, required=True, help="folder for sheet.png and index.html")
    program.run(main, parser)
