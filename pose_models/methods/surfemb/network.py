"""The query network: an encoder shared by all objects and U-Net decoders (surfemb.md section 7.1).

Output channels per object: the mask logit, then the query. The ResNet-18 network answers at the crop's resolution, the
small one at half of it (`output_stride` 2); `full_resolution` brings either to the crop's pixels.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional

from pose_models.methods.surfemb.config import NetworkSettings


class ResNet18Encoder(nn.Module):
    """torchvision's ResNet-18 without its classifier; features at strides 2, 4, 8, 16, 32."""

    channels = (64, 64, 128, 256, 512)

    def __init__(self, pretrained: bool) -> None:
        super().__init__()
        from torchvision.models import ResNet18_Weights, resnet18

        net = resnet18(weights=ResNet18_Weights.IMAGENET1K_V1 if pretrained else None)
        self.conv1, self.bn1, self.maxpool = net.conv1, net.bn1, net.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = net.layer1, net.layer2, net.layer3, net.layer4

    def forward(self, images: Tensor) -> list[Tensor]:
        features = [functional.relu(self.bn1(self.conv1(images)))]
        x = self.maxpool(features[0])
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            features.append(x)
        return features


class SmallEncoder(nn.Module):
    """Residual blocks, most of them at coarse resolution, where they are cheap; strides 2, 4, 8, 16."""

    channels = (32, 64, 96, 128)
    blocks = (0, 0, 1, 1)

    def __init__(self) -> None:
        super().__init__()
        stages, inputs = [], 3
        for width, blocks in zip(self.channels, self.blocks, strict=True):
            first = nn.Sequential(*_conv_bn(inputs, width, stride=2), nn.ReLU(inplace=True))
            stages.append(nn.Sequential(first, *(ResidualBlock(width) for _ in range(blocks))))
            inputs = width
        self.stages = nn.ModuleList(stages)

    def forward(self, images: Tensor) -> list[Tensor]:
        features, x = [], images
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch-norm around an identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_conv_bn(width, width), nn.ReLU(inplace=True), *_conv_bn(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.layers(x))


def _conv_bn(inputs: int, outputs: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(outputs)


@dataclasses.dataclass(frozen=True)
class DecoderShape:
    """Channels of a decoder.

    skips: of the encoder's features, finest first. widths: after each 3x3 convolution, coarsest first, one for every
    skip but the last. head: of a last 3x3 convolution at stride 1, or None to answer at stride 2. batch_norm: after
    the merging convolutions; the paper's decoder has none.
    """

    skips: tuple[int, ...]
    widths: tuple[int, ...]
    head: int | None
    batch_norm: bool


class Decoder(nn.Module):
    """U-Net decoder: 1x1 convolutions of the skips, bilinear x2, concatenate, 3x3."""

    def __init__(self, shape: DecoderShape, outputs: int) -> None:
        super().__init__()
        skips, widths, head = shape.skips, shape.widths, shape.head
        self.lateral = nn.ModuleList(nn.Conv2d(width, width, 1) for width in skips)
        inputs = [skips[-1], *widths[:-1]]
        finer = list(skips[-2::-1])
        self.merge = nn.ModuleList(
            nn.Conv2d(below + skip, width, 3, padding=1)
            for below, skip, width in zip(inputs, finer, widths, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) if shape.batch_norm else nn.Identity() for width in widths)
        self.head = nn.Conv2d(widths[-1], head, 3, padding=1) if head else None
        self.last = nn.Conv2d(head or widths[-1], outputs, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        laterals = [functional.relu(layer(feature)) for layer, feature in zip(self.lateral, features, strict=True)]
        x = laterals[-1]
        for layer, norm, skip in zip(self.merge, self.norms, laterals[-2::-1], strict=True):
            x = functional.relu(norm(layer(torch.cat([_up(x), skip], dim=1))))
        if self.head is not None:
            x = functional.relu(self.head(_up(x)))
        result: Tensor = self.last(x)
        return result


def _up(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class QueryNetwork(nn.Module):
    """Mask logits and queries of crops for given objects."""

    def __init__(self, settings: NetworkSettings, objects: int, pretrained: bool | None = None) -> None:
        super().__init__()
        self.objects, self.embedding_dim = objects, settings.embedding_dim
        self.separate = settings.separate_decoders
        if settings.backbone == "resnet18":
            self.encoder: nn.Module = ResNet18Encoder(settings.pretrained if pretrained is None else pretrained)
            shape = DecoderShape(ResNet18Encoder.channels, widths=(512, 256, 256, 128), head=64, batch_norm=False)
        else:
            self.encoder = SmallEncoder()
            shape = DecoderShape(SmallEncoder.channels, widths=(96, 64, 32), head=None, batch_norm=True)
        self.output_stride = 1 if shape.head else 2
        channels = 1 + settings.embedding_dim
        count, outputs = (objects, channels) if self.separate else (1, objects * channels)
        self.decoders = nn.ModuleList(Decoder(shape, outputs) for _ in range(count))

    def forward(self, images: Tensor, object_index: Tensor) -> Tensor:
        """Answer for one object per image.

        Args:
            images: (B, 3, H, W) normalised crops, H and W multiples of 32.
            object_index: (B,) int64 position of the object in the model's ascending list of object ids.

        Returns:
            (B, 1 + embedding_dim, H / output_stride, W / output_stride), channel 0 the mask logit.
        """
        features = self.encoder(images)
        if not self.separate:
            output: Tensor = self.decoders[0](features)
            return select_object(output, object_index, self.objects)
        parts, order = [], []
        for index in torch.unique(object_index).tolist():
            members = torch.nonzero(object_index == index)[:, 0]
            parts.append(self.decoders[index]([feature[members] for feature in features]))
            order.append(members)
        return torch.cat(parts)[torch.argsort(torch.cat(order))]

    def full_resolution(self, output: Tensor) -> Tensor:
        """Bring an output (B, C, h, w) to the crop's resolution (bilinear, half-pixel centres)."""
        if self.output_stride == 1:
            return output
        return functional.interpolate(output, scale_factor=self.output_stride, mode="bilinear", align_corners=False)


def select_object(output: Tensor, object_index: Tensor, objects: int) -> Tensor:
    """Pick each item's object from a single decoder's output.

    Args:
        output: (B, objects * (1 + E), H, W): all mask logits first, then E query channels per object.
        object_index: (B,).

    Returns:
        (B, 1 + E, H, W).
    """
    batch = torch.arange(len(output), device=output.device)
    logits = output[:, :objects][batch, object_index]
    queries = output[:, objects:].reshape(len(output), objects, -1, *output.shape[2:])[batch, object_index]
    return torch.cat([logits[:, None], queries], dim=1)


def rotate_four(images: Tensor) -> Tensor:
    """(C, H, W) turned clockwise by 0, 90, 180, 270 degrees: (4, C, H, W), H = W."""
    return torch.stack([torch.rot90(images, -k, (-2, -1)) for k in range(4)])


def rotate_four_back(images: Tensor) -> Tensor:
    """Undo `rotate_four` on a stack (4, C, H, W)."""
    return torch.stack([torch.rot90(images[k], k, (-2, -1)) for k in range(4)])
