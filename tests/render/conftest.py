"""Devices and meshes that tests of rendering share."""

import numpy as np
import pytest
import torch

from pose_models.meshes.mesh import Mesh
from pose_models.meshes.shapes import box, cylinder


def bumpy(seed=0, subdivisions=3, radius=30.0):
    """A closed surface without symmetry, mm."""
    import trimesh

    sphere = trimesh.creation.icosphere(subdivisions=subdivisions)
    rng = np.random.default_rng(seed)
    points = np.asarray(sphere.vertices)
    waves = sum(0.12 * np.sin(points @ (4 * rng.normal(size=3)) + rng.uniform(0, 6)) for _ in range(3))
    return Mesh(points * radius * (1 + waves[:, None]), np.asarray(sphere.faces, dtype=np.int64))


@pytest.fixture(scope="session")
def meshes():
    """By object id: a box, a bumpy ball of 1280 faces, a cone."""
    return {2: box([40, 30, 60]), 5: bumpy(), 9: cylinder([40, 50, 70], 0.4)}


BACKENDS = [
    pytest.param(("cpu", "embree"), id="embree"),
    pytest.param(("cpu", "warp"), id="warp-cpu"),
    pytest.param(("cuda", "warp"), id="warp-cuda", marks=pytest.mark.gpu),
]


@pytest.fixture(params=BACKENDS)
def backend(request):
    """Device and back end; those on CUDA are skipped where there is none."""
    device, name = request.param
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return device, name
