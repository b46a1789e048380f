"""Compiled loops that hand rays to Embree in packets of sixteen, which takes half the time of one by one.

Packets are RTCRayHit16 (`embree.new_packet`), seen as rows of 16 numbers, float32 and int32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pose_models.compiled import carray, kernel
from pose_models.render.embree import rtcIntersect16, rtcOccluded16


@kernel(
    "void", "i8", "i8", "i8", "f4*", "i4*", "i8", "f4*", "f4*", "i4*", "i4*", "f4*", "f4*", "f4*",
    foreign=(rtcIntersect16,),
)  # fmt: skip
def first_hits(
    scene: int, arguments: int, packet: int, ray_: Any, lane_: Any, count: int, origin_: Any, direction_: Any,
    body_: Any, face_: Any, u_: Any, v_: Any, depth_: Any,
) -> None:  # fmt: skip # pragma: no cover - compiled
    """What rays (count, 3) meet first: mesh, face, weights of its second and third corner, ray parameter.

    body holds -1 before; nothing is written for rays that miss.
    """
    ray, lane = carray(ray_, (40, 16)), carray(lane_, (40, 16))
    origin, direction = carray(origin_, (count, 3)), carray(direction_, (count, 3))
    body, face, depth = carray(body_, (count,)), carray(face_, (count,)), carray(depth_, (count,))
    u, v = carray(u_, (count,)), carray(v_, (count,))
    for first in range(0, count, 16):
        filled = min(16, count - first)
        for k in range(16):
            i = first + min(k, filled - 1)
            lane[32, k] = -1 if k < filled else 0
            ray[0, k], ray[1, k], ray[2, k] = origin[i, 0], origin[i, 1], origin[i, 2]
            ray[4, k], ray[5, k], ray[6, k] = direction[i, 0], direction[i, 1], direction[i, 2]
            ray[3, k], ray[7, k], ray[8, k] = 0.0, 0.0, np.inf  # tnear, time, tfar
            lane[9, k], lane[10, k], lane[11, k] = -1, 0, 0  # mask, id, flags
            lane[17, k], lane[18, k] = -1, -1  # primID, geomID
            lane[19, k], lane[20, k] = -1, -1  # instID, instPrimID
        rtcIntersect16(packet + 2048, scene, packet, arguments)
        for k in range(filled):
            i = first + k
            if lane[18, k] >= 0:
                body[i], face[i], depth[i] = lane[18, k], lane[17, k], ray[8, k]
                u[i], v[i] = ray[15, k], ray[16, k]


@kernel("void", "i8", "i8", "i8", "f4*", "i4*", "i8", "f4*", "f4*", "u1*", foreign=(rtcOccluded16,))
def clear_ways(
    scene: int, arguments: int, packet: int, ray_: Any, lane_: Any, count: int, start_: Any, vector_: Any, clear_: Any
) -> None:  # pragma: no cover - compiled
    """Whether nothing stands between starts (count, 3) and the ends of vectors (count, 3) from them."""
    ray, lane = carray(ray_, (40, 16)), carray(lane_, (40, 16))
    start, vector, clear = carray(start_, (count, 3)), carray(vector_, (count, 3)), carray(clear_, (count,))
    for first in range(0, count, 16):
        filled = min(16, count - first)
        for k in range(16):
            i = first + min(k, filled - 1)
            lane[32, k] = -1 if k < filled else 0
            ray[0, k], ray[1, k], ray[2, k] = start[i, 0], start[i, 1], start[i, 2]
            ray[4, k], ray[5, k], ray[6, k] = vector[i, 0], vector[i, 1], vector[i, 2]
            ray[3, k], ray[7, k], ray[8, k] = 0.0, 0.0, 1.0  # tnear, time, tfar
            lane[9, k], lane[10, k], lane[11, k] = -1, 0, 0  # mask, id, flags
        rtcOccluded16(packet + 2048, scene, packet, arguments)
        for k in range(filled):
            clear[first + k] = ray[8, k] > 0.0  # what is hidden comes back with tfar -inf
