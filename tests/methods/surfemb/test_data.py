"""Training samples: reproducible, aligned with the picture, inside the surface's own frame."""

import numpy as np
import pytest
import torch

from pose_models.datasets.bop import BopScene
from pose_models.files import InputError
from pose_models.meshes.bounds import bounding_sphere
from pose_models.meshes.mesh import load_mesh
from pose_models.methods.surfemb.config import SurfEmbSettings
from pose_models.methods.surfemb.data import CropSamples, training_instances
from pose_models.methods.surfemb.model import spheres_of
from pose_models.settings import resolve

OVERRIDES = ["network.backbone=small", "crop.side=64", "crop.min_visib_px=50", "loss.positives=40", "loss.negatives=50",
             "loss.key_noise=0", "train.valid_items=2"]  # fmt: skip


def _samples(root, stride=2, overrides=()):
    settings = resolve(SurfEmbSettings, [*OVERRIDES, *overrides])
    meshes = {i: load_mesh(root / "models" / f"obj_{i:06d}.ply") for i in (1, 2, 3)}
    bounds = [bounding_sphere(mesh.vertices) for mesh in meshes.values()]
    spheres = spheres_of(list(meshes), [c for c, _ in bounds], [r for _, r in bounds])
    return CropSamples([BopScene(root / "train_synt" / "000000")], meshes, spheres, settings, stride)


def test_a_sample_is_a_function_of_its_number(small):
    one, other = _samples(small), _samples(small)
    other.preload()
    other.sample(0)
    for number in (3, 500):
        a, b = one.sample(number), other.sample(number)
        assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(one.sample(3)["image"], one.sample(4)["image"])


def test_every_instance_is_seen_once_per_round_and_none_of_the_validation_is(small):
    samples = _samples(small)
    count = len(samples.train_instances)
    order = [samples._permutation(epoch).tolist() for epoch in (0, 1)]
    assert sorted(order[0]) == sorted(order[1]) == list(range(count))
    keys = [{(i.im_id, i.gt_id) for i in part} for part in (samples.train_instances, samples.valid_instances)]
    assert not keys[0] & keys[1]


@pytest.mark.parametrize("stride", [1, 2])
def test_samples_agree_with_each_other(small, stride):
    samples = _samples(small, stride)
    for number in range(6):
        item = samples.sample(number)
        assert item["image"].shape == (3, 64, 64)
        assert item["mask"].shape == (64 // stride, 64 // stride)
        rows, columns = item["pixels_yx"].T
        assert (item["mask"][rows, columns] == 1).all()
        for points in (item["positives"], item["negatives"]):
            assert (points.norm(dim=1) <= 1.001).all()


def test_rendered_silhouette_covers_the_picture_of_the_object(small):
    """Without jitter the crop's visible mask must lie inside the rendered silhouette."""
    from pose_models.images.crops import Crop, CropJitter

    samples = _samples(small, stride=1)
    scene = samples.scenes[0]
    for instance in samples.train_instances:
        visible = scene.mask(instance.im_id, instance.gt_id)
        crop = Crop.from_mask(visible, 64, 1.2, CropJitter(0.8))
        seen = crop.warp(visible.astype(np.uint8) * 255) > 127
        assert (samples._render(instance, crop).mask & seen).sum() >= 0.93 * seen.sum()


def test_too_small_instances_are_left_out_and_none_at_all_is_an_error(small):
    settings = resolve(SurfEmbSettings, ["crop.min_visib_px=1000000"])
    assert not training_instances([BopScene(small / "train_synt" / "000000")], [1, 2, 3], settings.crop)
    with pytest.raises(InputError, match=r"lower crop\.min_visib_px"):
        _samples(small, overrides=["crop.min_visib_px=1000000"])
