"""SurfEmb's two losses (surfemb.md section 8)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def correspondence_loss(queries: Tensor, positive_keys: Tensor, negative_keys: Tensor) -> Tensor:
    """InfoNCE between pixels and surface points: every pixel's own point against the crop's shared negatives.

    Args:
        queries: (B, P, E) at sampled object pixels.
        positive_keys: (B, P, E), keys of the surface points those pixels see.
        negative_keys: (B, N, E), keys of random surface points.

    Returns:
        Mean loss; ln(N + 1) for an untrained network.
    """
    positive = (queries * positive_keys).sum(dim=-1, keepdim=True)
    negative = queries @ negative_keys.transpose(-1, -2)
    logits = torch.cat([positive, negative], dim=-1)
    return (torch.logsumexp(logits, dim=-1) - positive[..., 0]).mean()


def mask_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Mean binary cross entropy of mask logits (B, H, W) with the amodal silhouette (B, H, W) in {0, 1}."""
    return functional.binary_cross_entropy_with_logits(logits, mask.to(logits.dtype))


def sample_queries(queries: Tensor, pixels_yx: Tensor) -> Tensor:
    """Queries (B, P, E) of a query image (B, E, H, W) at pixels (B, P, 2), rows first."""
    flat = queries.flatten(2)
    index = pixels_yx[..., 0] * queries.shape[-1] + pixels_yx[..., 1]
    return flat.gather(2, index[:, None].expand(-1, queries.shape[1], -1)).transpose(1, 2)
