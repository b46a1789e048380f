"""Reference raster of RePOSE (rasterize.npz): metres, crops, weights in the image plane, gradient to features."""

import numpy as np
import pytest
import torch

from pose_models.geometry.transforms import from_rotation_translation
from pose_models.meshes.mesh import Mesh
from pose_models.render.renderer import Renderer


@pytest.mark.parametrize("backend", ["embree", "warp"])
def test_rasters_and_their_gradient_are_those_of_the_reference(golden_dir, backend):
    for path in sorted((golden_dir / "repose").glob("rasterize*.npz")):
        v = dict(np.load(path))
        count, height, width = v["face_index"].shape
        mesh = Mesh(v["vertices"].astype(np.float64) * 1000, v["faces"].astype(np.int64))
        T = torch.from_numpy(from_rotation_translation(v["R"], v["t"].astype(np.float64) * 1000))
        K = torch.from_numpy(v["K"].astype(np.float64))
        K[:, :2, 2] -= torch.from_numpy(v["bbox"][:, [1, 0]].astype(np.float64))
        renderer = Renderer({1: mesh}, backend=backend)
        got = renderer.cast([1] * count, T, K, (height, width), pixel_center=0.5)
        weights = renderer.surfaces.screen_barycentric(got, T)
        values = torch.from_numpy(v["vertex_feat"]).requires_grad_()
        feature = renderer.surfaces.vertex_values(got, values, weights)

        face, expected = got.face.numpy(), v["face_index"]
        assert (got.mask.numpy() == (v["mask"][:, 0] > 0)).mean() >= 0.995
        same = (face == expected) & (expected >= 0)
        assert same.sum() >= 0.99 * (expected >= 0).sum()
        np.testing.assert_allclose(weights.numpy()[same], v["bary"][same], atol=2e-4)
        np.testing.assert_allclose(got.depth.numpy()[same] / 1000, v["depth"][same], atol=1e-5)
        np.testing.assert_allclose(feature.detach().numpy()[same], np.moveaxis(v["feature"], 1, -1)[same], atol=1e-3)
        assert (feature.detach().numpy()[face < 0] == 0).all()

        (feature * torch.from_numpy(v["grad_feature"][:, :3]).movedim(1, -1)).sum().backward()
        gradient = v["grad_vertex_feat"].sum(axis=0)  # one table of features serves all images here
        assert np.linalg.norm(values.grad.numpy() - gradient) <= 2e-2 * np.linalg.norm(gradient)
