"""The stage on a dataset: groups of any size, images without detections, datasets without symmetries."""

import json

import numpy as np
import pytest

from benchmarks.multiview import boxes
from pose_models.datasets.bop import BopDataset
from pose_models.datasets.estimates import Estimates
from pose_models.files import InputError
from pose_models.multiview.config import MultiviewSettings
from pose_models.multiview.stage import group_count, solve_groups, to_estimates, with_scores_of
from tests.multiview.conftest import write_scenario


@pytest.fixture
def dataset(tmp_path, made):
    """A dataset folder with one scene of four views, and its estimates."""
    candidates, _, truth, K = made
    root = tmp_path / "made"
    write_scenario(root, candidates, truth.T_cam_world, K, with_poses=True)
    scene = root / "test" / "000003"
    scene.mkdir(parents=True)
    (root / "scene_camera.json").rename(scene / "scene_camera.json")
    (root / "candidates.csv").unlink()
    (scene / "scene_gt.json").write_text(json.dumps({str(view): [] for view in range(4)}))
    targets = [{"scene_id": 3, "im_id": view, "obj_id": 1, "inst_count": 1} for view in range(4)]
    (root / "test_targets_bop19.json").write_text(json.dumps(targets))
    n = len(candidates)
    estimates = Estimates(
        np.full(n, 3), candidates.view_id, candidates.obj_id, candidates.score,
        candidates.T_cam_obj[:, :3, :3], candidates.T_cam_obj[:, :3, 3], np.full(n, 0.5),
    )  # fmt: skip
    return BopDataset(root), estimates


@pytest.mark.parametrize(("views", "groups"), [(1, 4), (3, 2), (4, 1), (50, 1)])
def test_groups_of_any_size_work_and_keep_the_candidates(dataset, views, groups):
    settings = MultiviewSettings(views=views)
    assert group_count(*dataset[:1], "test", dataset[1], settings) == groups
    results = solve_groups(dataset[0], "test", dataset[1], settings)
    joined = to_estimates(results, dataset[1])
    found = sum(len(scene.reprojected()) for result in results for scene in result.scenes)
    assert len(joined) == found + len(dataset[1])
    assert (found > 0) == (views > 1)
    np.testing.assert_array_equal(joined.t[found:], dataset[1].t)
    if views > 3:
        assert found >= 4 * 6
        assert joined.score[:found].min() > 1
        times = joined.image_times()
        assert all(0.5 <= seconds < 20 for seconds in times.values())


def test_an_image_without_detections_gets_the_objects_that_the_others_see(dataset):
    bop, estimates = dataset
    others = estimates.take(estimates.im_id != 2)
    settings = MultiviewSettings(views=4, known_cameras=True)
    joined = to_estimates(solve_groups(bop, "test", others, settings), others)
    assert set(joined.im_id.tolist()) <= {0, 1, 2, 3}
    assert (
        to_estimates(solve_groups(bop, "test", estimates.take(np.zeros(0, int)), settings), others.take([])).t.size == 0
    )


def test_a_dataset_without_symmetries_works(dataset):
    bop, estimates = dataset
    path = bop.root / "models" / "models_info.json"
    infos = {k: {n: v for n, v in i.items() if "symm" not in n} for k, i in json.loads(path.read_text()).items()}
    path.write_text(json.dumps(infos))
    plain = estimates.take(np.isin(estimates.obj_id, [i for i, box in boxes().items() if len(box.symmetries) == 1]))
    results = solve_groups(BopDataset(bop.root), "test", plain, MultiviewSettings(views=4, match={"min_inliers": 2}))
    assert sum(len(scene.obj_id) for result in results for scene in result.scenes) >= 2


def test_an_object_without_a_box_is_one_sentence(dataset):
    bop, estimates = dataset
    path = bop.root / "models" / "models_info.json"
    infos = json.loads(path.read_text())
    infos["1"] = {"diameter": infos["1"]["diameter"]}
    path.write_text(json.dumps(infos))
    with pytest.raises(InputError, match="object 1 has no 'min_x'; multi-view needs its box"):
        solve_groups(BopDataset(bop.root), "test", estimates, MultiviewSettings(views=1))


def test_unknown_camera_poses_and_scores_that_are_none_are_refused(dataset):
    bop, estimates = dataset
    path = bop.root / "test" / "000003" / "scene_camera.json"
    cameras = json.loads(path.read_text())
    del cameras["2"]["cam_R_w2c"], cameras["2"]["cam_t_w2c"]
    path.write_text(json.dumps(cameras))
    with pytest.raises(InputError, match="image 2 has no cam_R_w2c"):
        solve_groups(BopDataset(bop.root), "test", estimates, MultiviewSettings(known_cameras=True, views=4))
    negative = Estimates(**{**vars(estimates), "score": estimates.score - 5})
    with pytest.raises(InputError, match="set scores: rank"):
        with_scores_of(negative, MultiviewSettings())
    ranked = with_scores_of(negative, MultiviewSettings(scores="rank")).score
    assert ranked.min() > 0
    assert ranked.max() == 1
    for obj_id in np.unique(estimates.obj_id):
        rows = estimates.obj_id == obj_id
        np.testing.assert_array_equal(np.argsort(ranked[rows]), np.argsort(estimates.score[rows]))
