"""Rigid-body physics: parts dropped into a bin until they lie still (MuJoCo, deterministic on one thread)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models.geometry.transforms import from_rotation_translation, random_rotation
from pose_models.meshes.mesh import Mesh

Array = NDArray[np.float64]

UNIT_MM = 100.0  # MuJoCo's length unit here: its contact defaults suit things of about one unit
STEP_S = 0.008  # at 0.010 contacts overlap by tenths of a millimetre
FALL_STEP_S = 1 / 240
SETTLING_GRAVITY = 12.0  # units/s^2; slower than real, for larger steps: only the rest counts
LONGEST_S = 6.0
REST_SPEED = 0.05  # units/s and rad/s below which everything lies still
CONTACT = 'friction="0.6 0.01 0.001" solref="0.012 1" solimp="0.95 0.99 0.001"'


def settle(pieces: Sequence[Sequence[Mesh]], bin_size_mm: tuple[float, float], rng: np.random.Generator) -> list[Array]:
    """Drop bodies into a bin with floor z = 0, centred on the origin.

    Args:
        pieces: for each body the convex meshes that make it up (mm, body frame); only their hulls count.
        bin_size_mm: inner size along x and y; the walls reach up as high as needed.
        rng: start poses.

    Returns:
        T_world_obj (4, 4) mm of each body, in order. Contacts may overlap by some tenths of a millimetre.
    """
    import mujoco

    model = mujoco.MjModel.from_xml_string(_world_xml(pieces, bin_size_mm, STEP_S, SETTLING_GRAVITY))
    data = mujoco.MjData(model)
    data.qpos[:] = _start_poses(pieces, bin_size_mm, rng).reshape(-1)
    for step in range(int(LONGEST_S / STEP_S)):
        mujoco.mj_step(model, data)
        if step % 20 == 19 and step * STEP_S > 0.5 and np.abs(data.qvel).max() < REST_SPEED:
            break
    return _poses(data)


def fall(pieces: Sequence[Sequence[Mesh]], T_world_obj: Sequence[Array], seconds: float) -> list[Array]:
    """Let bodies fall under real gravity on the floor z = 0 for a time; they may still move at its end.

    Args:
        pieces: as for `settle`. T_world_obj: (4, 4) mm of each body at the start.

    Returns:
        T_world_obj (4, 4) mm of each body after that time.
    """
    import mujoco

    model = mujoco.MjModel.from_xml_string(_world_xml(pieces, None, FALL_STEP_S, 9800 / UNIT_MM))
    data = mujoco.MjData(model)
    rows = [np.concatenate([T[:3, 3] / UNIT_MM, _quaternion(T[:3, :3])]) for T in T_world_obj]
    data.qpos[:] = np.concatenate(rows)
    mujoco.mj_step(model, data, round(seconds / FALL_STEP_S))
    return _poses(data)


def _poses(data: Any) -> list[Array]:
    """T_world_obj (4, 4) mm of all bodies but the world."""
    return list(from_rotation_translation(data.xmat[1:].reshape(-1, 3, 3), data.xpos[1:] * UNIT_MM))


def _start_poses(pieces: Sequence[Sequence[Mesh]], bin_size_mm: tuple[float, float], rng: np.random.Generator) -> Array:
    """Positions and quaternions (N, 7): layers of a 2 x 2 grid, random turns, high enough not to touch."""
    radius = max(np.linalg.norm(piece.vertices, axis=1).max() for body in pieces for piece in body) / UNIT_MM
    half = np.array(bin_size_mm) / UNIT_MM / 2
    columns = np.maximum(np.floor(half / radius), 1).astype(int)
    poses = np.zeros((len(pieces), 7))
    for index in range(len(pieces)):
        layer, cell = divmod(index, int(columns.prod()))
        place = np.array(divmod(cell, int(columns[1]))) + 0.5
        room = half / columns
        middle = -half + 2 * room * place
        poses[index, :2] = middle + rng.uniform(-1, 1, 2) * np.maximum(room - radius, 0)
        poses[index, 2] = radius * (1.1 + 2.1 * layer)
        poses[index, 3:] = _quaternion(random_rotation(rng))
    return poses


def _quaternion(R: Array) -> Array:
    """Unit quaternion (w, x, y, z) of a rotation (3, 3)."""
    import mujoco

    quaternion = np.empty(4)
    mujoco.mju_mat2Quat(quaternion, np.ascontiguousarray(R).reshape(9))
    return quaternion


def _world_xml(
    pieces: Sequence[Sequence[Mesh]], bin_size_mm: tuple[float, float] | None, step_s: float, gravity: float
) -> str:
    """The MuJoCo model: floor, four walls where there is a bin, one free body per part."""
    assets, bodies = [], []
    names: dict[int, str] = {}
    for body in pieces:
        geoms = []
        for piece in body:
            if id(piece) not in names:
                names[id(piece)] = f"piece{len(names)}"
                numbers = " ".join(f"{value:.6g}" for value in (piece.vertices / UNIT_MM).reshape(-1))
                assets.append(f'<mesh name="{names[id(piece)]}" vertex="{numbers}"/>')
            geoms.append(f'<geom type="mesh" mesh="{names[id(piece)]}" density="1" {CONTACT}/>')
        bodies.append(f"<body><freejoint/>{''.join(geoms)}</body>")
    walls = [f'<geom type="plane" size="9 9 1" {CONTACT}/>']
    sizes = [] if bin_size_mm is None else [(axis, size / UNIT_MM / 2) for axis, size in enumerate(bin_size_mm)]
    for axis, distance in [(axis, sign * half) for axis, half in sizes for sign in (1, -1)]:
        position = [0.0, 0.0, 0.0]
        position[axis] = distance
        inward = [0.0, 0.0, 0.0]
        inward[axis] = -np.sign(distance)
        where = f'pos="{position[0]} {position[1]} {position[2]}" zaxis="{inward[0]} {inward[1]} {inward[2]}"'
        walls.append(f'<geom type="plane" size="9 9 1" {where} {CONTACT}/>')
    option = (
        f'<option timestep="{step_s}" gravity="0 0 {-gravity}" integrator="implicitfast" cone="pyramidal" '
        'tolerance="1e-6" ccd_tolerance="1e-4"/>'  # in units and parts of the forces: far below what can be seen
    )
    return (
        f"<mujoco>{option}<asset>{''.join(assets)}</asset>"
        f"<worldbody>{''.join(walls)}{''.join(bodies)}</worldbody></mujoco>"
    )
