"""Poses of CosyPose: rotations, the canonical start, the network's update, training noise (cosypose.md section 3).

Batches of B objects. Millimetres, pixels, pixel centres at integers; poses (B, 4, 4) map object to camera.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

START_DEPTH_MM = 1000.0
# Object z points up in the image, object x to the camera.
UPRIGHT = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0), (-1.0, 0.0, 0.0))
NOISE_DEG = (15.0, 15.0, 15.0)
NOISE_MM = (10.0, 10.0, 50.0)


def rotation_from_6d(values: Tensor) -> Tensor:
    """Rotations (B, 3, 3) from two columns (B, 6) that need be neither orthogonal nor unit (Zhou et al., CVPR 2019)."""
    a, b = values[:, :3], values[:, 3:]
    x = normalize(a, dim=1)
    z = normalize(torch.linalg.cross(x, b), dim=1)
    return torch.stack([x, torch.linalg.cross(z, x), z], dim=2)


def rotation_from_quaternion(values: Tensor) -> Tensor:
    """Rotations (B, 3, 3) from quaternions (B, 4) xyzw of any length, by way of axis and angle as in the reference.

    Its axis is divided by the angle plus 1e-6, and tiny rotations are linear: orthogonal to 1e-6.
    """
    unit = normalize(values, dim=1)
    vector, w = unit[:, :3], unit[:, 3:]
    sine = vector.norm(dim=1, keepdim=True)
    sign = torch.where(w < 0, -1.0, 1.0)
    angle = 2 * torch.atan2(sign * sine, sign * w)
    turn = vector * torch.where(sine > 0, angle / sine.where(sine > 0, 1.0), 2.0)
    size = turn.norm(dim=1, keepdim=True)
    small, axis = cross_matrix(turn), turn / (size + 1e-6)
    cosine, cross = torch.cos(size)[:, :, None], cross_matrix(axis)
    identity = torch.eye(3, dtype=values.dtype, device=values.device)
    outer = axis[:, :, None] * axis[:, None]
    R = cosine * identity + (1 - cosine) * outer + torch.sin(size)[:, :, None] * cross
    return torch.where(size[:, :, None] ** 2 > 1e-6, R, identity + small)


def cross_matrix(vectors: Tensor) -> Tensor:
    """Matrices (B, 3, 3) of the cross product with vectors (B, 3)."""
    x, y, z = vectors.unbind(dim=1)
    zero = torch.zeros_like(x)
    rows = [[zero, -z, y], [z, zero, -x], [-y, x, zero]]
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def rotation_of_output(output: Tensor) -> Tensor:
    """The rotation (B, 3, 3) in a network's output: (B, 9), six numbers first, or (B, 7), a quaternion first."""
    return rotation_from_6d(output[:, :6]) if output.shape[1] == 9 else rotation_from_quaternion(output[:, :4])


def with_parts(R: Tensor, t: Tensor) -> Tensor:
    """Poses (B, 4, 4) from rotations (B, 3, 3) and translations (B, 3)."""
    last = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=R.dtype, device=R.device).expand(len(R), 1, 4)
    return torch.cat([torch.cat([R, t[:, :, None]], dim=2), last], dim=1)


def transformed(T: Tensor, points: Tensor) -> Tensor:
    """Points (B, N, 3) moved by poses (B, 4, 4)."""
    return points @ T[:, :3, :3].transpose(1, 2) + T[:, None, :3, 3]


def fixed_start(boxes: Tensor, K: Tensor) -> Tensor:
    """The paper's first pose (B, 4, 4): unturned, one metre away, behind the centre of a box (B, 4) ltrb."""
    R = torch.eye(3, dtype=K.dtype, device=K.device).expand(len(K), 3, 3)
    return with_parts(R, _behind(boxes, K, K.new_full((len(K),), START_DEPTH_MM)))


def upright_start(boxes: Tensor, K: Tensor, points: Tensor) -> Tensor:
    """The challenge's first pose (B, 4, 4): upright, so far away that the points (B, N, 3) fill the box (B, 4) ltrb."""
    R = torch.tensor(UPRIGHT, dtype=K.dtype, device=K.device).expand(len(K), 3, 3)
    extent = transformed(with_parts(R, K.new_zeros((len(K), 3))), points)[..., :2]
    size = extent.amax(dim=1) - extent.amin(dim=1)
    box_size = boxes[:, 2:] - boxes[:, :2] + 1
    focal = torch.stack([K[:, 0, 0], K[:, 1, 1]], dim=1)
    depth = (focal * size / box_size).mean(dim=1)
    return with_parts(R, _behind(boxes, K, depth))


def _behind(boxes: Tensor, K: Tensor, depth: Tensor) -> Tensor:
    """Points (B, 3) at a depth (B,) behind the centres of boxes."""
    x = ((boxes[:, 0] + boxes[:, 2]) / 2 - K[:, 0, 2]) * depth / K[:, 0, 0]
    y = ((boxes[:, 1] + boxes[:, 3]) / 2 - K[:, 1, 2]) * depth / K[:, 1, 1]
    return torch.stack([x, y, depth], dim=1)


def moved_xy(output: Tensor, t: Tensor, K_crop: Tensor) -> Tensor:
    """Slopes (x/z, y/z) (B, 2) after the output's shift in pixels of the crop, from a translation (B, 3)."""
    focal = torch.stack([K_crop[:, 0, 0], K_crop[:, 1, 1]], dim=1)
    return output[:, -3:-1] / focal + t[:, :2] / t[:, 2:]


def updated(T: Tensor, output: Tensor, K_crop: Tensor) -> Tensor:
    """Poses after a network's output (B, 9) or (B, 7): turned about the object's origin, shifted, scaled in depth."""
    depth = output[:, -1:] * T[:, 2:3, 3]
    t = torch.cat([moved_xy(output, T[:, :3, 3], K_crop) * depth, depth], dim=1)
    return with_parts(rotation_of_output(output) @ T[:, :3, :3], t)


def draw_noise(rng: Any, count: int, rotate: bool = True) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Noise of training: rotations (count, 3, 3) of the object frame, shifts (count, 3) mm in the camera frame.

    Args:
        rng: anything with numpy's `normal(mean, sigma, size)`; angles are drawn first, axis by axis.
        rotate: False makes all angles zero (and draws as many numbers).
    """
    angles = np.stack([rng.normal(0, sigma * rotate, count) for sigma in NOISE_DEG], axis=1)
    shifts = np.stack([rng.normal(0, sigma, count) for sigma in NOISE_MM], axis=1)
    return rotation_from_euler(np.deg2rad(angles)), shifts


def rotation_from_euler(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotations (B, 3, 3): about the fixed x, then y, then z axis, by angles (B, 3) rad."""
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_euler("xyz", angles).as_matrix())


def disturbed(T: NDArray[np.float64], noise: tuple[NDArray[np.float64], NDArray[np.float64]]) -> NDArray[np.float64]:
    """Poses (B, 4, 4) turned and shifted by noise."""
    R, shift = noise
    result = np.array(T, dtype=np.float64)
    result[:, :3, :3] = result[:, :3, :3] @ R
    result[:, :3, 3] += shift
    return result
