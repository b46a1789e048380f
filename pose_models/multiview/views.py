"""Groups of views of one scene that are solved together (cosypose.md 12.1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def view_groups(frames: Sequence[tuple[int, int]], count: int) -> list[list[tuple[int, int]]]:
    """Deal the frames (scene id, image id) of each scene out to groups of `count` in random order.

    The order is the paper's: one generator with seed 0 over all scenes, ascending; a scene's last group may be smaller.
    """
    rng = np.random.RandomState(0)
    groups = []
    for scene_id in sorted({scene for scene, _ in frames}):
        own = [frame for frame in frames if frame[0] == scene_id]
        shuffled = [own[i] for i in rng.permutation(len(own))]
        groups += [shuffled[i : i + count] for i in range(0, len(shuffled), count)]
    return groups
