# mypy: ignore-errors
"""The kernel of `warp_caster`; Warp compiles it for the device when it is first launched, and keeps the result."""

import warp as wp

wp.config.log_level = wp.LOG_WARNING  # no greeting; kernels compile once per machine


@wp.kernel
def cast_pixel(
    first: wp.array(dtype=wp.int32),
    members: wp.array(dtype=wp.int32),
    mesh_of: wp.array(dtype=wp.int32),
    ids: wp.array(dtype=wp.uint64),
    boxes: wp.array2d(dtype=wp.int32),
    rays: wp.array2d(dtype=wp.float32),
    center: wp.float32,
    depth: wp.array3d(dtype=wp.float32),
    instance: wp.array3d(dtype=wp.int32),
    face: wp.array3d(dtype=wp.int32),
    barycentric: wp.array3d(dtype=wp.vec3),
):  # pragma: no cover - compiled
    """One pixel. rays: direction per pixel coordinate (9), origin (3), row that gives z in mm of a point (4)."""
    b, j, i = wp.tid()
    u = wp.float32(i) + center
    v = wp.float32(j) + center
    nearest = wp.float32(3.0e38)
    for k in range(first[b], first[b + 1]):
        n = members[k]
        if i < boxes[n, 0] or j < boxes[n, 1] or i >= boxes[n, 2] or j >= boxes[n, 3]:
            continue
        direction = wp.vec3(
            rays[n, 0] * u + rays[n, 1] * v + rays[n, 2],
            rays[n, 3] * u + rays[n, 4] * v + rays[n, 5],
            rays[n, 6] * u + rays[n, 7] * v + rays[n, 8],
        )
        mesh = ids[mesh_of[n]]
        hit = wp.mesh_query_ray(mesh, wp.vec3(rays[n, 9], rays[n, 10], rays[n, 11]), direction, nearest)
        if hit.result:
            nearest = hit.t
            point = wp.mesh_eval_position(mesh, hit.face, hit.u, hit.v)
            depth[b, j, i] = wp.dot(wp.vec3(rays[n, 12], rays[n, 13], rays[n, 14]), point) + rays[n, 15]
            instance[b, j, i] = n
            face[b, j, i] = hit.face
            barycentric[b, j, i] = wp.vec3(hit.u, hit.v, 1.0 - hit.u - hit.v)
