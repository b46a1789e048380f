"""The pose network and one step of render-and-compare (cosypose.md sections 3 to 5)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pose_models.meshes.mesh import Mesh
from pose_models.methods.cosypose.backbones import build_backbone
from pose_models.methods.cosypose.config import NetworkSettings
from pose_models.methods.cosypose.crops import crop_boxes, crop_intrinsics, cut, projected, surrounding_boxes
from pose_models.methods.cosypose.objects import ObjectTable
from pose_models.render.fragments import Fragments
from pose_models.render.phong import Lights, shade
from pose_models.render.renderer import Renderer

HIDDEN = 0.12  # of an object's radius: so far behind what is seen a point is hidden
AMBIENT, DIFFUSE = 0.6, 0.4  # a headlight: what faces the camera has its own colour


@dataclasses.dataclass(frozen=True)
class Drawing:
    """Objects as rendered: images (B, 3, H, W) in 0..1, black behind them, and what their pixels see.

    mask: (B, H, W) bool. positions: (B, H, W, 3) mm in the camera frame. normals: (B, H, W, 3), to the camera.
    """

    images: Tensor
    mask: Tensor
    positions: Tensor
    normals: Tensor


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What a network sees: crops (B, 3, H, W) in 0..1 and objects drawn there at poses T (B, 4, 4) mm.

    points: (B, N, 3) mm, vertices of the objects. regions: (B, 4) ltrb px, with intrinsics K_crop (B, 3, 3).
    """

    crops: Tensor
    drawn: Drawing
    points: Tensor
    T: Tensor
    regions: Tensor
    K_crop: Tensor


# What training noise does to a pose: 15 degrees, a twentieth of the crop's width, 7 % of the distance.
UNIT_ROTATION, UNIT_SHIFT, UNIT_DEPTH = 0.26, 0.05, 0.07


class PoseNetwork(nn.Module):
    """The paper's: maps crops and renders in 0..1 to pose updates (B, 9) or (B, 7); see `poses.updated`."""

    offset: Tensor
    unit: Tensor

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.backbone, features = build_backbone(settings.backbone)
        rotation = [1.0, 0, 0, 0, 1, 0] if settings.rotation == "6d" else [0.0, 0, 0, 1]
        count = len(rotation)
        self.pose_fc = nn.Linear(features, count + 3)
        offset, unit = torch.zeros(count + 3), torch.ones(count + 3)
        if settings.identity_start:
            # In pixels of the crop, a shift's gradient would be hundreds of times smaller than the depth's.
            offset = torch.tensor([*rotation, 0, 0, 1])
            unit = torch.tensor([*[UNIT_ROTATION] * count, *[UNIT_SHIFT * settings.width] * 2, UNIT_DEPTH])
            with torch.no_grad():
                self.pose_fc.weight.mul_(0.1)
                self.pose_fc.bias.zero_()
        self.register_buffer("offset", offset, persistent=False)
        self.register_buffer("unit", unit, persistent=False)

    def forward(self, seen: Comparison) -> Tensor:
        pairs = torch.cat([seen.crops, seen.drawn.images], dim=1)
        output: Tensor = self.pose_fc(self.backbone(pairs).mean(dim=(2, 3)))
        return self.offset + self.unit * output


class Comparer:
    """Objects ready to be cut out of images and rendered on one device."""

    def __init__(
        self, meshes: Mapping[int, Mesh], table: ObjectTable, settings: NetworkSettings, device: str | torch.device
    ) -> None:
        self.table, self.settings, self.device = table, settings, torch.device(device)
        self.size = (settings.height, settings.width)
        self.renderer = Renderer({obj_id: meshes[obj_id] for obj_id in table.ids}, device)
        self.points = torch.from_numpy(table.fixed_points(settings.box_points)).to(device)
        self.symmetries = torch.from_numpy(table.symmetries).to(device)
        self.lights = Lights(
            torch.tensor([[0.0, 0.0, 0.0, 1.0]], device=device),
            torch.full((1, 3), DIFFUSE, device=device),
            torch.full((3,), AMBIENT, device=device),
        )

    @torch.no_grad()
    def compare(self, images: Tensor, image_index: Tensor, K: Tensor, index: Tensor, T: Tensor) -> Comparison:
        """Cut objects out where they are thought to be, and render them there.

        Args:
            images: (I, 3, H, W) uint8. image_index: (B,) the image of each object.
            K: (B, 3, 3). index: (B,) objects by position in the table. T: (B, 4, 4) mm.
        """
        regions, K_crop = self.regions(K, index, T)
        crops = cut(images, image_index, regions, self.size)
        return Comparison(crops, self.draw(index, T, K_crop), self.points[index], T, regions, K_crop)

    def regions(self, K: Tensor, index: Tensor, T: Tensor) -> tuple[Tensor, Tensor]:
        """Regions (B, 4) ltrb around objects at poses, and the intrinsics (B, 3, 3) of their crops.

        They have the crops' aspect. The reference takes the image's, which is the same in its configurations, and
        would stretch the crops of other images.
        """
        box = surrounding_boxes(projected(self.points[index], T, K))
        center = projected(torch.zeros_like(T[:, None, :3, 3]), T, K)[:, 0]
        regions = crop_boxes(center, [box], self.size[1] / self.size[0])
        return regions, crop_intrinsics(K, regions, self.size)

    def cast(self, index: Tensor, T: Tensor, K: Tensor, samples: int = 1) -> Fragments:
        """What the pixels of crops see of objects at poses; `samples` per pixel side."""
        ids = [self.table.ids[i] for i in index.tolist()]
        center = self.settings.render_center
        return self.renderer.cast(ids, T, K, self.size, pixel_center=center, samples=samples)

    def draw(self, index: Tensor, T: Tensor, K: Tensor) -> Drawing:
        """Objects at poses, under a headlight."""
        hits, surfaces = self.cast(index, T, K), self.renderer.surfaces
        normals, positions = surfaces.normals(hits, T, smooth=True), surfaces.positions(hits, T)
        image = shade(surfaces.colors(hits), normals, positions, self.lights)
        return Drawing(image.clamp(0, 1).movedim(-1, 1), hits.mask, positions, normals)

    @torch.no_grad()
    def faces_camera(self, index: Tensor, T: Tensor, K: Tensor, points: Tensor) -> Tensor:
        """Which points (B, N, 3) mm in the camera frame their own object at a pose does not hide: (B, N) bool."""
        hits, offsets = self.cast(index, T, K), points - T[:, None, :3, 3]
        seen = sampled(hits.depth, points, K)
        radius = offsets.norm(dim=2).amax(dim=1, keepdim=True)
        result: Tensor = (seen > 0) & (points[..., 2] < seen + HIDDEN * radius)
        return result


def sampled(images: Tensor, points: Tensor, K: Tensor) -> Tensor:
    """Values (B, N) of images (B, H, W) at the pixels of points (B, N, 3) in the camera frame; outside: the nearest."""
    homogeneous = points @ K.transpose(1, 2)
    pixels = (homogeneous[..., :2] / homogeneous[..., 2:].clamp(min=1)).round().long()
    column, row = pixels[..., 0].clamp(0, images.shape[2] - 1), pixels[..., 1].clamp(0, images.shape[1] - 1)
    return images[torch.arange(len(images), device=images.device)[:, None], row, column]
