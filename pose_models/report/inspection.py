"""Inspected instances of SurfEmb as a contact sheet (pixels) and as one self-contained page to explore."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from pose_models.images.colors import visualise_embedding
from pose_models.methods.surfemb.inspection import POSES, Inspected, Posed
from pose_models.methods.surfemb.views import VIEWS, key_picture, pose_picture, score_picture, to_image, views
from pose_models.report.contours import mask_contours
from pose_models.report.pictures import data_uri

TEMPLATES = Path(__file__).parent / "templates"
MARGIN, HEAD, LINE = 4, 22, 18


def contact_sheet(items: Sequence[Inspected], tile: int = 160) -> NDArray[np.uint8]:
    """All twelve views of every instance, a row each (H, W, 3) uint8 RGB; a cross marks the pixel that is shown."""
    step = tile + MARGIN
    height = HEAD + len(items) * (step + LINE)
    sheet = np.full((height, len(VIEWS) * step + MARGIN, 3), 255, dtype=np.uint8)
    for column, name in enumerate(VIEWS):
        _text(sheet, name, MARGIN + column * step, HEAD - 6)
    for row, item in enumerate(items):
        top = HEAD + row * (step + LINE)
        x, y = item.surest_pixel
        score = f", score {item.score:.3f}" if np.isfinite(item.score) else ", no pose found"
        _text(sheet, f"{item.title}{score}; pixel x {x}, y {y}", MARGIN, top + LINE - 5)
        for column, (name, picture) in enumerate(views(item).items()):
            left = MARGIN + column * step
            enlarged = cv2.resize(picture, (tile, tile), interpolation=cv2.INTER_NEAREST)
            if name in ("crop", "dist"):
                center = tuple(int((value + 0.5) * tile / len(item.crop)) for value in (x, y))
                cv2.drawMarker(enlarged, center, (80, 255, 80), cv2.MARKER_CROSS, 11, 1)
            sheet[top + LINE : top + LINE + tile, left : left + tile] = enlarged
    return sheet


def _text(image: NDArray[np.uint8], text: str, x: int, y: int) -> None:
    cv2.putText(image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (30, 34, 40), 1, cv2.LINE_AA)


def inspection_page(items: Sequence[Inspected], title: str) -> str:
    """A page on which the mouse over a crop shows where on the surface the network believes that pixel to be."""
    objects = {item.obj_id: _object(item, items) for item in items}
    content = {"objects": objects, "instances": [_instance(item, objects[item.obj_id]["keyScale"]) for item in items]}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    # "<" could end the script element, whatever stands in a title
    data = Markup(json.dumps(content, allow_nan=False).replace("<", "\\u003c"))
    return environment.get_template("inspection.html.j2").render(title=title, data=data, poses=POSES)


def _object(item: Inspected, items: Sequence[Inspected]) -> dict[str, Any]:
    own = [item.shown.keys, *(p.keys for other in items if other.obj_id == item.obj_id for p in other.posed.values())]
    scale = max(float(np.abs(keys).max(initial=1e-9)) for keys in own)
    return {
        "points": _packed(item.shown.points, 1.0, np.int16),
        "normals": _packed(item.shown.normals, 1.0, np.int8),
        "keys": _packed(item.shown.keys, scale, np.int16),
        "keyScale": scale,
        "shown": len(item.shown.points),
        "of": item.shown.total,
    }


def _instance(item: Inspected, key_scale: float) -> dict[str, Any]:
    query_scale = float(max(np.abs(item.queries).max(), 1e-9))
    norm = np.linalg.norm(item.queries, axis=-1) * item.mask_prob
    return {
        "title": item.title,
        "object": item.obj_id,
        "side": len(item.crop),
        "dims": item.queries.shape[-1],
        "score": item.score if np.isfinite(item.score) else None,
        "start": item.surest_pixel,
        "maskProb": _packed(item.mask_prob, 1.0, np.uint8),
        "queries": _packed(item.queries, query_scale, np.int16),
        "queryScale": query_scale,
        "pictures": {
            "crop": data_uri(item.crop),
            "mask": data_uri(to_image(item.mask_prob)),
            "query": data_uri(to_image(visualise_embedding(item.queries))),
            "query norm": data_uri(to_image(norm / max(float(norm.max()), 1e-9))),
        },
        "poses": {name: _posed(item, shown, key_scale) for name, shown in item.posed.items()},
    }


def _posed(item: Inspected, shown: Posed, key_scale: float) -> dict[str, Any]:
    side = len(item.crop)
    return {
        "mask": base64.b64encode(np.packbits(shown.mask, axis=None, bitorder="little").tobytes()).decode(),
        "keys": _packed(shown.keys, key_scale, np.int16),
        "outline": [np.round(line + 0.5, 2).tolist() for line in mask_contours(shown.mask)],
        "pictures": {
            "key": data_uri(to_image(key_picture(item, shown))),
            "pose": data_uri(to_image(pose_picture(item, shown))),
            "mask score": data_uri(to_image(score_picture(shown.mask_score, side))),
            "coord score": data_uri(to_image(score_picture(shown.coord_score, side))),
        },
    }


def _packed(values: NDArray[Any], scale: float, kind: type[np.integer[Any]]) -> str:
    """Values in +-scale as base64 of little-endian integers whose largest value stands for `scale`."""
    limit = np.iinfo(kind).max
    whole = np.round(np.clip(values / scale, -1, 1) * limit).astype(np.dtype(kind).newbyteorder("<"))
    return base64.b64encode(np.ascontiguousarray(whole).tobytes()).decode()
