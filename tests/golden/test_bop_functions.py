"""Reference vectors of BOP evaluation: single functions (functions.npz) and VSD on given depth (vsd_cases.npz)."""

import numpy as np
import pytest
import torch

from pose_models.datasets.bop import BopDataset
from pose_models.evaluation import errors, kernels
from pose_models.evaluation.bop24 import average_precision
from pose_models.evaluation.pairs import spheres_overlap
from pose_models.evaluation.vsd import cus, vsd
from pose_models.evaluation.world import World
from pose_models.geometry.symmetries import symmetry_transforms
from pose_models.geometry.transforms import from_rotation_translation
from pose_models.render.rasterize import Window, rasterize
from pose_models.render.renderer import Renderer
from pose_models.render.visibility import visible_mask


@pytest.fixture(scope="module")
def vectors(golden_dir):
    return [dict(np.load(path)) for path in sorted((golden_dir / "bop").glob("functions*.npz"))]


@pytest.fixture(scope="module")
def vsd_cases(golden_dir):
    return [dict(np.load(path)) for path in sorted((golden_dir / "bop").glob("vsd_cases*.npz"))]


@pytest.fixture(scope="module")
def world(golden_zips):
    dataset, _ = golden_zips("bop", "synbop*.zip")[0]
    return World(BopDataset(dataset))


def test_symmetry_transforms(vectors, world):
    for v in vectors:
        for key in (key for key in v if key.startswith("sym_obj") and key.endswith("_R")):
            obj_id, step = key.removeprefix("sym_obj").removesuffix("_R").split("_step")
            info = world.dataset.models_info("models_eval")[int(obj_id)]
            transforms = symmetry_transforms(info, float(step))
            np.testing.assert_allclose(transforms[:, :3, :3], v[key], rtol=0, atol=1e-12)
            np.testing.assert_allclose(transforms[:, :3, 3], v[key.removesuffix("R") + "t"], rtol=0, atol=1e-12)


def test_discrete_and_continuous_symmetries_combine(vectors):
    for v in vectors:
        info = {
            "symmetries_discrete": list(v["symmix_in_disc"]),
            "symmetries_continuous": [{"axis": v["symmix_in_axis"], "offset": v["symmix_in_offset"]}],
        }
        transforms = symmetry_transforms(info, float(v["symmix_step"]))
        np.testing.assert_allclose(transforms[:, :3, :3], v["symmix_R"], rtol=0, atol=1e-12)
        np.testing.assert_allclose(transforms[:, :3, 3], v["symmix_t"], rtol=0, atol=1e-12)


def test_errors_of_pose_pairs(vectors, world):
    for v in vectors:
        for i, obj_id in enumerate(v["pairs_obj"]):
            obj = world.object(int(obj_id))
            points = obj.mesh.vertices
            poses = v["pairs_Re"][i], v["pairs_te_"][i], v["pairs_Rg"][i], v["pairs_tg"][i]
            K = v["pairs_K"][i]
            got = {
                "mssd": kernels.mssd(points, *poses, obj.symmetries),
                "mspd": kernels.mspd(points, K, *poses, obj.symmetries),
                "add": errors.add(points, *poses),
                "adi": errors.adi(points, *poses),
                "re": errors.re(poses[0], poses[2]),
                "te": errors.te(poses[1], poses[3]),
                "proj": errors.proj(points, K, *poses),
            }
            for name, value in got.items():
                # Relative where numbers are large: 1e-9 of 1e5 pixels is below float64's own spacing.
                np.testing.assert_allclose(value, v[f"pairs_{name}"][i], rtol=1e-12, atol=1e-9, err_msg=f"{name} {i}")
            overlap = spheres_overlap(poses[1][None], poses[3][None], obj.diameter_mm / 2)
            assert overlap[0, 0] == v["pairs_overlap"][i]


def test_average_precision(vectors):
    for v in vectors:
        for key in (key for key in v if key.endswith("_tp")):
            name = key.removesuffix("_tp")
            got = average_precision(v[key], int(v[f"{name}_num_gt"]))
            assert got == pytest.approx(float(v[f"{name}_ap"]), abs=1e-9)
        assert average_precision(np.zeros(0, dtype=bool), 3) == float(v["ap_empty"])


def test_box_overlap(vectors):
    for v in vectors:
        for boxes, iou, cou in zip(v["iou_boxes"], v["iou_value"], v["cou_bb"], strict=True):
            assert errors.box_iou(boxes[:4], boxes[4:]) == pytest.approx(iou, abs=1e-9)
            assert errors.cou_box(boxes[:4], boxes[4:]) == pytest.approx(cou, abs=1e-9)


def _case(cases, i):
    depths = cases["depth_est"][i], cases["depth_gt"][i], cases["depth_test"][i]
    return depths, cases["K"][i], float(cases["delta"][i])


def test_visible_masks_are_identical(vsd_cases):
    for cases in vsd_cases:
        for i in range(len(cases["obj"])):
            (est, gt, test), K, delta = _case(cases, i)
            visible_gt = visible_mask(gt, test, K, delta)
            visible_est = visible_mask(est, test, K, delta) | (visible_gt & (est > 0))
            np.testing.assert_array_equal(np.packbits(visible_gt), cases["visib_gt"][i])
            np.testing.assert_array_equal(np.packbits(visible_est), cases["visib_est"][i])


def test_vsd_on_given_depth(vsd_cases, world):
    taus = np.arange(0.05, 0.51, 0.05).round(2)
    for cases in vsd_cases:
        for i, obj_id in enumerate(cases["obj"]):
            (est, gt, test), K, delta = _case(cases, i)
            diameter = world.object(int(obj_id)).diameter_mm
            step = vsd(est, gt, test, K, delta, taus, diameter)
            np.testing.assert_allclose(step, cases["err_step"][i], rtol=0, atol=1e-9)
            linear = vsd(est, gt, test, K, delta, taus, diameter, cost="tlinear")
            np.testing.assert_allclose(linear, cases["err_tlinear"][i], rtol=0, atol=1e-9)
            in_mm = vsd(est, gt, test, K, delta, np.array([20.0]), 1.0)
            np.testing.assert_allclose(in_mm, cases["err_step_mm"][i], rtol=0, atol=1e-9)
            assert cus(est, gt) == pytest.approx(cases["cus"][i], abs=1e-9)


def test_compiled_counts_agree_with_the_reference(vsd_cases, world):
    taus = np.arange(0.05, 0.51, 0.05).round(2)
    for cases in vsd_cases:
        for i, obj_id in enumerate(cases["obj"]):
            (est, gt, test), K, delta = _case(cases, i)
            diameter = world.object(int(obj_id)).diameter_mm
            *far, common, joint, common_all, joint_all = kernels.surface_counts(
                (est, 0, 0), (gt, 0, 0), test, K, delta, diameter, taus
            )
            got = (np.array(far) + joint - common) / joint if joint else np.ones(len(taus))
            np.testing.assert_allclose(got, cases["err_step"][i], rtol=0, atol=1e-9)
            assert 1 - common_all / joint_all == pytest.approx(cases["cus"][i], abs=1e-9)


def test_rasteriser_draws_the_reference_depth(vsd_cases, world):
    common_count = close_count = 0
    for cases in vsd_cases:
        height, width = cases["depth_gt"].shape[1:]
        for i, obj_id in enumerate(cases["obj"]):
            mesh = world.object(int(obj_id)).mesh
            for name in ("est", "gt"):
                patch = rasterize(mesh, cases["K"][i], cases[f"R_{name}"][i], cases[f"t_{name}"][i],
                                  Window.of_image(width, height))  # fmt: skip
                depth, expected = patch.paste(width, height), cases[f"depth_{name}"][i]
                assert ((depth > 0) != (expected > 0)).sum() <= 2
                both = (depth > 0) & (expected > 0)
                common_count += both.sum()
                close_count += (np.abs(depth - expected)[both] <= 0.01).sum()
    assert close_count >= 0.999 * common_count


@pytest.mark.parametrize("backend", ["embree", "warp"])
def test_ray_casters_draw_the_reference_depth(vsd_cases, world, backend):
    common_count = close_count = 0
    for cases in vsd_cases:
        meshes = {int(obj_id): world.object(int(obj_id)).mesh for obj_id in np.unique(cases["obj"])}
        renderer, K = Renderer(meshes, backend=backend), torch.from_numpy(cases["K"])
        for name in ("est", "gt"):
            T = torch.from_numpy(from_rotation_translation(cases[f"R_{name}"], cases[f"t_{name}"]))
            expected = cases[f"depth_{name}"]
            depth = renderer.cast(cases["obj"].tolist(), T, K, expected.shape[1:]).depth.numpy()
            assert ((depth > 0) != (expected > 0)).sum(axis=(1, 2)).max() <= 2
            both = (depth > 0) & (expected > 0)
            common_count += both.sum()
            close_count += (np.abs(depth - expected)[both] <= 0.01).sum()
    assert close_count >= 0.999 * common_count
