"""Detectors of CosyPose's release: every weight has its place, and what is wrong is said."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor
from torchvision.models.detection import maskrcnn_resnet50_fpn

from pose_models.detections.maskrcnn import load_detector, save_detector
from pose_models.detections.maskrcnn_released import read_released_detector
from pose_models.files import InputError
from tests.detections.test_maskrcnn import old_names

OBJECTS = (2, 5, 30)


@pytest.fixture(scope="module")
def theirs() -> torch.nn.Module:
    """The network of the release: torchvision's, for three objects at 240 x 320."""
    torch.manual_seed(1)
    network = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=4, min_size=240, max_size=320)
    return network.eval()


def release(folder: Path, state: dict[str, Tensor], **changes: object) -> Path:
    """checkpoint.pth.tar and config.yaml as the release has them."""
    labels = {"background": 0, **{f"obj_{obj_id:06d}": number for number, obj_id in enumerate(OBJECTS, 1)}}
    fields = {
        "backbone_str": "resnet50-fpn",
        "input_resize": (240, 320),
        "anchor_sizes": ((32,), (64,), (128,), (256,), (512,)),
        "label_to_category_id": labels,
        "n_classes": 4,
        "save_dir": Path("/runs/x"),
    }
    kept = {key: value for key, value in {**fields, **changes}.items() if value is not None}
    (folder / "config.yaml").write_text(yaml.dump(argparse.Namespace(**kept)))
    torch.save({"state_dict": state, "epoch": 600}, folder / "checkpoint.pth.tar")
    return folder / "checkpoint.pth.tar"


def test_an_imported_detector_gives_the_boxes_of_the_released_one(theirs, tmp_path):
    module = read_released_detector(release(tmp_path, old_names(theirs.state_dict())))
    save_detector(tmp_path / "model.ckpt", module)
    ours = load_detector(tmp_path / "model.ckpt")
    assert ours.object_ids == list(OBJECTS)
    ours.network.roi_heads.score_thresh = theirs.roi_heads.score_thresh = 0.0
    state = theirs.state_dict()
    assert set(ours.network.state_dict()) == {n for n in state if not n.endswith("num_batches_tracked")}
    image = torch.rand(3, 120, 160, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, found = theirs([image])[0], ours.network([image])[0]
    assert len(expected["scores"]) > 0
    for key in ("boxes", "scores", "labels", "masks"):
        torch.testing.assert_close(found[key], expected[key])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"label_to_category_id": {"obj_000002": 1, "background": 0}}, "made for 3 objects, its configuration names 1"),
        ({"label_to_category_id": {"obj_000002": 2, "obj_000005": 1}}, "numbered from 1 in the order of their ids"),
        ({"label_to_category_id": {"cup": 1}}, "'cup: 1' is no object"),
        ({"label_to_category_id": None}, "no 'label_to_category_id'; is it the configuration of a detector"),
        ({"backbone_str": "efficientnet-b3"}, "backbone_str: 'efficientnet-b3' is not known"),
        ({"input_resize": None}, "no usable 'input_resize'"),
        ({"anchor_sizes": ((32,), (64,))}, "no usable 'anchor_sizes'"),
    ],
)
def test_a_wrong_configuration_gives_one_sentence(tmp_path, changes, sentence):
    weight = {"roi_heads.box_predictor.cls_score.weight": torch.zeros(4, 8)}
    with pytest.raises(InputError, match=sentence):
        read_released_detector(release(tmp_path, weight, **changes))


def test_missing_weights_are_named(theirs, tmp_path):
    state = {name: value for name, value in old_names(theirs.state_dict()).items() if "mask_fcn3" not in name}
    with pytest.raises(InputError, match=r"weights do not fit a Mask R-CNN of .*mask_head\.2\.0\.weight"):
        read_released_detector(release(tmp_path, state))


class Malicious:
    """Unpickling this would run a command."""

    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self):
        return os.system, (f"touch {self.flag}",)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    path = release(tmp_path, {})
    torch.save({"state_dict": {"x": Malicious(tmp_path / "flag")}}, path)
    with pytest.raises(InputError, match=r"checkpoint\.pth\.tar: unreadable weights"):
        read_released_detector(path)
    assert not (tmp_path / "flag").exists()
