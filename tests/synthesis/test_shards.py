"""Shards by several processes: same bytes for any number, also when one is killed; what fails is said in a sentence."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from pose_models.files import InputError
from pose_models.memory import KEEP_MEMORY
from pose_models.settings import validate
from pose_models.synthesis.config import PRESETS, SceneSettings
from pose_models.synthesis.scenes import Recipe
from pose_models.synthesis.shards import write_scene

SMALL = {"width": 160, "height": 120, "instances": [3, 4], "images_per_arrangement": 6}


def _recipe(demo_folder, **changes):
    settings = validate(SceneSettings, {**PRESETS["train"], **SMALL}, "test")
    folders = (demo_folder / "models", demo_folder / "models_collision", demo_folder / "camera.json")
    return Recipe(*folders, settings, seed=0, scene_number=3, **changes)


def _files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _workers(parent):
    """Process ids of the processes that dask has spawned below a process and that do the work."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            is_child = entry.name.isdigit() and f"\nPPid:\t{parent}\n" in (entry / "status").read_text()
            if is_child and b"spawn_main" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue  # it has just ended
    return found


def test_bytes_do_not_depend_on_workers_even_when_one_is_killed(demo_folder, tmp_path):
    recipe, images, environment = _recipe(demo_folder), 40, dict(os.environ)
    write_scene(tmp_path / "one", recipe, images)
    killed, surroundings = [], []

    def kill_one_in_the_middle():
        end = time.monotonic() + 60
        while time.monotonic() < end and not killed:
            if len(list((tmp_path / "two").glob("rgb/*.jpg"))) >= 3:
                for process in _workers(os.getpid())[:1]:
                    surroundings.append(Path(f"/proc/{process}/environ").read_bytes().split(b"\0"))
                    os.kill(process, signal.SIGKILL)
                    killed.append(process)
            time.sleep(0.01)

    killer = threading.Thread(target=kill_one_in_the_middle)
    killer.start()
    write_scene(tmp_path / "two", recipe, images, workers=2)
    killer.join()
    assert killed
    # By dask's own default workers give freed memory back at once, and pictures take half as long again.
    assert {f"{name}={value}".encode() for name, value in KEEP_MEMORY.items()} <= set(surroundings[0])
    assert os.environ == environment  # that was for the workers, not for whatever this process starts later
    one = _files(tmp_path / "one")
    assert one == _files(tmp_path / "two")
    assert sum(name.startswith("rgb/") for name in one) == images
    assert not _workers(os.getpid())


def test_what_is_wrong_with_the_input_is_said_before_workers_start(demo_folder, tmp_path):
    with pytest.raises(InputError, match="textures: folder of images not found"):
        write_scene(tmp_path / "a", _recipe(demo_folder, textures=tmp_path / "textures"), 4, workers=2)
    (tmp_path / "textures").mkdir()
    with pytest.raises(InputError, match=r"textures: no \.jpg or \.png file"):
        write_scene(tmp_path / "b", _recipe(demo_folder, textures=tmp_path / "textures"), 4, workers=2)
