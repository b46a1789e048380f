"""From boxes to poses: inference as a program, on images in memory, with released weights."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from pose_models.datasets.bop import BopScene
from pose_models.datasets.estimates import read_estimates, write_estimates
from pose_models.detections.coco import read_detections
from pose_models.files import InputError
from pose_models.geometry.transforms import rotation_angle
from pose_models.methods.api import from_checkpoint
from pose_models.methods.cosypose.api import CosyPose
from pose_models.methods.cosypose.config import CosyPoseSettings
from pose_models.methods.cosypose.model import CosyPoseModule, load_model, save_model
from pose_models.methods.cosypose.released import read_released, released_modules, released_name
from pose_models.methods.passes import read_passes
from pose_models.settings import resolve
from tests.methods.conftest import SCRIPTS, run
from tests.methods.cosypose.conftest import UNTRAINED

CONFIG = """!!python/object:argparse.Namespace
backbone_str: efficientnet-b3
n_pose_dims: 9
train_coarse: {coarse}
train_refiner: {refiner}
init_method: z-up+auto-depth
input_resize: !!python/tuple [540, 720]
"""


def infer(small, checkpoint, out, *overrides):
    inputs = ("--dataset", small, "--detections", small / "simulated.json", "--surface", small / "surface")
    arguments = ("--checkpoint", checkpoint, *inputs, "--out", out, "--device", "cpu")
    return ("infer.py", "--family", "cosypose", "--set", *UNTRAINED, *overrides, *arguments)


def test_every_detection_gets_a_pose_and_all_passes_are_kept(small, untrained, tmp_path):
    for name in ("a", "b"):
        run(*infer(small, untrained, tmp_path / name / "estimates.csv", "infer.batch_size=2"))
    assert (tmp_path / "a" / "settings.json").read_bytes() == (tmp_path / "b" / "settings.json").read_bytes()
    first, second = (read_estimates(tmp_path / name / "estimates.csv") for name in ("a", "b"))
    np.testing.assert_array_equal(first.t, second.t)
    passes = np.load(tmp_path / "a" / "poses.npz")
    found = read_detections(small / "simulated.json")
    assert passes["T"].shape == (len(passes["index"]), 6, 4, 4)  # first pose, 1 coarse, 4 refiner passes
    assert len(first) == len(passes["index"]) <= len(found)
    assert set(first.score.tolist()) <= set(found.score.tolist())
    np.testing.assert_allclose(passes["T"][:, -1, :3, 3], first.t)
    assert {"seconds_start", "seconds_coarse", "seconds_refiner"} < set(passes.files)
    read = read_passes(tmp_path / "a" / "poses.npz")
    assert read.names == ("start", "coarse 1", "refiner 1", "refiner 2", "refiner 3", "refiner 4")
    assert {tuple(box) for box in read.bbox_xywh} <= {tuple(box) for box in found.bbox_xywh}


def test_the_first_pose_lies_behind_the_box_and_as_far_as_its_size_says(small, untrained, tmp_path):
    run(*infer(small, untrained, tmp_path / "estimates.csv", "infer.coarse_iterations=0", "infer.refiner_iterations=0"))
    estimates, found = read_estimates(tmp_path / "estimates.csv"), read_detections(small / "simulated.json")
    scene = BopScene(small / "test" / "000001")
    for i in range(len(estimates)):
        K = scene.camera(int(estimates.im_id[i])).K
        u, v, _ = K @ (estimates.t[i] / estimates.t[i, 2])
        centers = found.bbox_xywh[:, :2] + found.bbox_xywh[:, 2:] / 2
        assert np.abs(centers - [u, v]).max(axis=1).min() < 0.1
    truths = np.array([t.T_cam_obj[2, 3] for im in scene.image_ids for t in scene.ground_truth[im]])
    assert 0.5 < np.median(estimates.t[:, 2]) / np.median(truths) < 2


def test_another_network_than_the_runs_is_refused(small, untrained, tmp_path):
    arguments = infer(small, untrained, tmp_path / "estimates.csv", "network.width=128")
    command = [sys.executable, str(SCRIPTS / arguments[0]), *map(str, arguments[1:])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "network.width=64, the run has 128" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def estimator(untrained):
    return CosyPose.from_checkpoint(untrained, device="cpu")


def test_poses_of_images_in_memory(estimator, untrained, view):
    image, K, boxes, obj_ids, depth = view
    first, second = (estimator.estimate(image, K, boxes, obj_ids, scores=[0.5, 0.25]) for _ in range(2))
    assert [e.obj_id for e in first] == obj_ids
    assert [e.score for e in first if e.found] == [s for e, s in zip(first, (0.5, 0.25), strict=True) if e.found]
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.T_cam_obj, b.T_cam_obj)
        assert set(a.times) == {"start", "coarse", "refiner"}
    assert estimator.estimate(image, K, np.zeros((0, 4)), []) == []
    assert type(from_checkpoint(untrained, device="cpu")) is CosyPose
    with pytest.raises(InputError, match="CosyPose does not use it"):
        estimator.estimate(image, K, boxes, obj_ids, depth)
    with pytest.raises(InputError, match="object 99 is not among"):
        estimator.estimate(image, K, boxes, [99, 99])


def test_poses_can_be_refined_alone(untrained, view):
    image, K, boxes, obj_ids, _ = view
    unchanged = CosyPose.from_checkpoint(
        untrained, device="cpu", settings={"coarse_iterations": 0, "refiner_iterations": 0}
    )
    refiner = CosyPose.from_checkpoint(untrained, device="cpu", settings={"coarse_iterations": 0})
    T = np.eye(4) + np.zeros((2, 4, 4))
    T[:, :3, 3] = [[10, 20, 600], [-30, 0, 500]]
    kept = unchanged.estimate(image, K, boxes, obj_ids, poses=T)
    np.testing.assert_allclose([e.T_cam_obj for e in kept], T, atol=1e-4)
    for e, start in zip(refiner.estimate(image, K, boxes, obj_ids, poses=T), T, strict=True):
        assert rotation_angle(e.T_cam_obj[:3, :3]) > 0  # an untrained network changes a little
        assert np.linalg.norm(e.T_cam_obj[:3, 3] - start[:3, 3]) < 300


def test_estimates_of_any_method_are_refined_from_a_file(small, untrained, tmp_path):
    """As if the passes had started there; order and scores stay, times add up."""
    given, out = tmp_path / "given.csv", tmp_path / "out" / "estimates.csv"
    moving = tmp_path / "model.ckpt"
    model = CosyPoseModule(resolve(CosyPoseSettings, [*UNTRAINED, "network.backbone=resnet18"]), [1, 2, 3])
    torch.nn.init.constant_(model.networks["refiner"].pose_fc.bias, 0.3)
    save_model(moving, model)
    run(*infer(small, untrained, given, "infer.coarse_iterations=0", "infer.refiner_iterations=0"))
    start = read_estimates(given)
    start = start.take(np.arange(len(start))[::-1])
    write_estimates(given, start)
    arguments = ("--dataset", small, "--estimates", given, "--checkpoint", moving, "--device", "cpu", "--out", out)
    run("refine_render.py", *arguments, "--set", "passes=2")
    refined = read_estimates(out)
    for name in ("scene_id", "im_id", "obj_id", "score"):
        np.testing.assert_array_equal(getattr(refined, name), getattr(start, name))
    assert (refined.time > start.time).all()
    passes = read_passes(out.parent / "poses.npz")
    assert passes.names == ("start", "refiner 1", "refiner 2")
    for column, estimates in ((0, start), (-1, refined)):
        assert {*map(tuple, passes.T_cam_obj[:, column, :3, 3].round(1))} == {*map(tuple, estimates.t.round(1))}
    settings = {"coarse_iterations": 0, "refiner_iterations": 2}
    estimator = CosyPose.from_checkpoint(moving, models=small / "models", device="cpu", settings=settings)
    T = np.tile(np.eye(4), (len(start), 1, 1))
    T[:, :3, :3], T[:, :3, 3] = start.R, start.t
    scene = BopScene(small / "test" / f"{start.scene_id[0]:06d}")
    for row, im_id in enumerate(start.im_id.tolist()):
        image, K, obj_ids = scene.rgb(im_id), scene.camera(im_id).K, [int(start.obj_id[row])]
        (expected,) = estimator.estimate(image, K, [[0, 0, 9, 9]], obj_ids, poses=T[row : row + 1])
        np.testing.assert_allclose(refined.t[row], expected.T_cam_obj[:3, 3], atol=1e-2)
        assert np.linalg.norm(refined.t[row] - start.t[row]) > 1
    wrong = [sys.executable, str(SCRIPTS / "refine_render.py"), *map(str, arguments), "--set", "pases=2"]
    done = subprocess.run(wrong, capture_output=True, text=True, check=False)
    assert "pases is not a known key; did you mean 'passes'?" in done.stderr


def test_a_missing_network_is_one_sentence(small, tmp_path):
    model = CosyPoseModule(resolve(CosyPoseSettings, [*UNTRAINED, "network.stages=[refiner]"]), [1, 2, 3])
    save_model(tmp_path / "model.ckpt", model)
    with pytest.raises(InputError, match=r"no coarse network; set infer\.coarse_iterations=0"):
        CosyPose.from_checkpoint(tmp_path / "model.ckpt", models=small / "models", device="cpu")


def released(folder, stage, damage=None):
    """Files as the authors give them out, of a network with random weights; returns checkpoint and network."""
    network = CosyPoseModule(resolve(CosyPoseSettings, [f"network.stages=[{stage}]"]), [1]).networks[stage]
    modules, state = released_modules(), {}
    for name, tensor in network.state_dict().items():
        part, _, inner = name.partition(".")
        theirs = f"backbone.{released_name(inner, modules)}" if part == "backbone" else name
        if not theirs.endswith("None"):
            state[theirs] = tensor
    if damage:
        damage(state)
    folder.mkdir()
    torch.save({"state_dict": state, "epoch": 700}, folder / "checkpoint.pth.tar")
    (folder / "config.yaml").write_text(CONFIG.format(coarse=stage == "coarse", refiner=stage == "refiner"))
    return folder / "checkpoint.pth.tar", network


def test_released_weights_are_imported_exactly(small, tmp_path):
    coarse, _ = released(tmp_path / "coarse", "coarse")
    refiner, network = released(tmp_path / "refiner", "refiner")
    out = tmp_path / "model.ckpt"
    done = run(
        "import_cosypose.py", "--coarse", coarse, "--refiner", refiner, "--models", small / "models", "--out", out
    )
    assert "render_center: 0.5" in done.stdout
    model = load_model(out)
    assert model.settings.network.start == "upright"
    pairs = torch.rand(1, 6, 240, 320)
    with torch.no_grad():
        imported, given = (n.pose_fc(n.backbone(pairs).mean(dim=(2, 3)))
                           for n in (model.networks["refiner"], network.eval()))  # fmt: skip
        torch.testing.assert_close(imported, given, rtol=0, atol=0)


def test_released_weights_that_do_not_fit_are_refused(tmp_path):
    def without(state):
        del state["backbone._blocks.3._se_expand.bias"]

    def with_more(state):
        state["backbone._blocks.26._bn2.weight"] = torch.zeros(3)

    for number, (damage, name) in enumerate(((without, "3._se_expand.bias"), (with_more, "26._bn2.weight"))):
        path, _ = released(tmp_path / str(number), "refiner", damage)
        with pytest.raises(InputError, match=name.replace(".", r"\.")):
            read_released({"refiner": path}, [1])
    with pytest.raises(InputError, match="train_coarse is false"):
        read_released({"coarse": path}, [1])
    shutil.copy(path.with_name("config.yaml"), path)
    with pytest.raises(InputError, match="unreadable checkpoint"):
        read_released({"refiner": path}, [1])
