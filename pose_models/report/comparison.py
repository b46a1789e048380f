"""What the report shows of the comparisons of later runs with the first (docs/evaluation.md lists their keys)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pose_models.report import charts
from pose_models.report.gather import RunResults
from pose_models.report.pictures import picture
from pose_models.report.scores_view import ERRORS, number
from pose_models.report.views import Viewer, estimate_contours, scaled_image, truth_contours

THUMBNAIL_WIDTH = 640


def comparison_view(
    viewer: Viewer, first: RunResults, second: RunResults, content: Mapping[str, Any], color: str, images: int
) -> dict[str, Any]:
    """The block of one comparison: a chart of differences, and the images where the two runs differ most.

    Args:
        viewer: of the dataset's evaluated split.
        first, second: the two runs; differences are second minus first.
        content: of the file that compare_estimates.py wrote; what it lacks is not shown.
        color: of the second run.
        images: how many images to show.
    """
    entries = content.get("most_different_images")
    views = [image_difference(viewer, first, second, entry) for entry in (entries or [])[:images]]
    return {
        "first": first.name,
        "second": second.name,
        "svg": charts.whisker_chart(differences(content), f"AR of {second.name} minus {first.name}", color),
        "better": number(content, "difference", "ar", "share_of_resamples_better"),
        "images": [view for view in views if view is not None],
    }


def differences(content: Mapping[str, Any]) -> list[charts.Whisker]:
    """Rows of the chart: AR, the three errors' parts of it, then AR of each object."""
    labels = {"ar": "AR", **ERRORS}
    paths = [(label, ("difference", name), "value") for name, label in labels.items()]
    objects = content.get("per_object")
    for obj_id in sorted(objects, key=int) if isinstance(objects, Mapping) else []:
        paths.append((f"object {obj_id}", ("per_object", obj_id), "difference"))
    rows = []
    for label, path, key in paths:
        value, low, high = (number(content, *path, name) for name in (key, "low", "high"))
        if value is not None and low is not None and high is not None:
            rows.append(charts.Whisker(label, value, low, high))
    return rows


def image_difference(
    viewer: Viewer, first: RunResults, second: RunResults, entry: Mapping[str, Any]
) -> dict[str, Any] | None:
    """One image with the outlines of both runs; only its numbers where there is no picture, None if it is no target."""
    key = (int(entry["scene_id"]), int(entry["im_id"]))
    if key not in viewer.world.targets:
        return None
    numbers = {name: number(entry, name) for name in ("first", "second", "difference")}
    return {"title": f"scene {key[0]}, image {key[1]}", **numbers, "svg": _both(viewer, first, second, key)}


def _both(viewer: Viewer, first: RunResults, second: RunResults, key: tuple[int, int]) -> str:
    if not viewer.world.scene(key[0]).has_rgb(key[1]):
        return ""
    image, K, _ = scaled_image(viewer, key, THUMBNAIL_WIDTH)
    size = (image.shape[1], image.shape[0])
    layers = [("truth", truth_contours(viewer, key, K, size))]
    for name, run in (("first", first), ("second", second)):
        layers += [(name, lines) for _, lines in estimate_contours(viewer, run, key, K, size)]
    return picture(image, layers, title=f"scene {key[0]}, image {key[1]}: {first.name} and {second.name}", quality=85)
