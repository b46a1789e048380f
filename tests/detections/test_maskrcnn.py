"""The detector's training images, targets, schedule and starts; it learns; the same settings give the same weights."""

from __future__ import annotations

import argparse
import json
import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torchvision.models.detection import maskrcnn_resnet50_fpn
from torchvision.models.resnet import resnet50

from pose_models.datasets.bop import BopDataset, BopScene
from pose_models.datasets.masks import mask_box
from pose_models.detections.maskrcnn import MaskRcnnModule, build_network, load_detector, load_start, targets_of
from pose_models.detections.maskrcnn_config import DetectSettings, MaskRcnnSettings, NetworkSettings
from pose_models.detections.maskrcnn_data import ImageSamples
from pose_models.detections.maskrcnn_detect import Detector
from pose_models.detections.maskrcnn_train import train
from pose_models.files import InputError
from pose_models.settings import resolve

TINY = (
    *("network.backbone=small", "network.channels=16", "network.box_width=16", "network.proposals=20"),
    *("network.roi_samples=8", "network.anchor_sizes=[8,16,32,64,128]", "images.background=0"),
    *("train.steps=4", "train.chunk_steps=2", "train.batch_size=2", "train.warmup_steps=2", "train.valid_items=2"),
    *("train.wandb=disabled", "train.optimizer=adamw", "train.lr_per_image=0.0005"),
)


@pytest.fixture
def painted(dataset: BopDataset) -> BopDataset:
    """The tiny dataset with masks, and images that show what the masks say: one colour per object."""
    colors = {1: (220, 40, 30), 2: (40, 60, 230)}
    for scene_id in dataset.scene_ids("test"):
        scene = dataset.scene("test", scene_id)
        (scene.path / "mask_visib").mkdir()
        for im_id in scene.image_ids:
            image = scene.rgb(im_id)
            for instance, info in zip(scene.ground_truth[im_id], scene.ground_truth_info[im_id], strict=True):
                x, y, w, h = info.bbox_visib
                mask = np.zeros(image.shape[:2], np.uint8)
                if info.px_count_visib:
                    mask[max(y, 0) : y + h + 1, max(x, 0) : x + w + 1] = 255
                cv2.imwrite(str(scene.path / "mask_visib" / f"{im_id:06d}_{instance.gt_id:06d}.png"), mask)
                image[mask > 0] = colors[instance.obj_id]
            cv2.imwrite(str(scene.rgb_path(im_id)), image[..., ::-1])
    return dataset


def scenes_of(dataset: BopDataset) -> list[BopScene]:
    return [dataset.scene("test", scene_id) for scene_id in dataset.scene_ids("test")]


def folders_of(dataset: BopDataset) -> list[Path]:
    return [scene.path for scene in scenes_of(dataset)]


def settings_of(*overrides: str) -> MaskRcnnSettings:
    return resolve(MaskRcnnSettings, [*TINY, *overrides])


def test_codes_become_boxes_labels_and_masks():
    codes = torch.zeros((20, 30), dtype=torch.int32)
    codes[3:9, 5:21] = 1 * 4 + 3
    codes[10:, 29:] = 7 * 4 + 1
    targets = targets_of(codes, 4)
    assert targets["labels"].tolist() == [3, 1]
    np.testing.assert_array_equal(targets["boxes"], [[5, 3, 21, 9], [29, 10, 30, 20]])
    for box, mask in zip(targets["boxes"].numpy(), targets["masks"].numpy(), strict=True):
        left, top, width, height = mask_box(mask > 0)
        np.testing.assert_array_equal(box, [left, top, left + width, top + height])
    assert targets["masks"].sum() == (codes > 0).sum()


def test_an_image_shows_its_visible_objects(painted):
    samples = ImageSamples(scenes_of(painted), [1, 2], settings_of("images.min_box_px=1"))
    image, codes = samples.read(0, 3)
    truth, infos = samples.scenes[0].ground_truth[3], samples.scenes[0].ground_truth_info[3]
    targets = targets_of(torch.from_numpy(codes), 3)
    wanted = [(i, info) for i, info in zip(truth, infos, strict=True) if info.px_count_visib]
    assert targets["labels"].tolist() == [instance.obj_id for instance, _ in wanted]
    for box, (_, info) in zip(targets["boxes"].numpy(), wanted, strict=True):
        x, y, w, h = info.bbox_visib
        np.testing.assert_array_equal(box, [max(x, 0), max(y, 0), x + w + 1, y + h + 1])
    assert (image[codes % 3 == 1] == [220, 40, 30]).all()


def test_small_boxes_and_unwanted_objects_are_background(painted):
    only_second = ImageSamples(scenes_of(painted), [2], settings_of())
    assert set(np.unique(only_second.read(0, 3)[1] % 2)) == {0, 1}
    assert len(targets_of(torch.from_numpy(only_second.read(0, 3)[1]), 2)["labels"]) == 1
    large = ImageSamples(scenes_of(painted), [1, 2], settings_of("images.min_box_px=500"))
    boxes = targets_of(torch.from_numpy(large.read(0, 3)[1]), 3)["boxes"]
    assert (((boxes[:, 2:] - boxes[:, :2]).prod(dim=1)) >= 500).all()
    assert len(boxes) < 3
    with pytest.raises(InputError, match="no training image shows one of the 1 objects"):
        ImageSamples(scenes_of(painted), [9], settings_of())


def test_images_of_other_sizes_get_the_training_size(painted):
    samples = ImageSamples(scenes_of(painted), [1, 2], settings_of("images.size=[80,90]"))
    image, codes = samples.read(0, 3)
    assert image.shape == (90, 80, 3)
    assert codes.shape == (90, 80)
    assert (np.abs(image[codes % 3 == 1].astype(int) - [220, 40, 30]).max(axis=1) < 3).mean() > 0.8


def test_samples_depend_on_their_number_alone_and_held_out_images_are_not_trained_on(painted):
    samples = ImageSamples(scenes_of(painted), [1, 2], settings_of())
    again = ImageSamples(scenes_of(painted), [1, 2], settings_of())
    assert not {tuple(p) for p in samples.valid_images.tolist()} & {tuple(p) for p in samples.train_images.tolist()}
    far = again.sample(7)
    for number in (0, 7, 3):
        for key, value in samples.sample(number).items():
            assert torch.equal(value, (far if number == 7 else again.sample(number))[key])
    assert samples.valid_count == 0  # of four images none can be spared


def test_backgrounds_become_photographs_and_never_label_images(painted, tmp_path):
    for folder, color in (("JPEGImages", (0, 255, 0)), ("SegmentationClass", (255, 0, 255))):
        (tmp_path / "VOC2012" / folder).mkdir(parents=True)
        for number in range(4):
            picture = np.full((30, 40, 3), color[::-1], np.uint8)
            cv2.imwrite(str(tmp_path / "VOC2012" / folder / f"{number}.png"), picture)
    changes = ("images.background=0.5", "images.filters=0", f"images.photos={tmp_path / 'VOC2012'}")
    samples = ImageSamples(scenes_of(painted), [1, 2], settings_of(*changes))
    assert len(samples.photos) == 4
    exchanged = 0
    for number in range(60):
        sample = samples.sample(number)
        pixels, codes = sample["image"].permute(1, 2, 0).numpy(), sample["codes"].numpy()
        assert (pixels[codes % 3 == 2] == [40, 60, 230]).all()
        is_green = (pixels[codes == 0] == [0, 255, 0]).all(axis=1)
        assert is_green.all() or not is_green.any()
        exchanged += bool(is_green.all())
    assert 18 <= exchanged <= 42
    with pytest.raises(InputError, match="folder of images not found"):
        ImageSamples(scenes_of(painted), [1, 2], settings_of("images.background=0.5", "images.photos=nowhere"))


def test_folders_are_repeated_as_published(painted):
    scenes = scenes_of(painted)
    repeats = {painted.name: {"test": 3}}
    samples = ImageSamples(scenes, [1, 2], settings_of(f"images.repeats={json.dumps(repeats)}"))
    assert len(samples.train_images) == 12
    assert MaskRcnnSettings().images.repeats["ycbv"] == {"train_pbr": 20, "train_synt": 1, "train_real": 3}


def test_the_learning_rate_is_the_published_one():
    module = MaskRcnnModule(settings_of("train.steps=46800", "train.optimizer=sgd", *PUBLISHED), [1, 2], (160, 120))
    chosen = module.configure_optimizers()
    factor = chosen["lr_scheduler"]["scheduler"].lr_lambdas[0]
    rate = chosen["optimizer"].defaults["lr"]
    assert rate == pytest.approx(0.04)  # of 32 GPUs with two images each
    assert chosen["optimizer"].defaults["momentum"] == 0.9
    assert factor(0) == pytest.approx(1 / 3900)
    assert factor(50 * 78 - 1) == factor(250 * 78 - 1) == pytest.approx(1)
    assert factor(250 * 78) == factor(450 * 78 - 1) == pytest.approx(0.1)
    assert factor(450 * 78) == pytest.approx(0.01)


PUBLISHED = (
    *("train.batch_size=64", "train.lr_per_image=0.000625", "train.warmup_steps=3900"),
    "train.drop_at=[0.4166666666666667,0.75]",
)


def test_the_defaults_are_those_the_schedule_is_tested_with():
    train_settings = MaskRcnnSettings().train
    tested = settings_of("train.steps=46800", "train.optimizer=sgd", *PUBLISHED).train
    for name in ("steps", "optimizer", "batch_size", "lr_per_image", "warmup_steps", "drop_at", "weight_decay"):
        assert getattr(train_settings, name) == getattr(tested, name)


def old_names(state):
    """Names of torchvision's weights at the time of the release and of the published COCO file."""
    renamed = {}
    for name, value in state.items():
        name = name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        for blocks in ("inner_blocks", "layer_blocks"):
            for level in range(4):
                name = name.replace(f"fpn.{blocks}.{level}.0.", f"fpn.{blocks}.{level}.")
        for number in range(4):
            name = name.replace(f"mask_head.{number}.0.", f"mask_head.mask_fcn{number + 1}.")
        renamed[name] = value.clone()
    return renamed


def test_a_start_from_coco_takes_all_but_the_predictors_and_freezes_stem_and_first_stage(tmp_path):
    torch.manual_seed(3)
    coco = old_names(maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=91).state_dict())
    torch.save(coco, tmp_path / "coco.pth")
    settings = MaskRcnnSettings(network=NetworkSettings(weights=str(tmp_path / "coco.pth")))
    module = MaskRcnnModule(settings, [1, 2, 3], (640, 480))
    before = module.network.roi_heads.box_predictor.cls_score.weight.clone()
    assert "predictors" in load_start(module, tmp_path / "coco.pth")
    network = module.network
    assert torch.equal(network.backbone.body.layer3[0].conv1.weight, coco["backbone.body.layer3.0.conv1.weight"])
    assert torch.equal(network.roi_heads.mask_head[3][0].bias, coco["roi_heads.mask_head.mask_fcn4.bias"])
    assert torch.equal(network.roi_heads.box_predictor.cls_score.weight, before)
    assert len(before) == 4
    frozen = {name.split(".")[2] for name, p in network.named_parameters() if not p.requires_grad}
    assert frozen == {"conv1", "layer1"}
    assert not any("running" in name for name, _ in network.named_parameters())
    torch.save({k: v for k, v in coco.items() if "layer4.2" not in k}, tmp_path / "torn.pth")
    with pytest.raises(
        InputError, match=r"torn\.pth: weights of another network than resnet50, such as backbone\.body\.layer4"
    ):
        load_start(module, tmp_path / "torn.pth")
    torch.save(resnet50(weights=None).state_dict(), tmp_path / "imagenet.pth")
    assert "the backbone" in load_start(module, tmp_path / "imagenet.pth")


def test_without_weights_everything_learns_and_is_normalised_by_groups():
    network, decided = build_network(NetworkSettings(backbone="small"), 3, (64, 48), DetectSettings())
    assert (decided.norm, decided.trainable_layers) == ("group", 5)
    assert all(p.requires_grad for p in network.parameters())
    with pytest.raises(InputError, match=r"frozen batch norm needs network\.weights"):
        build_network(NetworkSettings(backbone="small", norm="frozen"), 3, (64, 48), DetectSettings())


def test_levels_have_one_anchor_size_of_three_shapes():
    generator = build_network(NetworkSettings(backbone="small"), 3, (64, 48), DetectSettings())[0].rpn.anchor_generator
    sizes = [cells[:, 2:] - cells[:, :2] for cells in generator.cell_anchors]
    for side, anchors in zip((32, 64, 128, 256, 512), sizes, strict=True):
        np.testing.assert_allclose(anchors.prod(dim=1).sqrt(), side, rtol=0.03)
        np.testing.assert_allclose(anchors[:, 1] / anchors[:, 0], [0.5, 1, 2], rtol=0.05)


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


class Stopped(Exception):
    """Stands for a kill in the second chunk."""


def test_a_stopped_training_ends_with_the_weights_of_an_undisturbed_one(painted, tmp_path, monkeypatch):
    settings, scenes = settings_of(), folders_of(painted)
    train(settings, [1, 2], scenes, tmp_path / "a" / "model.ckpt", "cpu", 0)
    stopped = tmp_path / "b" / "model.ckpt"
    sample = ImageSamples.sample

    def stop(self, number):
        if number == 6:
            raise Stopped
        return sample(self, number)

    monkeypatch.setattr(ImageSamples, "sample", stop)
    with pytest.raises(Stopped):
        train(settings, [1, 2], scenes, stopped, "cpu", 0)
    monkeypatch.undo()
    assert (stopped.parent / "train" / "last.ckpt").exists()
    assert not stopped.exists()
    train(settings, [1, 2], scenes, stopped, "cpu", 0)
    first, second = weights_of(tmp_path / "a" / "model.ckpt"), weights_of(stopped)
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_detector_starts_from_another_one_of_the_same_objects(painted, tmp_path):
    first = tmp_path / "first" / "model.ckpt"
    train(settings_of("train.steps=0"), [1, 2], folders_of(painted), first, "cpu", 0)
    second = tmp_path / "second" / "model.ckpt"
    other = settings_of("train.steps=0", "train.seed=5")
    train(other, [1, 2], folders_of(painted), second, "cpu", 0, start=first)
    same, fresh = weights_of(second), weights_of(first)
    assert all(torch.equal(value, same[name]) for name, value in fresh.items())
    with pytest.raises(InputError, match=r"detects objects \[1, 2\], not \[1\]"):
        train(other, [1], folders_of(painted), tmp_path / "third" / "model.ckpt", "cpu", 0, start=first)


def test_boxes_and_masks_of_a_detector_fit_the_image_and_its_thresholds_count(painted, tmp_path):
    out = tmp_path / "model.ckpt"
    train(settings_of("train.steps=0"), [4, 7], folders_with_others(painted), out, "cpu", 0)
    image = scenes_of(painted)[0].rgb(3)
    every = Detector(load_detector(out, DetectSettings(min_score=0.0, per_image=9)), "cpu").records(image, 1, 3)
    assert 0 < len(every) <= 9
    for record in every:
        x, y, w, h = record["bbox"]
        assert (x >= 0, y >= 0, w > 0, h > 0, x + w <= 160, y + h <= 120) == (True,) * 6
        assert record["segmentation"]["size"] == [120, 160]
        assert record["category_id"] in (4, 7)
        assert record["time"] > 0
    assert Detector(load_detector(out, DetectSettings(min_score=0.999)), "cpu").records(image) == []


def folders_with_others(dataset: BopDataset) -> list[Path]:
    """The scenes with objects 4 and 7 in place of 1 and 2."""
    for folder in folders_of(dataset):
        file = folder / "scene_gt.json"
        content = json.loads(file.read_text())
        for instances in content.values():
            for instance in instances:
                instance["obj_id"] = {1: 4, 2: 7}[instance["obj_id"]]
        file.write_text(json.dumps(content))
    return folders_of(dataset)


DETECT = runpy.run_path(str(Path(__file__).parents[2] / "workflow_scripts" / "detect.py"))["main"]


def detect(checkpoint: Path, dataset: BopDataset, out: Path, *changes: str) -> list[dict[str, object]]:
    """Run detect.py; its records without the times."""
    DETECT(
        argparse.Namespace(
            checkpoint=checkpoint, dataset=dataset.root, out=out, set=["min_score=0.1", "per_image=3", *changes],
            split="test", targets="test_targets_bop19.json", device="cpu",
        )
    )  # fmt: skip
    return [{key: value for key, value in record.items() if key != "time"} for record in json.loads(out.read_text())]


def test_a_stopped_detection_goes_on_with_the_images_that_are_left(painted, tmp_path, monkeypatch):
    checkpoint, calls, records = tmp_path / "model.ckpt", [], Detector.records
    train(settings_of("train.steps=0"), [1, 2], folders_of(painted), checkpoint, "cpu", 0)

    def counted(self, image, *key):
        if key:
            calls.append(key)
        if len(calls) == 3:
            raise Stopped
        return records(self, image, *key)

    monkeypatch.setattr(Detector, "records", counted)
    with pytest.raises(Stopped):
        detect(checkpoint, painted, tmp_path / "a.json")
    assert calls == [(1, 3), (1, 8), (2, 3)]
    assert not (tmp_path / "a.json").exists()
    calls[:] = ["begun"] * 10
    resumed = detect(checkpoint, painted, tmp_path / "a.json")
    assert calls[10:] == [(2, 3), (2, 8)]
    assert len(resumed) == 4 * 3
    assert resumed == detect(checkpoint, painted, tmp_path / "b.json")
    assert calls[12:] == [(1, 3), (1, 8), (2, 3), (2, 8)]


def test_what_cannot_be_detected_gives_one_sentence(painted, tmp_path):
    checkpoint, out = tmp_path / "model.ckpt", tmp_path / "found.json"
    train(settings_of("train.steps=0"), [1, 2], folders_of(painted), checkpoint, "cpu", 0)
    with pytest.raises(InputError, match=r"min_scor is not a known key; did you mean 'min_score'\?"):
        detect(checkpoint, painted, out, "min_scor=0.2")
    with pytest.raises(InputError, match=r"model\.ckpt: finds nothing in 4 images; train it longer"):
        detect(checkpoint, painted, out, "min_score=1.0")
    other = tmp_path / "other.ckpt"
    train(settings_of("train.steps=0"), [4, 7], folders_with_others(painted), other, "cpu", 0)
    with pytest.raises(InputError, match=r"detects objects \[4, 7\], none of which is a target"):
        detect(other, painted, out)
    assert not out.exists()
