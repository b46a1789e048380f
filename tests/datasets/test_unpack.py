"""Unpacking: volumes, scenes, refusals before anything is written, damage, kills."""

from __future__ import annotations

import io
import os
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from pose_models.datasets.fetch import Wanted
from pose_models.datasets.install import unpack_part, write_fetched
from pose_models.datasets.transfer import RemoteFile
from pose_models.datasets.unpack import Archive, group_archives, unpack
from pose_models.datasets.zips import open_zip
from pose_models.files import InputError, read_json
from tests.datasets.hub import ROOT, random_files, tree, write_volumes, write_zip

needs_zip = pytest.mark.skipif(shutil.which("zip") is None, reason="needs the program zip (packages-test.txt)")
TRAIN = random_files(0, [f"train_pbr/{s:06d}/rgb/{n:06d}.jpg" for s in range(5) for n in range(60)], 900)


def unpack_files(files: list[Path], folder: Path, workers: int = 1, **options: object) -> None:
    groups, _ = group_archives(files)
    archives = [Archive(group, folder.name, options.get("places", {}), options.get("scenes")) for group in groups]  # type: ignore[arg-type]
    unpack(archives, folder, "test", workers)


@needs_zip
@pytest.mark.parametrize("options", [(), ("-fz",), ("-0",)], ids=["plain", "zip64", "stored"])
def test_volumes_are_read_as_one_file(tmp_path: Path, options: tuple[str, ...]) -> None:
    volumes = write_volumes(tmp_path / "lm_train_pbr.zip", TRAIN, *options)
    assert len(volumes) > 3
    with open_zip(volumes) as archive:
        assert archive.testzip() is None
        assert {i.filename: archive.read(i) for i in archive.infolist() if not i.is_dir()} == TRAIN
    unpack_files(list(reversed(volumes)), tmp_path / "lm", workers=3)
    assert tree(tmp_path / "lm") == TRAIN


@needs_zip
def test_a_missing_volume_is_named(tmp_path: Path) -> None:
    volumes = write_volumes(tmp_path / "lm_train_pbr.zip", TRAIN)
    for missing in (volumes[0], volumes[1]):
        with pytest.raises(InputError, match=f"lm_train_pbr.zip: its volume {missing.name} is missing"):
            open_zip([path for path in volumes if path != missing])
    with pytest.raises(InputError, match=r"z01 is missing"):
        open_zip([path for path in volumes if path.suffix == ".zip"])


def test_the_datasets_own_folder_in_an_archive_and_places_for_others(tmp_path: Path) -> None:
    write_zip(tmp_path / "lm_base.zip", {"lm/camera.json": b"{}", "lm/docs/a.txt": b"a"})
    write_zip(tmp_path / "real.zip", {"real_test/scene_1/0000_color.png": b"b", "other/x": b"c"})
    unpack_files([tmp_path / "lm_base.zip", tmp_path / "real.zip"], tmp_path / "lm", places={"real_test": "Real/test"})
    assert set(tree(tmp_path / "lm")) == {"camera.json", "docs/a.txt", "Real/test/scene_1/0000_color.png", "other/x"}


def test_only_the_chosen_scenes_are_unpacked(tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", {**TRAIN, "train_pbr/readme.txt": b"r"})
    unpack_files([tmp_path / "x.zip"], tmp_path / "lm", scenes={1, 3})
    scenes = {name.split("/")[1] for name in tree(tmp_path / "lm")}
    assert scenes == {"000001", "000003", "readme.txt"}


def hostile(name: str, content: bytes = b"x", mode: int = 0) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("placeholder")
    info.filename, info.create_system, info.external_attr = name, 3, mode << 16
    return info


@pytest.mark.parametrize(
    ("name", "mode", "sentence"),
    [
        ("../outside.txt", 0, "'../outside.txt' would be written outside"),
        ("models/../../outside.txt", 0, "would be written outside"),
        ("/outside.txt", 0, "would be written outside"),
        ("//outside.txt", 0, "would be written outside"),
        ("C:/outside.txt", 0, "would be written outside"),
        ("C:outside.txt", 0, "would be written outside"),
        ("..\\outside.txt", 0, "would be written outside"),
        ("models\\..\\..\\outside.txt", 0, "would be written outside"),
        ("..", 0, "would be written outside"),
        ("link", stat.S_IFLNK | 0o777, "'link' is a link or no ordinary file"),
        ("pipe", stat.S_IFIFO | 0o644, "'pipe' is a link or no ordinary file"),
    ],
)
def test_a_zip_that_would_write_elsewhere_is_refused_before_anything_is_written(
    tmp_path: Path, name: str, mode: int, sentence: str
) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("models/good.ply", b"good")
        archive.writestr(hostile(name, mode=mode), b"../../outside.txt")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=sentence.replace("(", r"\(").replace("..", r"\.\.")):
        unpack_files([tmp_path / "x.zip"], tmp_path / "data" / "lm")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", ["../outside", "/outside", "symlink", "hardlink", "device"])
def test_a_tar_that_would_write_elsewhere_is_refused_too(tmp_path: Path, kind: str) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        good = tarfile.TarInfo("VOCdevkit/good.jpg")
        good.size = 4
        archive.addfile(good, io.BytesIO(b"good"))
        entry = tarfile.TarInfo(kind)
        entry.type = {"symlink": tarfile.SYMTYPE, "hardlink": tarfile.LNKTYPE, "device": tarfile.CHRTYPE}.get(
            kind, b"0"
        )
        entry.linkname = "../../outside"
        archive.addfile(entry)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=r"would be written outside|is a link or no ordinary file"):
        unpack_files([tmp_path / "x.tar"], tmp_path / "data" / "voc2012")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_tar_is_unpacked(tmp_path: Path) -> None:
    files = random_files(0, [f"VOCdevkit/VOC2012/JPEGImages/{n}.jpg" for n in range(5)], 1000)
    for suffix, mode in (("tar", "w"), ("tar.gz", "w:gz")):
        with tarfile.open(tmp_path / f"x.{suffix}", mode) as archive:  # type: ignore[call-overload]
            for name, content in files.items():
                entry = tarfile.TarInfo(f"./{name}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        unpack_files([tmp_path / f"x.{suffix}"], tmp_path / suffix, workers=4)
        assert tree(tmp_path / suffix) == files


def test_damage_is_one_sentence_and_no_file(tmp_path: Path) -> None:
    files = random_files(0, ["models/a.ply", "models/b.ply"], 5000)
    write_zip(tmp_path / "x.zip", files)
    whole = (tmp_path / "x.zip").read_bytes()
    (tmp_path / "x.zip").write_bytes(whole[:2000] + bytes([whole[2000] ^ 255]) + whole[2001:])
    with pytest.raises(InputError, match=r"x\.zip: models/a\.ply: .*; remove the archive and fetch it again"):
        unpack_files([tmp_path / "x.zip"], tmp_path / "lm")
    assert tree(tmp_path / "lm") == {}
    (tmp_path / "x.zip").write_bytes(whole[:-40])
    with pytest.raises(InputError, match="not a readable zip file"):
        unpack_files([tmp_path / "x.zip"], tmp_path / "lm")
    write_zip(tmp_path / "y.zip", {"models": b"file", "models/a.ply": b"x"})
    with pytest.raises(InputError, match="'models' is both a file and a folder"):
        unpack_files([tmp_path / "y.zip"], tmp_path / "lm")
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(tmp_path / "x.zip", "x")
    (tmp_path / "x.tar").write_bytes((tmp_path / "x.tar").read_bytes()[:3000])
    with pytest.raises(InputError, match=r"x\.tar"):
        unpack_files([tmp_path / "x.tar"], tmp_path / "lm")


def test_files_that_are_there_are_kept_when_right_and_replaced_when_not(tmp_path: Path) -> None:
    files = random_files(0, ["models/a.ply", "models/b.ply"], 5000)
    write_zip(tmp_path / "x.zip", files)
    unpack_files([tmp_path / "x.zip"], tmp_path / "lm")
    kept = (tmp_path / "lm/models/a.ply").stat().st_ino
    (tmp_path / "lm/models/b.ply").write_bytes(b"?" * 5000)
    unpack_files([tmp_path / "x.zip"], tmp_path / "lm")
    assert (tmp_path / "lm/models/a.ply").stat().st_ino == kept
    assert tree(tmp_path / "lm") == files


def fetched(tmp_path: Path, part: str, *paths: Path) -> None:
    """Record that a part of `lm` was fetched, whose archives lie where they lie."""
    wanted = [Wanted(part, RemoteFile(path.name, ""), path, True) for path in paths]
    write_fetched(tmp_path / "data", "lm", part, wanted)


def test_archives_of_one_s_own_folder_are_removed_on_request_and_others_never(tmp_path: Path) -> None:
    own, other = tmp_path / "data/lm/archives/lm_models.zip", tmp_path / "mirror/lm_train_pbr.zip"
    for path in (own, other):
        path.parent.mkdir(parents=True)
    write_zip(own, {"models/obj_000001.ply": b"x"})
    write_zip(other, TRAIN)
    for part, path in (("models", own), ("train_pbr", other)):
        fetched(tmp_path, part, path)
        unpack_part(tmp_path / "data", "lm", part, None, 1, keep_archives=False)
    assert not own.exists()
    assert other.exists()
    record = read_json(tmp_path / "data/lm/archives/train_pbr.unpacked.json")
    assert (record["files"], record["bytes"], record["scenes"]) == (300, 300 * 900, None)


def count(folder: Path) -> int:
    """Number of files, also while others come and go."""
    return sum(len(files) for _, _, files in os.walk(folder))


def test_an_unpacking_killed_at_random_points_ends_with_the_right_bytes(tmp_path: Path) -> None:
    files = {f"train_pbr/{n // 400:06d}/mask/{n:06d}.png": b"%06d" % n * 5 for n in range(4000)}
    write_zip(tmp_path / "lm_train_pbr.zip", files)
    fetched(tmp_path, "train_pbr", tmp_path / "lm_train_pbr.zip")
    root = tmp_path / "data"
    arguments = ["--dataset", "lm", "--part", "train_pbr", "--root", str(root), "--workers", "2"]
    command = [sys.executable, str(ROOT / "workflow_scripts/unpack_dataset.py"), *arguments]
    seen = []
    for kill in range(4):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
        while process.poll() is None and count(root / "lm/train_pbr") < 800 * (kill + 1):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        seen.append(count(root / "lm/train_pbr"))
        time.sleep(0.1)  # its workers end with what they are at
        assert all(content == files[name] for name, content in tree(root / "lm").items())
        assert not (root / "lm/archives/train_pbr.unpacked.json").exists() or seen[-1] == len(files)
    assert subprocess.run(command, capture_output=True, cwd=ROOT, check=False).returncode == 0
    assert seen[0] < len(files), "it was never interrupted"
    assert tree(root / "lm") == files
    assert not list(root.glob("lm/.unpacking*"))


def test_a_worker_that_is_killed_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_zip(tmp_path / "x.zip", {**TRAIN})
    write = Archive.write

    def killed(self: Archive, member: tuple[str, int, int], folder: Path, staging: Path) -> None:
        if "000004" in member[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        write(self, member, folder, staging)

    monkeypatch.setattr(Archive, "write", killed)
    with pytest.raises(InputError, match="a process that unpacked it was killed"):
        unpack_files([tmp_path / "x.zip"], tmp_path / "lm", workers=2)


def test_files_that_are_data_themselves_are_put_in_place(tmp_path: Path) -> None:
    clip = tmp_path / "data/hot3d/archives/test_aria/clip-003365.tar"
    clip.parent.mkdir(parents=True)
    clip.write_bytes(b"a tar that stays one")
    wanted = [Wanted("test_aria", RemoteFile("test_aria/clip-003365.tar", ""), clip, False)]
    write_fetched(tmp_path / "data", "hot3d", "test_aria", wanted)
    unpack_part(tmp_path / "data", "hot3d", "test_aria", None, 1, keep_archives=False)
    assert (tmp_path / "data/hot3d/test_aria/clip-003365.tar").read_bytes() == b"a tar that stays one"
    assert not clip.exists()
