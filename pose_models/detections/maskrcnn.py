"""The shared detector: torchvision's Mask R-CNN with a feature pyramid (cosypose.md section 16).

Boxes are those of the visible part, left, top, right, bottom px, right and bottom being the first column and row
outside, so that width and height are COCO's.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNN, MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.resnet import BasicBlock, resnet50
from torchvision.ops.misc import FrozenBatchNorm2d

from pose_models.detections.maskrcnn_config import DetectSettings, MaskRcnnSettings, NetworkSettings
from pose_models.files import InputError
from pose_models.training import checkpoints

FAMILY = "maskrcnn"
STAGES = ("conv1", "layer1", "layer2", "layer3", "layer4")
PREDICTORS = ("roi_heads.box_predictor.", "roi_heads.mask_predictor.")
SMALL_WIDTHS = (32, 48, 64, 96)


def build_network(
    settings: NetworkSettings, classes: int, size: tuple[int, int], detect: DetectSettings
) -> tuple[MaskRCNN, NetworkSettings]:
    """A network with random weights, and its settings with `auto` and null decided.

    Args:
        classes: objects + 1.
        size: width and height that images are scaled to inside.
    """
    has_weights = settings.weights is not None
    norm = {"auto": "frozen" if has_weights else "group"}.get(settings.norm, settings.norm)
    layers = settings.trainable_layers
    decided = settings.model_copy(
        update={"norm": norm, "trainable_layers": (3 if has_weights else 5) if layers is None else layers}
    )
    if norm == "frozen" and not has_weights:
        raise InputError("network.norm: frozen batch norm needs network.weights, for it learns nothing; choose group")
    return _network(decided, classes, size, detect), decided


def _network(settings: NetworkSettings, classes: int, size: tuple[int, int], detect: DetectSettings) -> MaskRCNN:
    norm: Callable[[int], nn.Module] = FrozenBatchNorm2d if settings.norm == "frozen" else _group_norm
    small = settings.backbone == "small"
    body = _small_body(norm) if small else resnet50(weights=None, norm_layer=norm)
    learning = () if not settings.trainable_layers else STAGES[-settings.trainable_layers :]
    for name, parameter in body.named_parameters():
        stage = name.split(".")[0]
        parameter.requires_grad_(("conv1" if stage == "bn1" else stage) in learning)
    widths = list(SMALL_WIDTHS) if small else [256, 512, 1024, 2048]
    levels = {f"layer{number}": str(number - 1) for number in range(1, 5)}
    channels = settings.channels
    return MaskRCNN(
        BackboneWithFPN(body, levels, widths, channels),
        min_size=min(size),
        max_size=max(size),
        rpn_anchor_generator=AnchorGenerator(tuple((side,) for side in settings.anchor_sizes), ((0.5, 1.0, 2.0),) * 5),
        box_head=TwoMLPHead(channels * 7 * 7, settings.box_width),
        box_predictor=FastRCNNPredictor(settings.box_width, classes),
        mask_head=MaskRCNNHeads(channels, (channels,) * 4, 1),
        mask_predictor=MaskRCNNPredictor(channels, channels, classes),
        rpn_pre_nms_top_n_train=settings.proposals,
        rpn_post_nms_top_n_train=settings.proposals,
        rpn_pre_nms_top_n_test=settings.proposals // 2,
        rpn_post_nms_top_n_test=settings.proposals // 2,
        box_batch_size_per_image=settings.roi_samples,
        box_score_thresh=detect.min_score,
        box_nms_thresh=detect.max_overlap,
        box_detections_per_img=detect.per_image,
    )


def _group_norm(channels: int) -> nn.Module:
    return nn.GroupNorm(math.gcd(16, channels), channels)


def _small_body(norm: Callable[[int], nn.Module]) -> nn.Sequential:
    """Four stages of one residual block each, strides 4 to 32 as those of a ResNet."""
    body = nn.Sequential()
    stem = [nn.Conv2d(3, 32, 5, stride=2, padding=2, bias=False), norm(32), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    body.add_module("conv1", nn.Sequential(*stem))
    inputs = 32
    for number, width in enumerate(SMALL_WIDTHS, start=1):
        stride = 1 if number == 1 else 2
        shortcut = nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), norm(width))
        body.add_module(f"layer{number}", BasicBlock(inputs, width, stride, shortcut, norm_layer=norm))
        inputs = width
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return body


def targets_of(codes: Tensor, classes: int) -> dict[str, Tensor]:
    """What torchvision learns from: boxes (N, 4) ltrb px, labels (N,), masks (N, H, W), of codes (H, W)."""
    values = torch.unique(codes)
    values = values[values > 0]
    masks = codes == values[:, None, None]
    columns, rows = masks.any(dim=1), masks.any(dim=2)  # (N, W), (N, H)
    low = [axis.int().argmax(dim=1) for axis in (columns, rows)]
    high = [axis.shape[1] - axis.flip(1).int().argmax(dim=1) for axis in (columns, rows)]
    boxes = torch.stack([*low, *high], dim=1).float()
    return {"boxes": boxes, "labels": (values % classes).long(), "masks": masks.to(torch.uint8)}


class MaskRcnnModule(lightning.LightningModule):
    """The network as the training loop sees it.

    Args:
        settings: all of them. object_ids: what is detected; label i + 1 is the i-th smallest.
        size: width and height that images are scaled to inside.
    """

    def __init__(self, settings: MaskRcnnSettings, object_ids: Sequence[int], size: tuple[int, int]) -> None:
        super().__init__()
        self.object_ids, self.size = sorted(object_ids), (int(size[0]), int(size[1]))
        self.network, decided = build_network(settings.network, len(object_ids) + 1, self.size, settings.detect)
        self.settings = settings.model_copy(update={"network": decided})

    def training_step(self, batch: Mapping[str, Tensor], index: int) -> Tensor:
        """Sum of the five losses (region proposals: objectness, boxes; heads: classes, boxes, masks)."""
        return self._loss(batch, self.global_step * self.trainer.world_size + self.global_rank, "train")

    def validation_step(self, batch: Mapping[str, Tensor], index: int) -> Tensor:
        """The same losses of held-out images; nothing in the network depends on the mode but which output it gives."""
        self.network.train()
        return self._loss(batch, -1 - index, "valid")

    def _loss(self, batch: Mapping[str, Tensor], number: int, stage: str) -> Tensor:
        classes = len(self.object_ids) + 1
        images = list(batch["image"].float() / 255)
        targets = [targets_of(codes, classes) for codes in batch["codes"]]
        with drawing(self.settings.train.seed, number, self.device):
            losses: dict[str, Tensor] = self.network(images, targets)
        total = torch.stack(list(losses.values())).sum()
        named = {f"{stage}/{name.removeprefix('loss_')}": value.detach() for name, value in losses.items()}
        self.log_dict({f"{stage}/loss": total.detach(), **named}, batch_size=len(images))
        return total

    def configure_optimizers(self) -> Any:
        """SGD with momentum (or AdamW), linear warm-up, drops."""
        train = self.settings.train
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        rate = train.lr_per_image * train.batch_size
        optimizer: torch.optim.Optimizer
        if train.optimizer == "sgd":
            optimizer = torch.optim.SGD(parameters, rate, momentum=0.9, weight_decay=train.weight_decay)
        else:
            optimizer = torch.optim.AdamW(parameters, rate, weight_decay=train.weight_decay)

        def factor(step: int) -> float:
            warmup = min(1.0, (step + 1) / train.warmup_steps) if train.warmup_steps else 1.0
            return float(warmup * 0.1 ** sum(step >= share * train.steps for share in train.drop_at))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


@contextmanager
def drawing(seed: int, number: int, device: torch.device) -> Iterator[None]:
    """Random numbers of torch that depend on seed and number alone: torchvision draws the boxes it learns from."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed((seed << 32) + number % (1 << 31) + (1 << 31) * (number < 0))
        yield


def load_start(module: MaskRcnnModule, path: Path) -> str:
    """Weights to start from: of torchvision's Mask R-CNN without its predictors, or of its ResNet-50.

    Returns:
        A sentence on what was taken.

    Raises:
        InputError: missing or unreadable file, or weights of another network.
    """
    state = read_tensors(path)
    whole = any(name.startswith("backbone.body.") for name in state)
    left_out = PREDICTORS if whole else ("fc.",)
    target = module.network if whole else module.network.backbone.body
    kept = {name: value for name, value in state.items() if not name.startswith(left_out)}
    try:
        missing, unknown = target.load_state_dict(kept, strict=False)
    except RuntimeError as error:
        raise InputError(f"{path}: weights do not fit the network ({' '.join(str(error).split())[:160]})") from None
    if wrong := [name for name in missing if not name.startswith(left_out)] + list(unknown):
        raise InputError(
            f"{path}: weights of another network than {module.settings.network.backbone}, such as {wrong[0]}; choose "
            "torchvision's maskrcnn_resnet50_fpn (COCO) or resnet50"
        )
    return f"{path}: {'all but the box and mask predictors' if whole else 'the backbone'}"


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A file of tensors by name.

    Raises:
        InputError: missing or unreadable file, or something else in it.
    """
    if not path.exists():
        raise InputError(f"{path}: file of weights not found")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
        raise InputError(f"{path}: unreadable weights ({(str(error).splitlines() or ['empty'])[0]})") from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise InputError(f"{path}: no file of weights (tensors by name)")
    return content


def save_detector(path: str | Path, module: MaskRcnnModule) -> None:
    """Write what inference needs, whole or not at all."""
    content = {"object_ids": module.object_ids, "size": list(module.size)}
    checkpoints.save_model(path, FAMILY, module.settings, module.network, **content)


def load_detector(path: str | Path, detect: DetectSettings | None = None) -> MaskRcnnModule:
    """Read a detector; `detect` replaces the settings of inference it was saved with.

    Raises:
        InputError: missing or unreadable file, or a checkpoint of another method.
    """
    content = checkpoints.load_checkpoint(path, FAMILY)
    settings = MaskRcnnSettings.model_validate(content["settings"])
    settings = settings if detect is None else settings.model_copy(update={"detect": detect})
    module = MaskRcnnModule(settings, content["object_ids"], tuple(content["size"]))
    checkpoints.with_weights(module.network, content, path)
    return module.eval()
