"""Lambert and Blinn-Phong light on batches of rendered pixels, in differentiable torch.

The renderer of whole synthetic scenes has a shading of its own (`shading`), with soft shadows and surroundings, on
scattered rays and without gradients; this one is for networks that look at renders.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn.functional import normalize


@dataclasses.dataclass(frozen=True)
class Lights:
    """L lights for a batch of B images, camera frame.

    position: (L, 4) or (B, L, 4), homogeneous as in OpenGL: (x, y, z, 1) a lamp at x, y, z mm; (x, y, z, 0) light from
    that direction. color: (L, 3) or (B, L, 3). ambient: (3,) or (B, 3).
    """

    position: Tensor
    color: Tensor
    ambient: Tensor


def shade(
    albedo: Tensor,
    normals: Tensor,
    positions: Tensor,
    lights: Lights,
    specular: float | Tensor = 0.0,
    shininess: float | Tensor = 20.0,
) -> Tensor:
    """Light (B, H, W, 3) that pixels send to the camera; 0 in the background (normal 0 and albedo 0).

    albedo (ambient + sum of light max(n.l, 0)) + specular sum of light max(n.h, 0)^shininess, h halfway between light
    and viewer; no shadows, no fall-off with distance, nothing clipped at 1.

    Args:
        albedo: (B, H, W, 3). normals: (B, H, W, 3) unit, towards the camera. positions: (B, H, W, 3) mm.
        specular, shininess: numbers, or tensors that broadcast to (B, H, W, 1).
    """
    view = -normalize(positions, dim=-1)
    place, color = _per_image(lights.position, 3), _per_image(lights.color, 3)
    ambient = _per_image(lights.ambient, 2)
    diffuse, gloss = ambient[:, None, None].expand_as(albedo), torch.zeros_like(albedo)
    for index in range(place.shape[1]):
        point, light = place[:, index, None, None], color[:, index, None, None]
        to_light = normalize(point[..., :3] - point[..., 3:] * positions, dim=-1)
        cosine = (normals * to_light).sum(dim=-1, keepdim=True).clamp(min=0)
        half = normalize(to_light + view, dim=-1)
        peak = (normals * half).sum(dim=-1, keepdim=True).clamp(min=0) ** shininess
        diffuse = diffuse + cosine * light
        gloss = gloss + specular * peak * (cosine > 0) * light
    return albedo * diffuse + gloss


def _per_image(values: Tensor, dimensions: int) -> Tensor:
    """Values with a leading dimension for the images."""
    return values if values.ndim == dimensions else values[None]
