"""The batched renderer: both back ends against each other, the rasteriser and geometry; scenes; edges of the view."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from pose_models.geometry.transforms import from_rotation_translation, random_rotation
from pose_models.meshes.shapes import box
from pose_models.render.fragments import average_samples
from pose_models.render.rasterize import Window, rasterize
from pose_models.render.raycast import RayCaster
from pose_models.render.renderer import Renderer

SIZE = (90, 120)
K = torch.tensor([[300.0, 0, 60.0], [0, 310.0, 45.0], [0, 0, 1]], dtype=torch.float64)


def poses(count, seed=0, spread=40.0, near=250.0, far=500.0):
    rng = np.random.default_rng(seed)
    t = rng.uniform([-spread, -spread, near], [spread, spread, far], (count, 3))
    return torch.from_numpy(from_rotation_translation(random_rotation(rng, count), t))


def cast(backend, meshes, obj_ids, T, intrinsics, size=SIZE, **options):
    device, name = backend
    fragments = Renderer(meshes, device, name).cast(obj_ids, T.to(device), intrinsics.to(device), size, **options)
    assert fragments.depth.device.type == device
    return type(fragments)(*(getattr(fragments, f).cpu() for f in fragments.__dataclass_fields__))


def equal(a, b):
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("depth", "instance", "face", "barycentric"))


@pytest.mark.parametrize("center", [0.0, 0.5])
def test_depth_is_that_of_the_rasteriser_in_float64(backend, meshes, center):
    T = poses(6)
    ids = [2, 5, 9, 5, 2, 9]
    got = cast(backend, meshes, ids, T, K.repeat(6, 1, 1), pixel_center=center)
    for i, obj_id in enumerate(ids):
        window = Window.of_image(SIZE[1], SIZE[0])
        patch = rasterize(meshes[obj_id], K.numpy(), T[i, :3, :3].numpy(), T[i, :3, 3].numpy(), window, center)
        expected = torch.from_numpy(patch.paste(SIZE[1], SIZE[0]))
        both = (got.depth[i] > 0) & (expected > 0)
        assert both.sum() > 200
        assert ((got.depth[i] > 0) != (expected > 0)).sum() <= 2
        assert ((got.depth[i] - expected)[both].abs() < 0.01).float().mean() > 0.995


def test_hits_lie_on_their_triangle_and_on_the_ray_of_their_pixel(backend, meshes):
    """With a general camera: rotated in the plane, skewed, and another for each image."""
    turn = torch.tensor([[0.8, -0.6, 30.0], [0.6, 0.8, -25.0], [0, 0, 1]], dtype=torch.float64)
    skewed = K + torch.tensor([[0, 25.0, 0], [0, 0, 0], [0, 0, 0]], dtype=torch.float64)
    intrinsics, T, ids = torch.stack([turn @ K, skewed, turn @ skewed]), poses(3, 1), [5, 9, 2]
    got = cast(backend, meshes, ids, T, intrinsics)
    rows, columns = torch.meshgrid(torch.arange(SIZE[0]), torch.arange(SIZE[1]), indexing="ij")
    for i, obj_id in enumerate(ids):
        mask = got.mask[i]
        assert mask.sum() > 300
        corners = torch.from_numpy(meshes[obj_id].vertices[meshes[obj_id].faces])[got.face[i][mask].long()]
        point = (got.barycentric[i][mask].double()[:, None] @ corners)[:, 0] @ T[i, :3, :3].T + T[i, :3, 3]
        uvw = point @ intrinsics[i].T
        torch.testing.assert_close(uvw[:, 0] / uvw[:, 2], columns[mask] + 0.5, atol=2e-3, rtol=0, check_dtype=False)
        torch.testing.assert_close(uvw[:, 1] / uvw[:, 2], rows[mask] + 0.5, atol=2e-3, rtol=0, check_dtype=False)
        torch.testing.assert_close(point[:, 2], got.depth[i][mask].double(), atol=2e-3, rtol=0)
        assert (got.barycentric[i][mask] >= -1e-6).all()
        assert (got.instance[i][mask] == i).all()


def test_both_back_ends_agree_up_to_silhouettes(backend, meshes):
    T, ids = poses(9, 2), [2, 5, 9] * 3
    image = [0, 1, 2, 0, 1, 2, 2, 1, 0]
    expected = cast(("cpu", "embree"), meshes, ids, T, K.repeat(3, 1, 1), image=image)
    got = cast(backend, meshes, ids, T, K.repeat(3, 1, 1), image=image)
    assert (got.mask != expected.mask).float().mean() < 1e-3
    same = (got.face == expected.face) & (got.instance == expected.instance)
    assert (~same).float().mean() < 2e-3  # edges between triangles belong to either
    torch.testing.assert_close(got.depth[same], expected.depth[same], atol=0.01, rtol=0)
    assert ((got.barycentric - expected.barycentric)[same].abs() < 5e-3).float().mean() > 0.999


def test_results_do_not_depend_on_the_batch_or_on_the_threads(backend, meshes):
    T, ids = poses(5, 3), [2, 5, 9, 5, 5]
    whole = cast(backend, meshes, ids, T, K.repeat(5, 1, 1))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert equal(cast(backend, meshes, ids, T, K.repeat(5, 1, 1)), whole)
    finally:
        torch.set_num_threads(threads)
    for i in range(5):
        part = cast(backend, meshes, ids[i : i + 1], T[i : i + 1], K[None])
        assert torch.equal(part.depth[0], whole.depth[i])
        assert torch.equal(part.face[0], whole.face[i])
        assert torch.equal(part.barycentric[0], whole.barycentric[i])


def test_pixel_center_shifts_the_image(backend, meshes):
    T = poses(2, 4)
    shifted = K.repeat(2, 1, 1)
    shifted[:, :2, 2] += 0.5
    at_corner = cast(backend, meshes, [5, 9], T, K.repeat(2, 1, 1), pixel_center=0.0)
    at_middle = cast(backend, meshes, [5, 9], T, shifted, pixel_center=0.5)
    unshifted = cast(backend, meshes, [5, 9], T, K.repeat(2, 1, 1), pixel_center=0.5)
    # The same rays up to rounding: only pixels that graze an edge may differ.
    assert (at_corner.mask != at_middle.mask).sum() <= 2
    assert (at_corner.mask != unshifted.mask).sum() > 100


def test_the_nearest_instance_of_a_scene_is_seen(backend, meshes):
    T, ids = poses(6, 5, spread=15), [2, 5, 9, 2, 5, 9]
    scene = cast(backend, meshes, ids, T, K.repeat(2, 1, 1), image=[1, 1, 1, 1, 1, 0])
    alone = cast(backend, meshes, ids, T, K.repeat(6, 1, 1))
    depth = alone.depth[:5].where(alone.mask[:5], torch.inf)
    nearest = depth.min(dim=0)
    assert len(scene.instance[1].unique()) >= 4  # some hide others, several are seen
    torch.testing.assert_close(scene.depth[1].where(scene.mask[1], torch.inf), nearest.values, atol=1e-3, rtol=0)
    clear = (depth.sort(dim=0).values[1] - nearest.values) > 1e-2
    assert torch.equal(scene.instance[1][clear & scene.mask[1]].long(), nearest.indices[clear & scene.mask[1]])
    assert torch.equal(scene.depth[0], alone.depth[5])
    assert set(scene.instance[0].unique().tolist()) == {-1, 5}


def test_what_is_beside_behind_or_nowhere_is_not_seen(backend, meshes):
    T = poses(6, 6)
    T[0, :3, 3] = torch.tensor([5000.0, 0, 300])
    T[1, :3, 3] = torch.tensor([0.0, 0, -300])
    T[2, 0, 0] = torch.nan
    T[3, 2, 3] = torch.inf
    T[4, :3, :3] = 0
    got = cast(backend, meshes, [5] * 6, T, K.repeat(6, 1, 1))
    assert got.mask.sum(dim=(1, 2))[:5].tolist() == [0, 0, 0, 0, 0]
    assert got.mask[5].any()
    empty = [got.depth[:5], got.barycentric[:5], got.instance[:5] + 1, got.face[:5] + 1]
    assert not any(tensor.any() for tensor in empty)


def test_images_without_instances_and_calls_without_images(backend, meshes):
    got = cast(backend, meshes, [5], poses(1), K.repeat(3, 1, 1), image=[1])
    assert got.mask.sum(dim=(1, 2)).bool().tolist() == [False, True, False]
    nothing = cast(backend, meshes, [], poses(0), K.repeat(2, 1, 1), image=[])
    assert nothing.depth.shape == (2, *SIZE)
    assert not nothing.mask.any()
    assert cast(backend, meshes, [], poses(0), K.repeat(0, 1, 1)).depth.shape == (0, *SIZE)


def test_a_camera_inside_an_object_sees_it_from_within(backend):
    T = torch.eye(4, dtype=torch.float64)[None]
    got = cast(backend, {1: box([200, 200, 200])}, [1], T, K[None])
    torch.testing.assert_close(got.depth[0], torch.full(SIZE, 100.0), atol=1e-3, rtol=0)


def test_rays_do_not_slip_between_triangles(backend):
    """Rays exactly through vertices and along edges of a fine grid, which float32 makes the worst case."""
    n = 61
    x, y = np.meshgrid(np.arange(n) - 30.0, np.arange(n) - 30.0)
    index = np.arange(n * n).reshape(n, n)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    faces = np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)])
    grid = {1: type(box([1, 1, 1]))(np.stack([x, y, 0 * x], -1).reshape(-1, 3), faces)}
    T = torch.eye(4, dtype=torch.float64)[None].clone()
    T[0, 2, 3] = 300
    got = cast(backend, grid, [1], T, K[None], pixel_center=0.0)
    assert got.mask[0, 16:75, 31:90].all()


def test_samples_lie_evenly_about_those_of_the_image(backend, meshes):
    T = poses(2, 7)
    fine = cast(backend, meshes, [5, 2], T, K.repeat(2, 1, 1), samples=3)
    coarse = cast(backend, meshes, [5, 2], T, K.repeat(2, 1, 1))
    assert fine.mask.shape == (2, 3 * SIZE[0], 3 * SIZE[1])
    assert (fine.mask[:, 1::3, 1::3] != coarse.mask).sum() <= 2  # the middle sample is the image's own
    coverage = average_samples(fine.mask[..., None].float(), 3)[..., 0]
    assert coverage.sum() == pytest.approx(coarse.mask.sum().item(), rel=0.02)
    assert ((coverage > 0) & (coverage < 1)).any()
    shifted = cast(backend, meshes, [5, 2], T, K.repeat(2, 1, 1), samples=3, pixel_center=0.0)
    assert (
        shifted.mask[:, 1::3, 1::3] != cast(backend, meshes, [5, 2], T, K.repeat(2, 1, 1), pixel_center=0.0).mask
    ).sum() <= 2


def test_single_mesh_caster_is_the_same(meshes):
    T = poses(1, 8)
    hits = RayCaster(meshes[5]).cast(K.numpy(), T[0].numpy(), SIZE[1], SIZE[0], pixel_center=0.5)
    got = cast(("cpu", "embree"), meshes, [5], T, K[None])
    np.testing.assert_array_equal(hits.face, got.face[0])
    np.testing.assert_array_equal(hits.depth, got.depth[0])


def test_wrong_calls_say_what_is_wrong(meshes):
    renderer = Renderer(meshes)
    with pytest.raises(KeyError, match=r"objects \[7\] are not among the renderer's meshes \[2, 5, 9\]"):
        renderer.cast([5, 7], poses(2), K.repeat(2, 1, 1), SIZE)
    with pytest.raises(ValueError, match="name the image of each"):
        renderer.cast([5, 5], poses(2), K[None], SIZE)
    with pytest.raises(ValueError, match=r"images 0\.\.1 are named"):
        renderer.cast([5, 5], poses(2), K[None], SIZE, image=[0, 1])
    with pytest.raises(ValueError, match="do not fit poses"):
        renderer.cast([5], poses(2), K[None], SIZE)
    with pytest.raises(ValueError, match="T_cam_obj is on meta"):
        renderer.cast([5], poses(1).to("meta"), K[None], SIZE)
    with pytest.raises(ValueError, match="embree renders on the CPU only"):
        Renderer(meshes, "cuda", "embree")


def test_without_warp_one_sentence_says_what_to_install():
    program = (
        "import sys; sys.modules['warp'] = None\n"
        "from pose_models.render.renderer import Renderer\n"
        "Renderer({}, backend='warp')"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert answer.stderr.strip().splitlines()[-1].startswith("ImportError: rendering on CUDA needs Warp: install")


@pytest.mark.gpu
def test_nothing_waits_for_the_device(meshes):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    renderer = Renderer(meshes, "cuda")
    T, intrinsics = poses(6).cuda(), K.repeat(3, 1, 1).cuda()
    renderer.cast([2, 5, 9] * 2, T, intrinsics, SIZE, image=[0, 1, 2] * 2)  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        fragments = renderer.cast([2, 5, 9] * 2, T, intrinsics, SIZE, image=[0, 1, 2] * 2, samples=2)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert fragments.mask.any()
