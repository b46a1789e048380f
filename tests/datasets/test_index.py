"""Annotations as arrays: equal to the JSON, kept in the cache, made again when the JSON changes, safe side by side."""

import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from pose_models.datasets import index
from pose_models.datasets.arrays import cache_path, cached_arrays, map_cached
from pose_models.datasets.bop import BopDataset, BopScene, prepare_scenes
from pose_models.datasets.index import CAMERA, INFOS, INSTANCES
from pose_models.files import InputError

ROOT = Path(__file__).resolve().parents[2]
IMAGES, PER_IMAGE = 30, 7


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """A cache folder of the test's own; even tiny files are kept in it."""
    monkeypatch.setenv("BOPFLOW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(index, "CACHED_BYTES", 0)
    return tmp_path / "cache"


def content(seed: int) -> dict[str, dict]:
    rng = np.random.default_rng(seed)
    keys = [str(3 * n) for n in rng.permutation(IMAGES)]  # neither sorted nor without gaps
    counts = rng.integers(0, PER_IMAGE + 1, IMAGES)

    def numbers(size: int) -> list[float]:
        return rng.standard_normal(size).tolist()

    def box() -> list[int]:
        return rng.integers(-1, 600, 4).tolist()

    camera = {
        key: {"cam_K": numbers(9), "depth_scale": float(rng.uniform()), "view_level": 2}
        | ({"cam_R_w2c": numbers(9), "cam_t_w2c": numbers(3)} if n % 2 else {})
        for n, key in enumerate(keys)
    }
    gt = {
        key: [
            {"cam_R_m2c": numbers(9), "cam_t_m2c": numbers(3), "obj_id": int(rng.integers(1, 30))} for _ in range(count)
        ]
        for key, count in zip(keys, counts, strict=True)
    }
    infos = {
        key: [
            {f"px_count_{name}": int(rng.integers(9999)) for name in ("all", "valid", "visib")}
            | {"visib_fract": float(rng.uniform()), "bbox_obj": box(), "bbox_visib": box()}
            for _ in range(count)
        ]
        for key, count in zip(keys, counts, strict=True)
    }
    return {"camera": camera, "gt": gt, "gt_info": infos}


def write_scene(folder: Path, written: dict[str, dict]) -> BopScene:
    folder.mkdir(parents=True, exist_ok=True)
    for name, entries in written.items():
        (folder / f"scene_{name}.json").write_text(json.dumps(entries))
    return BopScene(folder)


def check(scene: BopScene, written: dict[str, dict]) -> None:
    """Everything that the scene gives is what the JSON says, in its order and to the last bit."""
    assert list(scene.cameras) == list(scene.ground_truth) == [int(key) for key in written["camera"]]
    for key, entry in written["camera"].items():
        camera = scene.camera(int(key))
        assert camera.K.ravel().tolist() == entry["cam_K"]
        assert camera.depth_scale == entry["depth_scale"]
        if "cam_R_w2c" in entry:
            assert camera.T_cam_world[:3, :3].ravel().tolist() == entry["cam_R_w2c"]
            assert camera.T_cam_world[:3, 3].tolist() == entry["cam_t_w2c"]
        else:
            assert camera.T_cam_world is None
    for key, entries in written["gt"].items():
        instances = scene.ground_truth[int(key)]
        assert [(i.gt_id, i.obj_id) for i in instances] == [(n, e["obj_id"]) for n, e in enumerate(entries)]
        for found, entry in zip(instances, entries, strict=True):
            assert found.T_cam_obj[:3, :3].ravel().tolist() == entry["cam_R_m2c"]
            assert found.T_cam_obj[:3, 3].tolist() == entry["cam_t_m2c"]
            assert found.T_cam_obj[3].tolist() == [0, 0, 0, 1]
    for key, entries in written["gt_info"].items():
        for found, entry in zip(scene.ground_truth_info[int(key)], entries, strict=True):
            assert vars(found) == entry | {name: tuple(entry[name]) for name in ("bbox_obj", "bbox_visib")}


def test_tables_hold_what_the_json_says(tmp_path, cache):
    written = content(0)
    scene = write_scene(tmp_path / "000001", written)
    check(scene, written)
    assert len(list(cache.rglob("*.arrays"))) == 3
    check(BopScene(scene.path), written)  # from the cache


def test_reopening_does_not_read_the_json(tmp_path, monkeypatch):
    written = content(1)
    write_scene(tmp_path / "000001", written)
    check(BopScene(tmp_path / "000001"), written)
    monkeypatch.setattr(index, "parse_file", lambda kind, file: pytest.fail(f"{file} was parsed again"))
    check(BopScene(tmp_path / "000001"), written)


def test_changed_json_is_read_again(tmp_path):
    check(write_scene(tmp_path / "000001", content(2)), content(2))
    check(write_scene(tmp_path / "000001", content(3)), content(3))


def test_same_size_and_another_time_is_a_change(tmp_path):
    scene = write_scene(tmp_path / "000001", {"gt": {"0": [instance(1)]}})
    assert scene.ground_truth[0][0].obj_id == 1
    file, before = scene.path / "scene_gt.json", (scene.path / "scene_gt.json").stat()
    write_scene(tmp_path / "000001", {"gt": {"0": [instance(2)]}})
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert file.stat().st_size == before.st_size
    assert BopScene(scene.path).ground_truth[0][0].obj_id == 2


def instance(obj_id: int, **changes: object) -> dict[str, object]:
    return {"cam_R_m2c": [1, 0, 0, 0, 1, 0, 0, 0, 1], "cam_t_m2c": [0, 0, 500], "obj_id": obj_id} | changes


def test_cut_or_foreign_cache_files_are_made_again(tmp_path, cache):
    written = content(4)
    scene = write_scene(tmp_path / "000001", written)
    check(scene, written)
    for damage in (lambda b: b[:-1], lambda b: b[: len(b) // 3], lambda b: b"", lambda b: b"not ours\n" + b):
        for file in cache.rglob("*.arrays"):
            file.write_bytes(damage(file.read_bytes()))
        check(BopScene(scene.path), written)


def test_without_a_writable_cache_annotations_stay_in_memory(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("BOPFLOW_CACHE", str(tmp_path / "file"))
    written = content(5)
    check(write_scene(tmp_path / "000001", written), written)
    assert "BOPFLOW_CACHE" in caplog.text


def test_small_files_are_not_kept(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(index, "CACHED_BYTES", 1_000_000)
    check(write_scene(tmp_path / "000001", content(6)), content(6))
    assert not cache.exists()


@pytest.mark.parametrize(
    ("name", "entry", "sentence"),
    [
        (
            "gt",
            [instance(1), {"cam_R_m2c": [1] * 9, "cam_t_m2c": [0, 0, 1]}],
            "image 7, instance 1 has no key 'obj_id'",
        ),
        ("gt", [instance(1, cam_R_m2c=[1, 2, 3])], "image 7, instance 0: 'cam_R_m2c' must be 9 finite numbers"),
        ("gt", [instance(1, cam_t_m2c=[0, 0, float("nan")])], "'cam_t_m2c' must be 3 finite numbers"),
        ("gt", [instance(1, cam_t_m2c=["a", 0, 0])], "'cam_t_m2c' is not a list of numbers"),
        ("gt", [instance(1.5)], "'obj_id' is not a whole number"),
        ("gt", {"obj_id": 1}, "image 7 is no JSON list"),
        ("gt_info", [{"px_count_all": 1}], "image 7, instance 0 has no key 'px_count_valid'"),
        ("camera", {"depth_scale": 1}, "image 7 has no key 'cam_K'"),
        ("camera", {"cam_K": [1] * 8}, "image 7: 'cam_K' must be 9 finite numbers"),
        ("camera", {"cam_model": {"projection_params": [1, 2]}}, "'cam_model' has no key 'image_width'"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_kept(tmp_path, cache, name, entry, sentence):
    scene = write_scene(tmp_path / "000001", content(0) | {name: {"7": entry}})
    kind = {"camera": CAMERA, "gt": INSTANCES, "gt_info": INFOS}[name]
    with pytest.raises(InputError) as error:
        scene.table(kind)
    assert str(error.value).startswith(str(scene.path / f"scene_{name}.json"))
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(cache.rglob("*.arrays"))


def test_unusual_but_right_json_gives_the_same_numbers(tmp_path):
    nested = instance(3, cam_R_m2c=[[1, 0, 0], [0, 1, 0], [0, 0, 1]], extra={"a": None})
    scene = write_scene(tmp_path / "000001", {"gt": {"0": [nested, instance(4)]}})
    first, second = scene.ground_truth[0]
    assert (first.T_cam_obj == second.T_cam_obj).all()


def test_visibility_in_another_order_is_put_into_that_of_the_instances(tmp_path):
    written = content(7)
    shuffled = dict(sorted(written["gt_info"].items()))
    scene = write_scene(tmp_path / "000001", written | {"gt_info": shuffled})
    check(scene, written)
    assert (scene.info_table.first == scene.table(INSTANCES).first).all()


def test_missing_visibility_is_named(tmp_path):
    written = content(8)
    victim = next(key for key, entries in written["gt_info"].items() if entries)
    written["gt_info"][victim] = written["gt_info"][victim][:-1]
    scene = write_scene(tmp_path / "000001", written)
    with pytest.raises(InputError, match=f"image {victim} has not as many entries as scene_gt.json"):
        scene.ground_truth_info  # noqa: B018


def _read_at_once(path: Path, barrier: object, results: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    scene = BopScene(path)
    total = sum(float(i.T_cam_obj.sum()) for instances in scene.ground_truth.values() for i in instances)
    results.put(total)  # type: ignore[attr-defined]


@pytest.mark.parametrize("workers", [threading.Thread, multiprocessing.get_context("fork").Process])
def test_many_readers_that_build_at_once_see_the_same(tmp_path, cache, workers):
    context = multiprocessing.get_context("fork")
    scene = write_scene(tmp_path / "000001", content(9))
    barrier, results = context.Barrier(6), context.Queue()
    if workers is threading.Thread:
        barrier = threading.Barrier(6)
    running = [workers(target=_read_at_once, args=(scene.path, barrier, results)) for _ in range(6)]
    for worker in running:
        worker.start()
    totals = {results.get(timeout=30) for _ in running}
    for worker in running:
        worker.join()
    assert len(totals) == 1
    assert len(list(cache.rglob("*"))) == 2  # the folder and the file: no leftovers


def test_preparing_builds_all_scenes_in_processes(tmp_path, monkeypatch):
    scenes = [write_scene(tmp_path / "train" / f"{n:06d}", content(n)) for n in range(4)]
    prepare_scenes(scenes, workers=2)
    monkeypatch.setattr(index, "parse_file", lambda kind, file: pytest.fail(f"{file} was parsed again"))
    dataset = BopDataset(tmp_path)
    for scene_id in dataset.scene_ids("train"):
        check(dataset.scene("train", scene_id), content(scene_id))


def test_preparing_names_the_wrong_scene(tmp_path):
    scenes = [write_scene(tmp_path / "train" / f"{n:06d}", content(n)) for n in range(3)]
    write_scene(scenes[1].path, {"gt": {"0": [instance(1, cam_t_m2c=[0])]}})
    with pytest.raises(InputError, match=r"000001/scene_gt.json: image 0, instance 0: 'cam_t_m2c'"):
        prepare_scenes(scenes, workers=2)


def test_a_spawned_worker_gets_a_path_and_not_the_annotations(tmp_path):
    scene = write_scene(tmp_path / "000001", content(0))
    check(scene, content(0))
    packed = pickle.dumps(scene)
    assert len(packed) < 500
    check(pickle.loads(packed), content(0))


def test_a_killed_writer_leaves_no_file_that_is_taken_for_whole(tmp_path, cache):
    script = (
        "import os, signal, numpy as np\n"
        "from pathlib import Path\n"
        "from pose_models.datasets import arrays\n"
        "class Bomb(dict):\n"
        "    def values(self):\n"
        "        yield np.zeros(1000)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        f"arrays.write_arrays(Path({str(cache / 'x.arrays')!r}), 1, Bomb(a=np.zeros(1000), b=np.ones(1000)))\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False)
    assert killed.returncode == -9
    assert map_cached(cache / "x.arrays", 1) is None
    kept = cached_arrays(cache / "x.arrays", 1, lambda: {"a": np.arange(3), "b": np.zeros((0, 4))})
    assert kept["a"].tolist() == [0, 1, 2]
    assert kept["b"].shape == (0, 4)
    assert [path.name for path in cache.iterdir()] == ["x.arrays"]  # what the killed one left is gone


def test_caches_of_two_places_do_not_meet(tmp_path):
    assert cache_path("gt", tmp_path / "a") != cache_path("gt", tmp_path / "b")
