"""The network that matches points: the motion it solves for, where it says that points are, what it learns from."""

import copy
import dataclasses
import functools

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from pose_models.datasets.bop import BopScene, read_models_info
from pose_models.meshes.mesh import load_mesh
from pose_models.meshes.shapes import box
from pose_models.methods.cosypose.config import CosyPoseSettings
from pose_models.methods.cosypose.features import edges
from pose_models.methods.cosypose.matching import (
    CoarseMatching,
    Matches,
    RefinerMatching,
    chosen_pixels,
    matching_loss,
)
from pose_models.methods.cosypose.motion import Problem, fitted_rotation, output_of, rotation_from_vector, solved
from pose_models.methods.cosypose.network import Comparer
from pose_models.methods.cosypose.objects import ObjectTable
from pose_models.methods.cosypose.places import (
    LEAST_KNOWN,
    LEAST_SHARE,
    LEAST_VARIANCE,
    STRIDE,
    Likelihoods,
    cell_centers,
)
from pose_models.methods.cosypose.poses import (
    UPRIGHT,
    disturbed,
    draw_noise,
    rotation_from_euler,
    transformed,
    updated,
)
from pose_models.settings import resolve
from tests.methods.cosypose.conftest import UNTRAINED

SPREAD = torch.tensor([3.0, 3.0, 0.1, 0.3, 0.3, 0.3]).double()


def motions(count: int = 16):
    """Objects off the camera's axis, and what an output that moves them does to 60 of their points."""
    rng = np.random.default_rng(0)
    K = torch.tensor([[400.0, 0, 32], [0, 420.0, 24], [0, 0, 1]]).double().expand(count, 3, 3)
    T = torch.eye(4).double().repeat(count, 1, 1)
    T[:, :3, :3] = torch.from_numpy(rotation_from_euler(rng.normal(size=(count, 3))))
    T[:, :3, 3] = torch.from_numpy(rng.normal(size=(count, 3)) * [200, 150, 60] + [0, 0, 700])
    R = torch.from_numpy(rotation_from_euler(rng.normal(0, np.deg2rad(15), (count, 3))))
    shift = torch.from_numpy(rng.normal(size=(count, 2)) * 5)
    depth = torch.from_numpy(np.exp(rng.normal(0, 0.08, (count, 1))))
    output = torch.cat([R[:, :, 0], R[:, :, 1], shift, depth], dim=1)
    points = torch.from_numpy(rng.normal(size=(count, 60, 3)) * 30)
    camera = transformed(updated(T, output, K), points)
    focal = torch.tensor([400.0, 420.0]).double().expand(count, 2)
    targets = camera[..., :2] / camera[..., 2:] * focal[:, None]
    return transformed(T, points) - T[:, None, :3, 3], T[:, :3, 3], focal, targets, output


def motion_output(offsets, t, focal, targets, weights, passes=5):
    problem = Problem(offsets, t, focal, SPREAD)
    return output_of(problem, solved(problem, problem.start(), targets, weights, passes))


def test_the_motion_that_explains_all_points_is_found():
    offsets, t, focal, targets, output = motions()
    weights = torch.full(targets.shape[:2], 100.0).double()
    found = motion_output(offsets, t, focal, targets, weights, passes=8)
    torch.testing.assert_close(found, output, atol=2e-3, rtol=0)
    weights[:, ::2] = 0  # what weighs nothing may be anywhere
    targets[:, ::2] = 1e3
    torch.testing.assert_close(motion_output(offsets, t, focal, targets, weights, passes=8), output, atol=4e-3, rtol=0)


def test_depth_needs_more_than_one_linear_step():
    offsets, t, focal, targets, output = motions(200)
    weights = torch.ones(targets.shape[:2]).double()
    spread = output[:, 8].log().std()
    errors = [
        (motion_output(offsets, t, focal, targets, weights, passes=passes)[:, 8].log() - output[:, 8].log()).std()
        for passes in (1, 3)
    ]
    assert errors[0] > 0.3 * spread
    assert errors[1] < 0.1 * spread


def test_wrong_matches_do_not_decide():
    """A quarter of the points matched with the same wrong thing 40 px away."""
    offsets, t, focal, targets, output = motions()
    targets[:, ::4] += torch.tensor([40.0, 10.0]).double()
    weights = torch.ones(targets.shape[:2]).double()
    found = motion_output(offsets, t, focal, targets, weights, passes=15)
    torch.testing.assert_close(found[:, 6:8], output[:, 6:8], atol=0.5, rtol=0)
    torch.testing.assert_close(found[:, 8], output[:, 8], atol=0.02, rtol=0)


def test_without_weights_nothing_moves_and_gradients_are_right():
    offsets, t, focal, targets, _ = motions(3)
    still = motion_output(offsets, t, focal, targets, torch.zeros(targets.shape[:2]).double())
    torch.testing.assert_close(still, torch.tensor([1.0, 0, 0, 0, 1, 0, 0, 0, 1]).double().expand(3, 9))
    weights = torch.full(targets.shape[:2], 0.5).double().requires_grad_()
    targets = targets.requires_grad_()
    solve = functools.partial(motion_output, offsets, t, focal)
    assert torch.autograd.gradcheck(solve, [targets, weights], eps=1e-6, atol=1e-6)


def test_rotations_about_vectors():
    w = torch.tensor([[0.0, 0, 0], [0.0, 0, np.pi / 2], [0.3, -0.2, 0.4]]).double()
    R = rotation_from_vector(w)
    torch.testing.assert_close(R[0], torch.eye(3).double())
    torch.testing.assert_close(R[1] @ torch.tensor([1.0, 0, 0]).double(), torch.tensor([0.0, 1, 0]).double())
    torch.testing.assert_close(
        R[2], torch.matrix_exp(torch.tensor([[0, -0.4, -0.2], [0.4, 0, -0.3], [0.2, 0.3, 0]]).double())
    )


def test_pixels_are_spread_over_the_mask():
    mask = torch.zeros((3, 20, 30), dtype=torch.bool)
    mask[0, 4:14, 5:25], mask[1, 7, 9] = True, True
    pixels, is_point = chosen_pixels(mask, 40)
    assert is_point.tolist() == [[True] * 40, [True] * 40, [False] * 40]
    assert mask[0].flatten()[pixels[0]].all()
    assert len(set(pixels[0].tolist())) == 40
    assert np.diff(pixels[0].numpy() // 30).max() <= 1  # every row has some
    assert pixels[1].tolist() == [7 * 30 + 9] * 40


@pytest.fixture(scope="module")
def seen(small):
    """Objects of an image, cut out and drawn at disturbed poses and upright; true poses; settings, comparer, index."""
    settings = resolve(CosyPoseSettings, UNTRAINED)
    infos = read_models_info(small / "models")
    meshes = {i: load_mesh(small / "models" / f"obj_{i:06d}.ply", texture=True) for i in infos}
    comparer = Comparer(meshes, ObjectTable.of(meshes, infos, rotations=8), settings.network, "cpu")
    scene = BopScene(small / "train_synt" / "000000")
    instances = scene.ground_truth[0]
    index = torch.tensor([comparer.table.ids.index(instance.obj_id) for instance in instances])
    T_true = np.stack([instance.T_cam_obj for instance in instances])
    T = torch.from_numpy(disturbed(T_true, draw_noise(np.random.default_rng(0), len(index)))).float()
    image = torch.from_numpy(np.ascontiguousarray(scene.rgb(0).transpose(2, 0, 1)))[None]
    K = torch.from_numpy(scene.camera(0).K).float().expand(len(index), 3, 3)
    whose, true = torch.zeros(len(index), dtype=torch.int64), torch.from_numpy(T_true).float()
    upright = true.clone()
    upright[:, :3, :3] = torch.tensor(UPRIGHT)
    found = [comparer.compare(image, whose, K, index, start) for start in (T, upright)]
    return *found, true, settings, comparer, index


def test_an_untrained_network_moves_nothing_far(seen):
    comparison, settings = seen[0], seen[3]
    torch.manual_seed(0)
    network = RefinerMatching(settings.network).eval()
    with torch.no_grad():
        output = network(comparison)
    still = torch.tensor([1.0, 0, 0, 0, 1, 0, 0, 0, 1]).expand(len(output), 9)
    assert ((output - still)[:, 6:8].abs() < 4).all()  # pixels of 64
    assert ((output - still)[:, [0, 1, 2, 3, 4, 5, 8]].abs() < 0.15).all()


def with_scores(matches: Matches, scores, shown) -> Matches:
    likelihoods = Likelihoods(scores)
    found = likelihoods.find(matches.centers, matches.reach)
    return dataclasses.replace(matches, likelihoods=likelihoods, found=found, shown=shown)


@pytest.fixture(scope="module")
def perfect(seen):
    """The refiner with points that are matched with their true cells, and who of them is seen."""
    comparison, _, T_true, settings, comparer, index = seen
    torch.manual_seed(0)
    network = RefinerMatching(settings.network).eval()
    network.trust.data.fill_(3.0)
    with torch.no_grad():
        matches = network.match(comparison)
    true_points = transformed(T_true @ torch.linalg.inv(comparison.T), matches.points)
    visible = comparer.faces_camera(index, T_true, comparison.K_crop, true_points)
    places = projections(true_points, comparison.K_crop)
    return network, with_scores(matches, peaks(places, comparison), 18 * visible.float() - 9), places


def projections(points, K):
    camera = points @ K.transpose(1, 2)
    return camera[..., :2] / camera[..., 2:]


def peaks(places, comparison, variance: float = 0.5):
    """Scores (B, N, rows, columns) of normal likelihoods around places."""
    x, y = cell_centers([size // STRIDE for size in comparison.crops.shape[2:]], places)
    return -((places[..., None, :1] - x) ** 2 + (places[..., None, 1:] - y[:, None]) ** 2) / (2 * variance)


def error(T, comparison, T_true):
    return (transformed(T, comparison.points) - transformed(T_true, comparison.points)).norm(dim=2).mean(dim=1)


def test_windows_follow_the_common_motion_past_second_places(seen, perfect):
    """Every fourth point is as likely where it is drawn: windows that went along with the others do not see that."""
    comparison, T_true, (network, matches, _) = seen[0], seen[2], perfect
    scores = matches.likelihoods.scores.clone()
    scores[:, ::4] = torch.logaddexp(scores, peaks(matches.centers, comparison))[:, ::4]
    doubtful, blind = with_scores(matches, scores, matches.shown), copy.deepcopy(network)
    blind.windows = ()
    with torch.no_grad():
        after = [updated(comparison.T, one.output(comparison, doubtful), comparison.K_crop) for one in (network, blind)]
    errors = [error(T, comparison, T_true).mean() for T in (comparison.T, *after)]
    assert errors[1] < 0.3 * errors[0]
    assert errors[1] < 0.6 * errors[2]


def test_windows_are_opened_around_the_motion_found_so_far(seen, perfect):
    comparison, (network, matches, places) = seen[0], perfect
    t, K = comparison.T[:, :3, 3], comparison.K_crop
    problem = Problem(matches.points - t[:, None], t, K[:, [0, 1], [0, 1]], network.spread)
    certain = torch.sigmoid(matches.shown) * 80
    motion, centers, reach = network.search(problem, matches, certain, K[:, None, :2, 2], comparison.crops.shape[3])
    torch.testing.assert_close(centers, problem.projected(motion) + K[:, None, :2, 2])
    visible = matches.shown > 0
    apart = [(middle - places).norm(dim=2)[visible].median() for middle in (matches.centers, centers)]
    assert apart[1] < 0.3 * apart[0]
    assert reach == pytest.approx(min(float(matches.reach), network.windows[-1] * comparison.crops.shape[3]))
    assert reach < matches.reach


def test_what_vague_places_shrink_is_learnt(seen, perfect):
    """Depth is divided by a share of the places' deviation over the object's radius: more for vaguer places."""
    comparison, (network, matches, places) = seen[0], perfect
    changes = []
    for variance in (4.0, 16.0):
        vague = with_scores(matches, peaks(places, comparison, variance), matches.shown)
        depth = []
        for share in (0.0, 0.1):
            network.drawn_in.data.fill_(share)
            with torch.no_grad():
                depth.append(network.output(comparison, vague)[:, 8])
        network.drawn_in.data.zero_()
        changes.append(torch.log(depth[0] / depth[1]))
    assert (changes[0] > 0.002).all()
    assert (changes[1] > 1.2 * changes[0]).all()
    assert (changes[1] < 0.1).all()  # no place is vaguer than the object is large


@pytest.mark.parametrize("stage", ["refiner", "coarse"])
def test_points_matched_with_their_true_cells_lead_to_the_truth(seen, stage):
    """However far the coarse network has to turn; and they cost less than others."""
    refiner, upright, T_true, settings, comparer, index = seen
    comparison = refiner if stage == "refiner" else upright
    torch.manual_seed(0)
    network = (RefinerMatching if stage == "refiner" else CoarseMatching)(settings.network).eval()
    with torch.no_grad():
        matches = network.match(comparison)
    true_points = transformed(T_true @ torch.linalg.inv(comparison.T), matches.points)
    perfect = peaks(projections(true_points, comparison.K_crop), comparison)
    visible = comparer.faces_camera(index, T_true, comparison.K_crop, true_points)
    assert 0.15 < visible.float().mean() < (0.85 if stage == "coarse" else 1)
    shown = 18 * visible.float() - 9
    loss = [
        matching_loss(with_scores(matches, scores, answers), comparison, true_points, visible)
        for scores, answers in (
            (perfect, shown),
            (matches.likelihoods.scores, shown),
            (perfect.flip((2, 3)), shown),
            (perfect, -shown),
        )
    ]
    assert (loss[0] < loss[1]).all()
    assert (loss[1] < loss[2]).all()
    assert (loss[0] + 5 < loss[3]).all()
    network.trust.data.fill_(3.0)
    answer = network.output(comparison, with_scores(matches, perfect, shown))
    after = updated(comparison.T, answer, comparison.K_crop)
    errors = [error(T, comparison, T_true) for T in (comparison.T, after)]
    assert (errors[1] < 0.3 * errors[0]).all()
    assert errors[1].mean() < 0.2 * errors[0].mean()


def test_the_loss_asks_for_cells_of_points_points_of_cells_and_who_is_seen(seen):
    comparison = seen[0]
    generator, count = torch.Generator().manual_seed(0), len(comparison.crops)
    rows, columns = (size // STRIDE for size in comparison.crops.shape[2:])
    inner = torch.arange(rows * columns).reshape(rows, columns)[1:-1, 1:-1].flatten()
    cells = torch.stack([inner[torch.randperm(len(inner), generator=generator)[:7]] for _ in range(count)])
    x, y = cell_centers((rows, columns), comparison.crops)
    grid = torch.stack([x.expand(rows, columns), y[:, None].expand(rows, columns)], dim=2).flatten(0, 1)
    pixels = torch.cat([grid[cells], torch.ones((count, 7, 1))], dim=2)
    true_points = 500 * pixels @ torch.linalg.inv(comparison.K_crop).transpose(1, 2)
    scores = torch.randn((count, 7, len(grid)), generator=generator)
    shown = torch.randn((count, 7), generator=generator)
    is_visible = torch.tensor([True, True, False, True, False, True, True]).expand(count, 7)
    centers, reach = grid[cells] + 5 * torch.randn((count, 7, 2), generator=generator), torch.tensor(6.0)
    likelihoods = Likelihoods(scores.unflatten(2, (rows, columns)))
    matches = Matches(true_points, likelihoods, centers, reach, likelihoods.find(centers, reach), shown)
    scores = scores - 0.5 * ((grid - centers[:, :, None]) ** 2).sum(dim=3) / reach**2
    expected = []
    for row in range(count):
        of_points = cross_entropy(scores[row], cells[row], reduction="none")
        of_cells = cross_entropy(scores[row][:, cells[row]].T, torch.arange(7), reduction="none")
        seen_or_not = binary_cross_entropy_with_logits(shown[row], is_visible[row].float())
        expected.append((of_points + of_cells)[is_visible[row]].mean() + seen_or_not)
    found = matching_loss(matches, comparison, true_points, is_visible)
    torch.testing.assert_close(found, torch.stack(expected), atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", [RefinerMatching, CoarseMatching])
def test_poses_are_solved_for_in_single_precision(seen, kind):
    torch.manual_seed(0)
    network = kind(seen[3].network).eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        output = network(seen[0])
        scores = network.match(seen[0]).likelihoods.scores
    assert output.dtype == scores.dtype == torch.float32
    assert torch.isfinite(output).all()


def test_places_are_read_through_windows():
    """Means, variances and masses are those of likelihood times window, summed cell by cell."""
    generator = torch.Generator().manual_seed(0)
    scores = 4 * torch.randn((2, 3, 10, 14), generator=generator).double()
    centers = torch.tensor([[9.0, 8], [20, 3], [14, 19]]).double().expand(2, 3, 2)
    found = Likelihoods(scores).find(centers, torch.tensor(5.0))
    x, y = cell_centers((10, 14), scores)
    assert x.tolist() == [0.5 + 2 * column for column in range(14)]
    grid = torch.stack([x.expand(10, 14), y[:, None].expand(10, 14)], dim=2)
    log_window = -((grid - centers[:, :, None, None]) ** 2).sum(dim=4) / 50
    product = (scores + log_window).flatten(2)
    share = product.softmax(dim=2)[..., None]
    mean = (share * grid.flatten(0, 1)).sum(dim=2)
    variance = (share * (grid.flatten(0, 1) - mean[:, :, None]) ** 2).sum(dim=(2, 3))
    variance = (variance.clamp(min=STRIDE**2 / 12)) / 2
    left = 1 - variance / 25
    torch.testing.assert_close(found.places, centers + (mean - centers) / left.clamp(min=LEAST_SHARE)[..., None])
    known = left.clamp(min=LEAST_KNOWN)
    torch.testing.assert_close(found.weights, 1 / (variance / known + LEAST_VARIANCE))
    torch.testing.assert_close(found.mass, product.logsumexp(dim=2))
    torch.testing.assert_close(found.window, log_window.flatten(2).logsumexp(dim=2))


def test_windows_say_where_to_look_not_what_is_there():
    """A normal likelihood is found where it is, as certain as it is, from windows beside it."""
    x, y = cell_centers((60, 80), torch.zeros(1).double())
    place, variance = torch.tensor([70.0, 51.0]).double(), 16.0
    scores = -((x - place[0]) ** 2 + (y[:, None] - place[1]) ** 2)[None, None] / (2 * variance)
    for beside in ([0.0, 0], [6, -3], [-8, 8]):
        found = Likelihoods(scores).find((place + torch.tensor(beside))[None, None], torch.tensor(7.0))
        torch.testing.assert_close(found.places[0, 0], place, atol=1e-3, rtol=0)
        torch.testing.assert_close(found.weights[0, 0].item(), 1 / (variance + LEAST_VARIANCE), atol=1e-4, rtol=0)


def test_what_is_likely_everywhere_pulls_nowhere_and_far_likelihoods_do_no_harm():
    flat, middle = torch.zeros((1, 1, 24, 32)), torch.tensor([[[20.0, 28.0]]])
    found = Likelihoods(flat).find(middle, torch.tensor(3.0))
    torch.testing.assert_close(found.places, middle, atol=0.1, rtol=0)
    assert found.weights < 0.05 / 9
    far = flat.clone()
    far[..., 23, 31] = 500.0
    found = Likelihoods(far).find(middle, torch.tensor(1.0))
    assert all(torch.isfinite(part).all() for part in dataclasses.astuple(found))
    assert (found.places - middle).abs().max() < 3


def test_large_rotations_are_fitted():
    rng = np.random.default_rng(0)
    R = torch.from_numpy(rotation_from_euler(rng.uniform(-3, 3, (50, 3))))
    offsets = torch.from_numpy(rng.normal(size=(50, 40, 3)) * 30)
    targets = 0.7 * (offsets @ R.transpose(1, 2))[..., :2] + torch.tensor([5.0, -3.0]).double()
    weights = torch.ones((50, 40)).double()
    weights[:, :8], targets[:, :8] = 0, 99.0
    found = fitted_rotation(offsets, targets, weights)
    angle = torch.acos((((found.transpose(1, 2) @ R).diagonal(dim1=1, dim2=2).sum(dim=1) - 1) / 2).clamp(-1, 1))
    assert torch.rad2deg(angle).max() < 3  # the ridge favours no axis for long


def test_points_behind_the_object_are_hidden():
    settings = resolve(CosyPoseSettings, UNTRAINED)
    comparer = Comparer({1: box((40, 30, 20))}, ObjectTable.of({1: box((40, 30, 20))}, {}, 8), settings.network, "cpu")
    T = torch.eye(4)[None]
    T[:, 2, 3] = 500.0
    K = torch.tensor([[[500.0, 0, 31.5], [0, 500.0, 23.5], [0, 0, 1]]])
    points = torch.tensor([[[10.0, 5, -10], [-10, 5, -10], [0, 0, 10], [10, 5, 10], [0, 0, -10]]])
    assert comparer.faces_camera(torch.tensor([0]), T, K, transformed(T, points)).tolist() == [
        [True, True, False, False, True]
    ]


def test_edges_are_the_same_for_light_beside_dark_and_dark_beside_light():
    image = torch.rand((1, 3, 20, 30), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(edges(1 - image), edges(image), atol=1e-5, rtol=0)
    torch.testing.assert_close(edges(image + 0.5), edges(image), atol=1e-5, rtol=0)
    ramp = torch.linspace(0, 1, 30).expand(1, 3, 20, 30)
    cosine, sine, strength = edges(ramp)[0, :, 10, 15]
    assert cosine > 0.9 * strength > 0  # what changes along x has direction 0, along y a half turn
    assert abs(sine) < 1e-6
    assert edges(ramp.transpose(2, 3))[0, 0, 15, 10] < 0
    assert torch.equal(edges(torch.full((1, 3, 9, 9), 0.3)), torch.zeros(1, 3, 9, 9))
