"""Fetching from a real server that goes wrong, by programs that are killed: the right bytes, or one sentence."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pose_models.datasets.transfer import Patience, RemoteFile, download
from pose_models.files import InputError, file_digest
from tests.datasets.hub import Hub, random_files, small_tudl, tree, write_zip

pytestmark = pytest.mark.skipif(shutil.which("zip") is None, reason="needs the program zip (packages-test.txt)")
QUICK = Patience(retries=3, wait_s=0.01, longest_s=0.05)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    (tmp_path / "hub").mkdir()
    server = Hub(tmp_path / "hub")
    yield server
    server.close()


def errors(result: subprocess.CompletedProcess[str]) -> list[str]:
    assert "Traceback" not in result.stderr, result.stderr
    return [line for line in result.stderr.splitlines() if line.startswith("error: ")]


def archives_are_right(root: Path, hub: Hub, name: str) -> None:
    """Every archive that has its final name has the publisher's bytes."""
    for path in (root / name / "archives").glob("[!.]*.z*"):
        assert path.read_bytes() == (hub.repository(name) / path.name).read_bytes(), path


def test_a_dataset_is_planned_fetched_verified_locked_and_unpacked(hub: Hub, tmp_path: Path) -> None:
    expected = small_tudl(hub)
    result = hub.fetch(tmp_path / "data", "tudl")
    assert result.returncode == 0, result.stderr
    assert tree(tmp_path / "data/tudl") == expected
    assert "TU Dresden Light (tudl), licence: cc-by-4.0" in result.stdout
    assert result.stdout.count("licence") == 1
    assert (tmp_path / "data/tudl/archives/licence.txt").read_text() == "cc-by-4.0\n"
    assert "HTTP Request" not in result.stderr
    assert "to download" in result.stdout
    assert "free" in result.stdout
    lock = json.loads((tmp_path / "data/tudl/archives/lock.json").read_text())
    assert lock["files"]["tudl_models.zip"]["sha256"] == file_digest(hub.repository("tudl") / "tudl_models.zip")
    assert len(lock["revision"]) == 40
    assert {r["Authorization"] for r in hub.requests() if "/api/datasets" in str(r["path"])} == {"Bearer hf_secret"}
    before = len(hub.requests())
    again = hub.fetch(tmp_path / "data", "tudl")
    assert "nothing to do" in again.stdout
    assert len(hub.requests()) == before


def test_only_the_parts_and_scenes_asked_for_are_fetched(hub: Hub, tmp_path: Path) -> None:
    expected = small_tudl(hub)
    result = hub.fetch(
        tmp_path / "data", "tudl", "--parts", "models", "train_pbr", "--scenes", "0-1 4", "--remove-archives"
    )
    assert result.returncode == 0, result.stderr
    kept = ("models/", "train_pbr/000000/", "train_pbr/000001/", "train_pbr/000004/")
    assert tree(tmp_path / "data/tudl") == {
        name: content for name, content in expected.items() if name.startswith(kept)
    }
    fetched = {Path(str(request["path"])).stem for request in hub.content_requests()}
    assert fetched == {"tudl_models", "tudl_train_pbr"}
    assert list((tmp_path / "data/tudl/archives").glob("[!.]*.z*")) == []
    more = hub.fetch(tmp_path / "data", "tudl", "--parts", "train_pbr")  # more scenes: the archive is needed again
    assert more.returncode == 0, more.stderr
    assert {n for n in tree(tmp_path / "data/tudl") if n.startswith("train")} == {
        n for n in expected if n.startswith("train")
    }


def test_a_fetch_killed_at_random_points_ends_with_the_right_bytes(hub: Hub, tmp_path: Path) -> None:
    expected = small_tudl(hub)
    hub.go_wrong({"/content/": ["*slow:0.02"]})
    root, draw, kills = tmp_path / "data", random.Random(0), 0
    command = hub.command(
        "fetch_dataset.py", "--dataset", "tudl", "--root", str(root), "--wait-s", "0.01", "--workers", "2"
    )
    stopped_in: set[str] = set()
    while kills < 22:
        process = subprocess.Popen(
            command, env=hub.environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert process.stdout is not None
        if draw.random() < 0.9:  # wait for the plan, which comes last before the transfer
            while (line := process.stdout.readline()) and not line.startswith("to download"):
                pass
        time.sleep(draw.random() * 0.35)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            stopped_in |= {"transfer"} if list(root.glob("tudl/archives/.tudl_*.part")) else set()
            stopped_in |= {"unpacking"} if list(root.glob("tudl/.unpacking*/*.part")) else set()
            archives_are_right(root, hub, "tudl")
            assert all(content == expected[name] for name, content in tree(root / "tudl").items())
        else:  # it was through before it was killed: the next round starts from nothing
            assert process.returncode == 0
            assert tree(root / "tudl") == expected
            shutil.rmtree(root)
        process.stdout.close()
    result = hub.fetch(root, "tudl")
    assert result.returncode == 0, result.stderr
    assert tree(root / "tudl") == expected
    assert "transfer" in stopped_in
    assert any(request["Range"] for request in hub.content_requests()), "nothing was resumed"


def test_faults_that_pass_are_survived_in_one_run(hub: Hub, tmp_path: Path) -> None:
    expected = small_tudl(hub)
    hub.go_wrong(
        {
            "/api/": ["503", "429:0"],
            "tudl_models.zip": ["503", "429:1", "truncate:50000", "norange"],
            "tudl_test_bop19.zip": ["reset:30000", "wrongrange", "close:40000"],
            "tudl_train_pbr.z01": ["flip"],
            "tudl_train_pbr.z02": ["longer"],
            "tudl_train_pbr.zip": ["shorter"],
        }
    )
    start = time.monotonic()
    result = hub.fetch(tmp_path / "data", "tudl")
    assert result.returncode == 0, result.stderr
    assert tree(tmp_path / "data/tudl") == expected
    archives_are_right(tmp_path / "data", hub, "tudl")
    assert time.monotonic() - start > 1, "Retry-After was not honoured"
    ranges = [request["Range"] for request in hub.content_requests() if "models" in str(request["path"])]
    assert ranges == [None, None, None, "bytes=49152-"]


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("*flip", "its digest is .* instead of .*; nothing was kept"),
        ("*shorter", "announces 99993 bytes instead of 100000; nothing was kept"),
        ("*longer", "announces 100007 bytes instead of 100000; nothing was kept"),
        ("*truncate:0", "gave up after 4 attempts"),
        ("*503", "the server answers 503; gave up after 4 attempts"),
        ("*429:3600", "the server answers 429; gave up after 4 attempts"),
        ("*404", "the server answers 404"),
        ("*403", r"access refused \(403\); a token in HF_TOKEN may help"),
    ],
)
def test_faults_that_stay_end_in_one_sentence_and_no_file(hub: Hub, tmp_path: Path, fault: str, sentence: str) -> None:
    content = random_files(0, ["x"], 100_000)["x"]
    (hub.folder / "plain").mkdir()
    (hub.folder / "plain/x.zip").write_bytes(content)
    hub.go_wrong({"x.zip": [fault]})
    target = tmp_path / "x.zip"
    remote = RemoteFile("x.zip", f"{hub.url}/plain/x.zip", len(content), file_digest(hub.folder / "plain/x.zip"))
    with pytest.raises(InputError, match=sentence):
        download(remote, target, {}, QUICK, lambda count: None)
    assert not target.exists()
    left = tmp_path / ".x.zip.part"
    assert not left.exists() or content.startswith(left.read_bytes())


def test_a_server_that_sends_other_bytes_than_asked_for_is_noticed_without_a_digest(hub: Hub, tmp_path: Path) -> None:
    content = random_files(0, ["x"], 100_000)["x"]
    (hub.folder / "plain").mkdir()
    (hub.folder / "plain/x.zip").write_bytes(content)
    hub.go_wrong({"x.zip": ["wrongrange", "longer"]})
    (tmp_path / ".x.zip.part").write_bytes(content[:1000])
    download(RemoteFile("x.zip", f"{hub.url}/plain/x.zip", 100_000), tmp_path / "x.zip", {}, QUICK, lambda count: None)
    assert (tmp_path / "x.zip").read_bytes() == content


def test_a_version_that_changed_is_not_mixed_with_the_old_one(hub: Hub, tmp_path: Path) -> None:
    (hub.folder / "plain").mkdir()
    (hub.folder / "plain/x.zip").write_bytes(b"new" * 1000)
    (tmp_path / ".x.zip.part").write_bytes(b"old" * 500)
    remote = RemoteFile("x.zip", f"{hub.url}/plain/x.zip", 3000, etag='"version of the old one"')
    download(remote, tmp_path / "x.zip", {}, QUICK, lambda count: None)
    assert (tmp_path / "x.zip").read_bytes() == b"new" * 1000


def test_a_server_that_cannot_be_reached_and_a_repository_that_is_not_there(hub: Hub, tmp_path: Path) -> None:
    assert "not found; where it is not public, a token" in errors(hub.fetch(tmp_path, "tless"))[0]
    folder = hub.repository("tless")
    write_zip(folder / "tless_models.zip", {"models_cad/obj_000001.ply": b"x"})
    assert "has no tless_base.zip; it has tless_models.zip" in errors(hub.fetch(tmp_path, "tless"))[0]
    write_zip(folder / "tless_base.zip", random_files(0, ["tless/x"], 5000))
    changed = errors(hub.fetch(tmp_path, "tless", "--parts", "base"))
    assert "tless_base.zip: SHA-256" in changed[0]
    assert "where the catalogue has dd70ca884b7c" in changed[0]
    hub.close()
    assert "cannot be reached" in errors(hub.fetch(tmp_path, "tless"))[0]


def test_the_lock_file_gives_the_next_person_the_same_bytes(hub: Hub, tmp_path: Path) -> None:
    small_tudl(hub)
    assert hub.fetch(tmp_path / "first", "tudl", "--parts", "models").returncode == 0
    (tmp_path / "second/tudl/archives").mkdir(parents=True)
    lock = shutil.copy(tmp_path / "first/tudl/archives/lock.json", tmp_path / "second/tudl/archives")
    write_zip(hub.repository("tudl") / "tudl_models.zip", random_files(9, ["models/obj_000001.ply"], 120_000))
    result = hub.fetch(tmp_path / "second", "tudl", "--parts", "models", "--retries", "1")
    assert len(errors(result)) == 1
    assert "nothing was kept" in errors(result)[0]
    assert not list((tmp_path / "second/tudl/archives").glob("*.zip"))
    Path(lock).write_text('{"files": {"tudl_models.zip": {"sise": 3}}}')
    assert "sise is not a known key; did you mean 'size'" in errors(hub.fetch(tmp_path / "second", "tudl"))[0]


def test_a_mirror_folder_serves_without_internet_and_is_left_alone(hub: Hub, tmp_path: Path) -> None:
    expected = small_tudl(hub)
    mirror = shutil.copytree(hub.repository("tudl"), tmp_path / "mirror")
    hub.close()
    result = hub.fetch(tmp_path / "data", "tudl", "--mirror", str(mirror), "--remove-archives")
    assert result.returncode == 0, result.stderr
    assert tree(tmp_path / "data/tudl") == expected
    assert len(list(mirror.glob("[!.]*.z*"))) == len(list(hub.repository("tudl").glob("[!.]*.z*")))
    shutil.rmtree(tmp_path / "data/tudl/models")
    (tmp_path / "data/tudl/archives/models.unpacked.json").unlink()
    (mirror / "tudl_models.zip").write_bytes(b"x" * (mirror / "tudl_models.zip").stat().st_size)
    damaged = hub.fetch(tmp_path / "data", "tudl", "--mirror", str(mirror))
    assert "tudl_models.zip: not the bytes that" in errors(damaged)[0]
    assert "folder not found; data_mirror" in errors(hub.fetch(tmp_path, "tudl", "--mirror", "nowhere"))[0]


def test_archives_on_disk_are_used_and_damaged_ones_fetched_again(hub: Hub, tmp_path: Path) -> None:
    small_tudl(hub)
    archives = tmp_path / "data/tudl/archives"
    archives.mkdir(parents=True)
    shutil.copy(hub.repository("tudl") / "tudl_models.zip", archives)
    size = (hub.repository("tudl") / "tudl_test_bop19.zip").stat().st_size
    (archives / "tudl_test_bop19.zip").write_bytes(b"?" * size)
    assert hub.fetch(tmp_path / "data", "tudl", "--parts", "models", "test_bop19").returncode == 0
    assert {Path(str(r["path"])).name for r in hub.content_requests()} == {"tudl_test_bop19.zip"}
    archives_are_right(tmp_path / "data", hub, "tudl")


def test_a_plain_server_is_locked_to_what_came_first(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pose_models.datasets import fetch
    from pose_models.datasets.catalogue import catalogue_entry

    (hub.folder / "plain").mkdir()
    write_zip(hub.folder / "plain/symsol_dataset.zip", random_files(0, ["symsol/train/rotations.npz"], 20_000))
    known = catalogue_entry("symsol")
    file = known.parts["images"].files["symsol_dataset.zip"]
    file = file.model_copy(update={"url": f"{hub.url}/plain/symsol_dataset.zip"})
    part = known.parts["images"].model_copy(update={"files": {"symsol_dataset.zip": file}})
    here = known.model_copy(update={"parts": {"images": part}})
    monkeypatch.setattr(fetch, "published", lambda name: here)
    wanted, licence = fetch.wanted_files("symsol", [], tmp_path, None, QUICK)
    assert (wanted[0].remote.size, wanted[0].remote.sha256) != (file.size, None)
    assert licence == "see https://implicit-pdf.github.io"
    fetch.fetch("symsol", wanted, tmp_path, QUICK)
    again, _ = fetch.wanted_files("symsol", [], tmp_path, None, QUICK)
    assert again[0].remote.sha256 == file_digest(hub.folder / "plain/symsol_dataset.zip")


def test_what_only_a_person_can_download_is_said(hub: Hub, tmp_path: Path) -> None:
    result = hub.fetch(tmp_path, "linemod_pvnet")
    assert "no program can download it; fetch LINEMOD.tar.gz from https://drive.google.com" in errors(result)[0]


def test_a_single_file_of_a_repository(hub: Hub, tmp_path: Path) -> None:
    folder = hub.repository("bop_extra") / "default_detections"
    folder.mkdir()
    (folder / "a.json").write_text("[1, 2]")
    arguments = ["--file", "default_detections/a.json", "--out", str(tmp_path / "out/a.json")]
    assert hub.run("fetch_file.py", *arguments).returncode == 0
    assert (tmp_path / "out/a.json").read_text() == "[1, 2]"
    (tmp_path / "out/a.json").write_text("mine")
    assert "is there and is not" in errors(hub.run("fetch_file.py", *arguments))[0]
    assert (tmp_path / "out/a.json").read_text() == "mine"
    wrong = hub.run("fetch_file.py", "--file", "default_detections/b.json", "--out", str(tmp_path / "b.json"))
    assert "did you mean 'default_detections/a.json'" in errors(wrong)[0]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True, check=False)
    if mount.returncode:
        pytest.skip("needs the right to mount a file system (root)")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_disk_that_is_too_small_is_refused_before_anything_is_fetched(hub: Hub, small_disk: Path) -> None:
    small_tudl(hub)
    (small_disk / "filler").write_bytes(b"x" * 3_000_000)
    result = hub.fetch(small_disk / "data", "tudl")
    assert result.returncode == 2
    assert "do not fit into the" in errors(result)[0]
    assert not hub.content_requests()
    assert hub.fetch(small_disk / "data", "tudl", "--parts", "models").returncode == 0, "a smaller part fits"


def test_a_disk_that_fills_up_meanwhile_is_one_sentence_and_nothing_bad_stays(hub: Hub, small_disk: Path) -> None:
    expected = small_tudl(hub)
    hub.go_wrong({"/content/": ["*slow:0.05"]})
    stop = threading.Event()

    def fill() -> None:
        while not stop.is_set() and not list(small_disk.glob("data/tudl/archives/.tudl_*.part")):
            time.sleep(0.01)
        with (small_disk / "filler").open("wb", buffering=0) as filler:
            try:
                while filler.write(b"x" * 65536):
                    pass
            except OSError:
                pass

    filler = threading.Thread(target=fill)
    filler.start()
    result = hub.fetch(small_disk / "data", "tudl")
    stop.set()
    filler.join()
    assert result.returncode == 3, result.stderr
    assert "no space left on the device" in errors(result)[0]
    assert str(small_disk) in errors(result)[0]
    archives_are_right(small_disk / "data", hub, "tudl")
    (small_disk / "filler").unlink()
    hub.go_wrong({})
    assert hub.fetch(small_disk / "data", "tudl").returncode == 0
    assert tree(small_disk / "data/tudl") == expected
