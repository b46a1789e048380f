"""Crops per second of the renderer's back ends and of other libraries, on the same poses, in one run.

python benchmarks/render.py [--also FOLDER]

Two threads cast 160 x 160 crops of a mesh of 20480 faces: depth, face and barycentric weights per pixel. `--also` names
a site-packages folder with Open3D and pyrender, which are not among bopflow's dependencies; what is not there is left
out. CPU seconds stand beside wall time, for machines that have other things to do. On a CUDA device crops of 240 x 320
in batches of 64 follow, left on the device.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models.geometry.cameras import pixel_rays
from pose_models.geometry.transforms import apply, from_rotation_translation, invert, random_rotation
from pose_models.meshes.mesh import Mesh
from pose_models.meshes.shapes import merged
from pose_models.render.embree import EmbreeMesh
from pose_models.render.rasterize import Window, rasterize
from pose_models.render.renderer import Renderer

RADIUS_MM, DISTANCE_MM = 50.0, 600.0


def bumpy_ball(subdivisions: int = 5, seed: int = 0) -> Mesh:
    """A closed surface of 20 * 4^subdivisions triangles that reaches 50 mm from its centre."""
    import trimesh

    sphere = trimesh.creation.icosphere(subdivisions=subdivisions)
    points, rng = np.asarray(sphere.vertices), np.random.default_rng(seed)
    points = points * (1 + sum(0.1 * np.sin(points @ (4 * rng.normal(size=3)))[:, None] for _ in range(4)))
    return Mesh(points * RADIUS_MM / np.linalg.norm(points, axis=1).max(), np.asarray(sphere.faces, dtype=np.int64))


def crops(count: int, height: int, width: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Poses (N, 4, 4) near the optical axis, and K (3, 3) that lets the ball's diameter fill 1 / 1.2 of the crop."""
    rng = np.random.default_rng(seed)
    t = rng.uniform([-5, -5, DISTANCE_MM - 20], [5, 5, DISTANCE_MM + 20], (count, 3))
    focal = min(height, width) / 1.2 * DISTANCE_MM / (2 * RADIUS_MM)
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return from_rotation_translation(random_rotation(rng, count), t), K


def measure(function: Callable[[], object], count: int, repeats: int) -> tuple[float, float]:
    """Wall and CPU milliseconds per crop of a function that makes `count` crops: medians after one call to warm up."""
    function()
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        function()
        walls.append((time.perf_counter() - wall) / count * 1e3)
        cpus.append((time.process_time() - cpu) / count * 1e3)
    return statistics.median(walls), statistics.median(cpus)


def on_cpu(mesh: Mesh, threads: int, count: int, repeats: int) -> None:
    """Print the table of back ends and libraries."""
    side = 160
    poses, K = crops(count, side, side)
    T, Ks, ids = torch.from_numpy(poses), torch.from_numpy(K).repeat(count, 1, 1), [1] * count
    torch.set_num_threads(threads)
    renderer = Renderer({1: mesh})
    fragments = renderer.cast(ids, T, Ks, (side, side))
    print(
        f"{len(mesh.faces)} faces; {count} crops of {side} x {side}; {fragments.mask.float().mean():.0%} of pixels hit"
    )
    rows: list[tuple[str, Callable[[], object] | str]] = [
        (f"embree, {threads} threads", lambda: renderer.cast(ids, T, Ks, (side, side))),
        ("rasteriser (depth only), 1 thread", lambda: [_rasterize(mesh, K, pose, side) for pose in poses]),
        ("trimesh rays (embree), 1 thread", with_trimesh(mesh, K, poses, side)),
        (f"Open3D RaycastingScene, {threads} threads", with_open3d(mesh, K, poses, side, threads)),
        ("pyrender (depth only)", with_pyrender(mesh, K, poses, side)),
        ("warp on the CPU", with_warp(mesh, T, Ks, side)),
    ]
    heads = ("ms wall", "crops/s", "ms CPU", f"crops/s of {threads} cores", "ratio")
    print(f"{'':42s} {heads[0]:>8s} {heads[1]:>8s} {heads[2]:>8s} {heads[3]:>19s} {heads[4]:>6s}")
    first = 0.0
    for name, function in rows:
        if isinstance(function, str):
            print(f"{name:42s} left out: {function}")
            continue
        wall, cpu = measure(function, count, repeats)
        first = first or cpu
        print(f"{name:42s} {wall:8.2f} {1e3 / wall:8.0f} {cpu:8.2f} {threads * 1e3 / cpu:19.0f} {cpu / first:6.2f}")


def _rasterize(mesh: Mesh, K: np.ndarray, pose: np.ndarray, side: int) -> object:
    return rasterize(mesh, K, pose[:3, :3], pose[:3, 3], Window.of_image(side, side)).paste(side, side)


def with_trimesh(mesh: Mesh, K: np.ndarray, poses: np.ndarray, side: int) -> Callable[[], object]:
    """Depth, face and weights by trimesh's interface to Embree."""
    import trimesh
    from trimesh.ray.ray_pyembree import RayMeshIntersector

    loaded = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    caster, rays = RayMeshIntersector(loaded), pixel_rays(K, side, side, 0.5).reshape(-1, 3)

    def run() -> None:
        for pose in poses:
            T_obj_cam = invert(pose)
            directions = rays @ T_obj_cam[:3, :3].T
            origins = np.broadcast_to(T_obj_cam[:3, 3], directions.shape)
            points, ray, face = caster.intersects_location(origins, directions, multiple_hits=False)
            trimesh.triangles.points_to_barycentric(loaded.triangles[face], points)
            np.zeros(side * side)[ray] = points @ pose[2, :3] + pose[2, 3]

    return run


def with_open3d(mesh: Mesh, K: np.ndarray, poses: np.ndarray, side: int, threads: int) -> Callable[[], object] | str:
    """Depth, face and weights by Open3D, which has Embree inside."""
    try:
        import open3d as o3d
    except (ImportError, OSError) as error:
        return f"open3d: {error}"
    scene = o3d.t.geometry.RaycastingScene(nthreads=threads)
    scene.add_triangles(
        o3d.core.Tensor(mesh.vertices.astype(np.float32)), o3d.core.Tensor(mesh.faces.astype(np.uint32))
    )
    intrinsics = o3d.core.Tensor(K)

    def run() -> None:
        for pose in poses:
            rays = scene.create_rays_pinhole(intrinsics, o3d.core.Tensor(pose), side, side)
            hit = scene.cast_rays(rays, nthreads=threads)
            hit["t_hit"].numpy(), hit["primitive_ids"].numpy(), hit["primitive_uvs"].numpy()

    return run


def with_pyrender(mesh: Mesh, K: np.ndarray, poses: np.ndarray, side: int) -> Callable[[], object] | str:
    """Depth alone by OpenGL in software: it gives neither face nor weights."""
    os.environ.setdefault("PYOPENGL_PLATFORM", "osmesa")
    try:
        import pyrender
        import trimesh

        scene = pyrender.Scene()
        node = scene.add(pyrender.Mesh.from_trimesh(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)))
        camera = pyrender.IntrinsicsCamera(K[0, 0], K[1, 1], K[0, 2], K[1, 2], znear=10, zfar=10000)
        scene.add(camera, pose=np.diag([1.0, -1, -1, 1]))
        context = pyrender.OffscreenRenderer(side, side)
        context.render(scene, flags=pyrender.RenderFlags.DEPTH_ONLY)
    except Exception as error:  # whatever OpenGL's loaders meet
        return f"pyrender with {os.environ['PYOPENGL_PLATFORM']}: {error!r}"[:120]

    def run() -> None:
        for pose in poses:
            scene.set_pose(node, pose)
            context.render(scene, flags=pyrender.RenderFlags.DEPTH_ONLY)

    return run


def with_warp(mesh: Mesh, T: torch.Tensor, Ks: torch.Tensor, side: int) -> Callable[[], object] | str:
    """The CUDA back end's kernels on the CPU, one thread."""
    try:
        renderer = Renderer({1: mesh}, backend="warp")
    except ImportError as error:
        return str(error)
    return lambda: renderer.cast([1] * len(T), T, Ks, (side, side))


def structures(count: int) -> None:
    """Print the seconds that the structures of `count` meshes take."""
    meshes = [bumpy_ball(5, seed) for seed in range(count)]
    wall, cpu = time.perf_counter(), time.process_time()
    for mesh in meshes:
        EmbreeMesh(mesh)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"structures of {count} meshes of {len(meshes[0].faces)} faces: {wall:.2f} s wall, {cpu:.2f} s CPU")


def scenes(threads: int, repeats: int, instances: int = 15) -> None:
    """Print what an image of many objects takes with a structure per mesh, and with one built for the scene."""
    meshes = {i: bumpy_ball(4, i) for i in range(instances)}
    rng = np.random.default_rng(0)
    t = rng.uniform([-180, -130, 700], [180, 130, 1000], (instances, 3))
    poses = from_rotation_translation(random_rotation(rng, instances), t)
    K, size = torch.tensor([[[600.0, 0, 320], [0, 600, 240], [0, 0, 1]]]), (480, 640)
    torch.set_num_threads(threads)
    renderer, T = Renderer(meshes), torch.from_numpy(poses)
    together = [Mesh(apply(pose, mesh.vertices), mesh.faces) for mesh, pose in zip(meshes.values(), poses, strict=True)]

    def one_structure() -> None:
        Renderer({1: merged(together)}).cast([1], torch.eye(4)[None], K, size)

    def instanced() -> None:
        renderer.cast(list(meshes), T, K, size, image=[0] * instances)

    built = Renderer({1: merged(together)})
    print(f"\nscene of {instances} objects of {len(meshes[0].faces)} faces, 640 x 480:")
    for name, function in (
        ("a structure per mesh, kept", instanced),
        ("one merged structure, built per scene", one_structure),
        ("one merged structure, casting alone", lambda: built.cast([1], torch.eye(4)[None], K, size)),
    ):
        wall, cpu = measure(function, 1, repeats)
        print(f"{name:42s} {wall:8.1f} ms wall {cpu:8.1f} ms CPU")


def on_cuda(mesh: Mesh, repeats: int) -> None:
    """Print crops per second on a CUDA device, and how far its images are from Embree's."""
    if not torch.cuda.is_available():
        print("\nno CUDA device: crops of 240 x 320 in batches of 64 with warp are left out")
        return
    height, width, batch = 240, 320, 64
    poses, K = crops(batch, height, width)
    T, Ks = torch.from_numpy(poses), torch.from_numpy(K).repeat(batch, 1, 1)
    renderer, device_T, device_K = Renderer({1: mesh}, "cuda"), T.cuda(), Ks.cuda()
    got = renderer.cast([1] * batch, device_T, device_K, (height, width))
    expected = Renderer({1: mesh}).cast([1] * batch, T, Ks, (height, width))
    torch.cuda.synchronize()
    rates = []
    for _ in range(repeats):
        start, rounds = time.perf_counter(), 50
        for _ in range(rounds):
            renderer.cast([1] * batch, device_T, device_K, (height, width))
        torch.cuda.synchronize()
        rates.append(rounds * batch / (time.perf_counter() - start))
    face, mask = got.face.cpu(), got.mask.cpu()
    both = mask & expected.mask
    rate = statistics.median(rates)
    print(f"\n{torch.cuda.get_device_name()}: {rate:.0f} crops/s of {height} x {width}, batches of {batch}")
    print(f"pixels that differ from embree: mask {(mask != expected.mask).float().mean():.2e}, face "
          f"{(face != expected.face).float().mean():.2e}; depth at most "
          f"{(got.depth.cpu() - expected.depth)[both].abs().max():.4f} mm on common pixels")  # fmt: skip


def main() -> None:
    """Run all parts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--also", type=Path, help="site-packages folder with Open3D and pyrender")
    parser.add_argument("--threads", type=int, default=2, help="threads of the CPU part (2)")
    parser.add_argument("--crops", type=int, default=64, help="crops per measurement (64)")
    parser.add_argument("--repeats", type=int, default=5, help="measurements, of which the median counts (5)")
    arguments = parser.parse_args()
    if arguments.also:
        sys.path.append(str(arguments.also))
    mesh = bumpy_ball()
    on_cpu(mesh, arguments.threads, arguments.crops, arguments.repeats)
    print()
    structures(30)
    scenes(arguments.threads, arguments.repeats)
    on_cuda(mesh, arguments.repeats)


if __name__ == "__main__":
    main()
