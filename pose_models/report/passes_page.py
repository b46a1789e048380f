"""A page of one run's poses after every pass (cosypose.md section 17: input, detections, render, overlay)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pose_models.meshes.mesh import load_mesh
from pose_models.methods.passes import PassPoses
from pose_models.program import progress
from pose_models.report import charts
from pose_models.report.page import environment
from pose_models.report.passes import image_panels, judge_passes, pass_view, spread_rows
from pose_models.report.renders import Painter
from pose_models.report.views import FAIR, GOOD, Viewer


def passes_page(
    viewer: Viewer, poses: PassPoses, title: str, images: int, count: int, obj_ids: Sequence[int] = ()
) -> str:
    """HTML with a slider over the passes.

    Args:
        images: whole images shown at most; count: close-ups, of `obj_ids` alone where they are given.
    """
    judged = judge_passes(viewer, poses)
    every = sorted(set(zip(poses.scene_id.tolist(), poses.im_id.tolist(), strict=True)))
    keys = [every[i] for i in np.unique(np.linspace(0, len(every) - 1, min(images, len(every))).astype(int))]
    files = {obj_id: viewer.dataset.model_path(obj_id) for obj_id in sorted(set(poses.obj_id.tolist()))}
    painter = Painter({obj_id: load_mesh(file, texture=True) for obj_id, file in files.items()})
    panels = [image_panels(viewer, judged, key, painter) for key in progress(keys, "images")]
    block = pass_view(viewer, judged, title, charts.COLORS[0], spread_rows(poses, count, obj_ids))
    template = environment().get_template("passes.html.j2")
    return template.render(title=title, block=block, images=panels, good=GOOD, fair=FAIR)
