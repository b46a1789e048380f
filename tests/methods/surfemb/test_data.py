"""Training samples: reproducible, aligned with the picture, inside the surface's own frame."""

import json
import shutil

import numpy as np
import pytest
import torch

from pose_models.datasets.bop import BopScene
from pose_models.datasets.instances import visible_instances
from pose_models.files import InputError
from pose_models.meshes.bounds import bounding_sphere
from pose_models.meshes.mesh import load_mesh
from pose_models.methods.surfemb.config import SurfEmbSettings
from pose_models.methods.surfemb.data import CropSamples, balanced, to_network
from pose_models.methods.surfemb.model import SurfEmbModule, spheres_of
from pose_models.settings import resolve

OVERRIDES = ["network.backbone=small", "crop.side=64", "crop.min_visib_px=50", "loss.positives=40", "loss.negatives=50",
             "loss.key_noise=0", "train.valid_items=2"]  # fmt: skip


def _samples(root, stride=2, overrides=(), scenes=None):
    settings = resolve(SurfEmbSettings, [*OVERRIDES, *overrides])
    meshes = {i: load_mesh(root / "models" / f"obj_{i:06d}.ply") for i in (1, 2, 3)}
    bounds = [bounding_sphere(mesh.vertices) for mesh in meshes.values()]
    spheres = spheres_of(list(meshes), [c for c, _ in bounds], [r for _, r in bounds])
    scenes = scenes or [root / "train_synt" / "000000"]
    return CropSamples([BopScene(path) for path in scenes], meshes, spheres, settings, stride)


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
    assert not visible_instances([BopScene(small / "train_synt" / "000000")], [1, 2, 3], 0.1, 1_000_000)
    with pytest.raises(InputError, match=r"lower crop\.min_visib_px"):
        _samples(small, overrides=["crop.min_visib_px=1000000"])


def test_the_smaller_of_two_image_sets_is_repeated_to_about_the_size_of_the_larger():
    kinds = np.array([0] * 10 + [1] * 4 + [2])
    chosen = balanced(kinds)
    assert np.bincount(kinds[chosen]).tolist() == [10, 8, 10]  # round(10 / 4) = 2
    assert set(chosen.tolist()) == set(range(15))
    assert balanced(np.zeros(5, dtype=int)).tolist() == [0, 1, 2, 3, 4]


def test_real_images_are_mixed_with_rendered_ones_whose_intrinsics_are_shifted(small, tmp_path):
    """Two folders of the same scene: one whole under train_pbr, one with a single image under train_real."""
    scene = small / "train_synt" / "000000"
    for folder in ("train_pbr", "train_real"):
        shutil.copytree(scene, tmp_path / folder / "000000")
    few = tmp_path / "train_real" / "000000"
    for name in ("scene_gt.json", "scene_gt_info.json", "scene_camera.json"):
        content = json.loads((few / name).read_text())
        (few / name).write_text(json.dumps(dict(list(content.items())[:1])))
    samples = _samples(small, scenes=[tmp_path / "train_pbr" / "000000", few], overrides=["train.valid_items=0"])
    numbers = samples.train_instances.scene_numbers
    rendered, real = (int((numbers == scene).sum()) for scene in (0, 1))
    distinct = {(i.scene, i.im_id, i.gt_id) for i in samples.train_instances if i.scene == 1}
    assert real == round(rendered / len(distinct)) * len(distinct)
    assert real > len(distinct)
    K = {i.scene: i.K for i in samples.train_instances if i.im_id in {im_id for _, im_id, _ in distinct}}
    np.testing.assert_allclose(K[1] - K[0], [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]], atol=1e-12)


def test_mixed_precision_is_for_the_image_network_alone(small):
    """bfloat16 changes the losses a little, through the queries; keys stay float32 to the bit."""
    samples = _samples(small)
    torch.manual_seed(0)
    model = SurfEmbModule(samples.settings, samples.spheres)
    batch = torch.utils.data.default_collate([samples.sample(number) for number in range(4)])
    keys = []
    hook = model.key_networks[0].register_forward_hook(lambda *call: keys.append(call[2].detach()))
    batch["object_index"][:] = 0
    plain = model.losses(batch)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model.losses(batch)
    hook.remove()
    assert keys[0].dtype == torch.float32
    torch.testing.assert_close(keys[1], keys[0], rtol=0, atol=0)
    for name, value in plain.items():
        assert mixed[name].dtype == torch.float32
        assert mixed[name] != value
        torch.testing.assert_close(mixed[name], value, rtol=0.02, atol=0.02)


def test_a_picture_shows_crops_masks_queries_and_keys_of_the_validation(small):
    samples = _samples(small)
    torch.manual_seed(0)
    model = SurfEmbModule(samples.settings, samples.spheres).eval()
    other = samples._make(samples.train_instances[0], np.random.default_rng(1), drawn=True)
    items = [samples.valid_sample(0), other]
    batch = torch.utils.data.default_collate(items)
    assert "coordinates" not in samples.sample(0)
    picture = model.validation_picture(batch)
    assert picture.shape == (2 * 64, 4 * 64, 3)
    output = model.query_network(batch["image"], batch["object_index"]).detach()
    for number, item in enumerate(items):
        crop, mask, queries, keys = np.split(picture[64 * number : 64 * (number + 1)].astype(float), 4, axis=1)
        assert torch.equal(to_network(crop.astype(np.uint8)), item["image"])
        probability = torch.sigmoid(output[number, 0]).numpy()
        np.testing.assert_allclose(mask[::2, ::2, 1] / 255, probability, atol=0.51 / 255)
        colors = output[number, 1:].reshape(3, -1, 32, 32).mean(dim=1)
        colors = (0.5 + 0.5 * colors / colors.abs().max()).permute(1, 2, 0).numpy()
        np.testing.assert_allclose(queries[::2, ::2] / 255, colors, atol=0.51 / 255)
        inside = item["mask"].numpy() > 0
        assert not keys[::2, ::2][~inside].any()
        # Pixels whose surface points are known give the keys' colours: equal points, equal colours up to one scale.
        rows, columns = item["pixels_yx"].T
        network = model.key_networks[int(item["object_index"])]
        with torch.no_grad():
            known = network(item["positives"]) - network(item["negatives"]).mean(dim=0)
        known = known.reshape(len(known), 3, -1).mean(dim=2).numpy().ravel()
        seen = (keys[::2, ::2][rows, columns] / 255 - 0.5).ravel()
        assert np.corrcoef(known, seen)[0, 1] > 0.999
