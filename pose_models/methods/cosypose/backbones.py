"""Backbones of the pose networks (cosypose.md section 4): six input channels in, a feature map out.

`build_backbone` gives a module that maps (B, 6, H, W) to (B, C, h, w), and C.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

INPUTS = 6  # RGB of the crop, RGB of the render
DROP_CONNECT = 0.2


def build_backbone(name: str) -> tuple[nn.Module, int]:
    """A backbone with random weights and its number of features.

    Raises:
        ValueError: the name is not known (`config.Backbone` lists them).
    """
    if name == "efficientnet_b3":
        return efficientnet_b3(), 1536
    if name in ("wide_resnet18", "wide_resnet34"):
        return WideResNet((2, 2, 2, 2) if name.endswith("18") else (3, 4, 6, 3)), 512
    if name in ("resnet18", "resnet34", "resnet50"):
        return resnet(name)
    if name == "flownet":
        return FlowNetEncoder(), 1024
    raise ValueError(f"backbone '{name}' is not known")


def efficientnet_b3() -> nn.Module:
    """EfficientNet-B3 up to its last feature map, padded as the reference pads (section 4.2).

    The reference computes "same" padding once, for a square image of even side: stride 2 then pads more on the right
    and below than on the left and above. Batch norms have TensorFlow's momentum and epsilon.
    """
    from torchvision.models import efficientnet_b3 as torchvision_b3

    norm = functools.partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)
    features: Any = torchvision_b3(weights=None, stochastic_depth_prob=DROP_CONNECT, norm_layer=norm).features
    stem = features[0][0]
    features[0][0] = nn.Conv2d(INPUTS, stem.out_channels, 3, stride=2, padding=1, bias=False)
    nn.init.kaiming_normal_(features[0][0].weight, mode="fan_out")
    for module in features.modules():
        for child_name, child in list(module.named_children()):
            if isinstance(child, nn.Conv2d) and child.stride == (2, 2):
                setattr(module, child_name, _padded_right(child))
    backbone: nn.Module = features
    return backbone


class RightPaddedConv2d(nn.Conv2d):
    """A convolution of stride 2 that pads one pixel more on the right and below than on the left and above."""

    def forward(self, x: Tensor) -> Tensor:
        before, after = (self.kernel_size[0] - 2) // 2, (self.kernel_size[0] - 1) // 2
        return super().forward(functional.pad(x, (before, after, before, after)))


def _padded_right(convolution: nn.Conv2d) -> RightPaddedConv2d:
    copy = RightPaddedConv2d(
        convolution.in_channels,
        convolution.out_channels,
        convolution.kernel_size,  # type: ignore[arg-type]
        stride=2,
        groups=convolution.groups,
        bias=False,
    )
    copy.weight = convolution.weight
    return copy


class PreActivationBlock(nn.Module):
    """Batch norm, ReLU, 3x3 convolution, twice, around an identity or a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        is_same = stride == 1 and inputs == outputs
        self.downsample = None if is_same else nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        activated = functional.relu(self.bn1(x))
        shortcut = x if self.downsample is None else self.downsample(activated)
        result: Tensor = shortcut + self.conv2(functional.relu(self.bn2(self.conv1(activated))))
        return result


class WideResNet(nn.Module):
    """Residual network with pre-activation and a 5x5 stem; nothing after the last block (section 4.3)."""

    def __init__(self, blocks: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(INPUTS, 64, 5, stride=2, padding=2, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(64, 64, blocks[0], stride=1)
        self.layer2 = _stage(64, 128, blocks[1], stride=2)
        self.layer3 = _stage(128, 256, blocks[2], stride=2)
        self.layer4 = _stage(256, 512, blocks[3], stride=2)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
        return x


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    first = PreActivationBlock(inputs, outputs, stride)
    return nn.Sequential(first, *(PreActivationBlock(outputs, outputs, 1) for _ in range(blocks - 1)))


def resnet(name: str) -> tuple[nn.Sequential, int]:
    """torchvision's residual networks up to the last feature map, for six channels."""
    import torchvision.models

    net: Any = getattr(torchvision.models, name)(weights=None)
    net.conv1 = nn.Conv2d(INPUTS, 64, 7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
    stages = (net.conv1, net.bn1, net.relu, net.maxpool, net.layer1, net.layer2, net.layer3, net.layer4)
    return nn.Sequential(*stages), int(net.fc.in_features)


class FlowNetEncoder(nn.Sequential):
    """The contracting part of FlowNetS without batch norm (Dosovitskiy et al., ICCV 2015), with random weights."""

    # (outputs, kernel, stride) of conv1, conv2, conv3, conv3_1, conv4, conv4_1, conv5, conv5_1, conv6, conv6_1
    shapes = (
        *((64, 7, 2), (128, 5, 2), (256, 5, 2), (256, 3, 1), (512, 3, 2)),
        *((512, 3, 1), (512, 3, 2), (512, 3, 1), (1024, 3, 2), (1024, 3, 1)),
    )

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        inputs = INPUTS
        for outputs, kernel, stride in self.shapes:
            convolution = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2)
            layers += [convolution, nn.LeakyReLU(0.1, inplace=True)]
            inputs = outputs
        super().__init__(*layers)


def pooled(features: Tensor) -> Tensor:
    """Spatial mean (B, C) of a feature map (B, C, h, w)."""
    return torch.mean(features, dim=(2, 3))
