"""Several processes train together (two on this CPU, over gloo): same losses, one writer, no one left behind."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pose_models.files import InputError
from pose_models.training.checkpoints import load_checkpoint
from pose_models.training.config import TrainSettings
from pose_models.training.harness import fit

PROGRAM = Path(__file__).with_name("line_program.py")
ROOT = PROGRAM.parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def run(folder, processes, *further, check=True):
    command = [sys.executable, str(PROGRAM), str(folder), str(processes), *map(str, further)]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=check)


def rows(folder):
    with (folder / "train" / "metrics.csv").open() as stream:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(stream)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """One process with the whole batch."""
    folder = tmp_path_factory.mktemp("alone")
    run(folder, 1)
    return folder


def test_two_processes_have_the_losses_and_weights_of_one_with_the_whole_batch(tmp_path, alone):
    run(tmp_path, 2)
    for one, two in zip(rows(alone), rows(tmp_path), strict=True):
        assert one.keys() == two.keys()
        for name in one.keys() - {"seconds", "data_wait"}:
            # float32 sums in another order; the samples' numbers are exact, so none is seen twice or left out
            assert two[name] == pytest.approx(one[name], rel=1e-12 if name == "train/mean_number" else 2e-5), name
    first, second = (load_checkpoint(f / "model.ckpt", "line")["state_dict"] for f in (alone, tmp_path))
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-4, atol=1e-5)
    assert first["odd"].abs() > 1e-3


def test_a_lost_process_ends_the_training_and_the_same_command_goes_on(tmp_path, alone):
    lost = run(tmp_path, 2, 60, check=False)
    assert lost.returncode != 0
    assert not (tmp_path / "model.ckpt").exists()
    assert (tmp_path / "train" / "last.ckpt").exists()
    again = run(tmp_path, 2)
    assert again.stderr.count("continuing from") == 1
    assert [row["step"] for row in rows(tmp_path)] == [row["step"] for row in rows(alone)]
    torch.testing.assert_close(
        load_checkpoint(tmp_path / "model.ckpt", "line")["state_dict"]["net.0.weight"],
        load_checkpoint(alone / "model.ckpt", "line")["state_dict"]["net.0.weight"],
        rtol=1e-4,
        atol=1e-5,
    )


def test_when_the_main_process_is_killed_the_others_end_too(tmp_path):
    program = subprocess.Popen(
        [sys.executable, str(PROGRAM), str(tmp_path), "2"], env=ENVIRONMENT, stderr=subprocess.DEVNULL
    )
    other = wait_for(lambda: [pid for pid in pids(tmp_path) if pid != program.pid])
    wait_for(lambda: (tmp_path / "train" / "last.ckpt").exists())
    os.kill(program.pid, signal.SIGKILL)
    program.wait()
    wait_for(lambda: not pids(tmp_path))
    assert other


def test_a_batch_that_cannot_be_shared_is_one_sentence(tmp_path):
    settings = TrainSettings(steps=10, batch_size=8, wandb="disabled")

    class Nothing:
        valid_count = 0

    with pytest.raises(InputError, match=re.escape("train.batch_size: 8 cannot be dealt out to 3 processes")):
        fit(torch.nn.Identity(), Nothing(), settings, tmp_path, "cpu", 0, processes=3)


def pids(folder):
    """Processes whose command names the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError("waited in vain")
