"""Reference vectors of SurfEmb: crops (01), warps (02), augmentation (18), renders (04), depth (16)."""

import re

import cv2
import numpy as np
import torch

from pose_models.geometry.transforms import from_rotation_translation
from pose_models.images.augment import debayer, unsharpen
from pose_models.images.crops import Crop, CropJitter
from pose_models.meshes.mesh import Mesh
from pose_models.methods.surfemb.data import to_network
from pose_models.methods.surfemb.depth import corrected_translation, depth_correction, warp_depth
from pose_models.render.raycast import RayCaster
from pose_models.render.renderer import Renderer
from tests.golden.surfemb_vectors import vectors


def test_crops_are_those_of_the_reference(golden_dir):
    for v in vectors(golden_dir, "01_*.npz"):
        for i, mode in enumerate(v["mode"]):
            theta, scale, x, y = v["draws_theta_scale_ox_oy"][i]
            side = int(v["crop_res"][i])
            if mode == 2:
                crop = Crop.from_box(np.round(v["bbox_float"][i]), side, 1.2)
            else:
                crop = Crop.from_mask(v["mask"][i] > 0, side, 1.2, CropJitter(theta, scale, (x, y)))
            np.testing.assert_allclose(crop.M, v["M_crop"][i], atol=1e-9)
            np.testing.assert_allclose(crop.intrinsics(v["K"][i]), v["K_crop"][i], atol=1e-9)
            assert crop.covering_box() == tuple(v["AABB_ltrb"][i])


def test_warps_and_normalisation_are_those_of_the_reference(golden_dir):
    flags = {"nearest": cv2.INTER_NEAREST, "linear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA, "cubic": cv2.INTER_CUBIC}
    limits = {"nearest": (0, 0.98), "linear": (2, 0.995), "area": (2, 0.995), "cubic": (3, 0.99)}
    for v in vectors(golden_dir, "02_*.npz"):
        crop = Crop(v["M"], int(v["crop_res"]))
        for name, flag in flags.items():
            level, share = limits[name]
            difference = np.abs(crop.warp(v["image"], flag).astype(int) - v[f"warp_{name}"])
            assert (difference <= level).mean() >= share, name
        np.testing.assert_allclose(to_network(v["warp_linear"]).numpy(), v["normalised"], atol=1e-5)


def test_demosaicing_and_sharpening_are_those_of_the_reference(golden_dir):
    for v in vectors(golden_dir, "18_*.npz"):
        for name in v.files:
            if found := re.fullmatch(r"debayer_perm(\d)(\d)(\d)_(\w+)", name):
                order = tuple(int(digit) for digit in found.groups()[:3])
                image = debayer(v["image"], order, edge_aware=found[4] == "edgeaware")[2:-2, 2:-2]
                assert np.abs(image.astype(int) - v[name][2:-2, 2:-2]).max() <= 2, name
            elif found := re.fullmatch(r"unsharpen_k(\d+)_s([\d.]+)", name):
                image = unsharpen(v["image"], int(found[1]), float(found[2]))
                assert np.abs(image.astype(int) - v[name]).max() <= 2, name


def test_coordinate_renders_are_those_of_the_reference(golden_dir):
    for v in vectors(golden_dir, "04_*.npz"):
        side = int(v["res"])
        for i in sorted(name.rpartition("_")[2] for name in v.files if name.startswith("vertices_")):
            mesh = Mesh(v[f"vertices_{i}"].astype(np.float64), v[f"faces_{i}"].astype(np.int64))
            pose = from_rotation_translation(v[f"R_{i}"], v[f"t_{i}"][:, 0])
            for mask, depth, coordinates in _renders(mesh, v[f"K_{i}"], pose, side):
                normalised = (coordinates - v[f"offset_{i}"]) / v[f"scale_{i}"]
                expected = v[f"coord_{i}"]
                both = mask & (expected[..., 3] > 0)
                assert both.sum() / (mask | (expected[..., 3] > 0)).sum() >= 0.99
                assert np.percentile(np.abs(normalised - expected[..., :3])[both], 99) <= 1e-4
                assert np.percentile(np.abs(depth - v[f"depth_{i}"])[both], 99) <= 0.05


def _renders(mesh, K, pose, side):
    """Mask, depth and object coordinates by the caster of single meshes and by both back ends of the batched one."""
    caster = RayCaster(mesh)
    hits = caster.cast(K, pose, side, side)
    yield hits.mask, hits.depth, caster.coordinates(hits)
    for backend in ("embree", "warp"):
        renderer = Renderer({1: mesh}, backend=backend)
        got = renderer.cast([1], torch.from_numpy(pose)[None], torch.from_numpy(K)[None], (side, side), pixel_center=0)
        yield got.mask[0].numpy(), got.depth[0].numpy(), renderer.surfaces.coordinates(got)[0].numpy()


def test_depth_correction_is_that_of_the_reference(golden_dir):
    for v in vectors(golden_dir, "16_*.npz"):
        depth = v["depth_raw_uint16"] * float(v["depth_scale"])
        side = len(v["mask_lgts"])
        valid, sensor = warp_depth(depth, v["K"], v["K_crop"], side)
        found = depth_correction(v["depth_render_crop"], valid, sensor, v["query_img"], v["mask_lgts"], v["K_crop"])
        assert (valid == v["depth_valid_crop"]).mean() >= 0.98
        np.testing.assert_allclose(found.weight, v["weight_img"], atol=1e-4 * v["weight_img"].max())
        assert (found.trusted == v["norm_mask"]).mean() >= 0.98
        np.testing.assert_allclose(found.shift_mm, v["depth_adjustment"], atol=0.2)
        np.testing.assert_allclose(found.pixel_xy[::-1], v["ray_yx"], atol=0.05)
        np.testing.assert_allclose(corrected_translation(v["t"], found), v["t_refined"][:, 0], atol=0.2)
