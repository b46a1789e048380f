"""Masks, visible shares and outlines of rendered batches."""

import pytest
import torch

from pose_models.meshes.shapes import box
from pose_models.render.renderer import Renderer
from pose_models.render.silhouettes import outlines, visible_fractions, visible_masks

K = torch.tensor([[300.0, 0, 60.0], [0, 300.0, 45.0], [0, 0, 1]], dtype=torch.float64)
SIZE = (90, 120)


def at(*translation):
    T = torch.eye(4, dtype=torch.float64)
    T[:3, 3] = torch.tensor(translation)
    return T


@pytest.fixture(scope="module")
def covered():
    """A plate of 30 mm at 300 mm, half covered by another at 150 mm; alone in a second image; one outside the view."""
    renderer = Renderer({1: box([30, 30, 0.001]), 2: box([15, 60, 0.001])})
    ids, image = [1, 2, 1, 2], [0, 0, 1, 1]
    T = torch.stack([at(0, 0, 300.0), at(7.5, 0, 150.0), at(0, 0, 300.0), at(900.0, 0, 150.0)])
    scenes = renderer.cast(ids, T, K.repeat(2, 1, 1), SIZE, image=image)
    return scenes, renderer.cast(ids, T, K[None].repeat(4, 1, 1), SIZE), image


def test_visible_share_is_what_nothing_hides(covered):
    scenes, alone, image = covered
    torch.testing.assert_close(visible_fractions(scenes, alone, image), torch.tensor([0.5, 1, 1, 0]))


def test_visible_masks_split_the_image_among_the_instances(covered):
    scenes, alone, image = covered
    masks = visible_masks(scenes, image)
    assert masks.shape == (4, *SIZE)
    assert masks[0].nonzero().tolist() == [[j, i] for j in range(30, 60) for i in range(45, 60)]
    assert torch.equal(masks[0] | masks[1], scenes.mask[0])
    assert not (masks[0] & masks[1]).any()
    assert torch.equal(masks[2], alone.mask[2])
    assert not masks[3].any()


def test_outlines_are_the_rim_inside_the_mask():
    mask = torch.zeros(1, 9, 12, dtype=torch.bool)
    mask[0, 2:7, 3:10] = True
    thin, thick = outlines(mask), outlines(mask, width=2)
    inner = torch.zeros_like(mask)
    inner[0, 3:6, 4:9] = True
    assert torch.equal(thin, mask & ~inner)
    inner[0] = False
    inner[0, 4:5, 5:8] = True
    assert torch.equal(thick, mask & ~inner)
    assert not outlines(torch.ones(1, 5, 5, dtype=torch.bool)).any()
