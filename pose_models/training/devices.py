"""Choosing a device: one GPU is never given to two jobs of this machine.

A job leases its GPUs with file locks before CUDA is initialised; the kernel releases the locks when the job ends,
however it ends. Where a scheduler has already set CUDA_VISIBLE_DEVICES, its choice is taken as it is; so is the choice
of the main process by the processes that it starts to train with.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import tempfile
from pathlib import Path
from typing import TextIO

from pose_models.files import InputError

_leases: list[TextIO] = []  # open files hold the locks for the life of the process


def lease_device(device: str, count: int = 1) -> str:
    """Turn `auto`, `cpu` or `cuda` into `cpu` or `cuda`, leasing free GPUs for this process where they are used.

    Args:
        device: what the user asks for.
        count: GPUs wanted.

    Raises:
        InputError: `cuda` was asked for and there is none, or fewer than `count` GPUs are there and free.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"--device {device}: expected auto, cpu or cuda")
    if device == "cpu":
        return "cpu"
    if "SLURM_JOB_ID" not in os.environ and "CUDA_VISIBLE_DEVICES" not in os.environ:
        gpus = sorted(int(path.name[6:]) for path in Path("/dev").glob("nvidia[0-9]*"))
        leased = list(itertools.islice(filter(_lock, gpus), count))
        if gpus and len(leased) < count:
            raise InputError(
                f"{count} GPUs are wanted, {len(leased)} of this machine's {len(gpus)} are free of other jobs; "
                "wait, ask for fewer, or run with --device cpu"
            )
        if leased:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, leased))
    import torch

    if torch.cuda.is_available():
        if torch.cuda.device_count() < count:
            raise InputError(f"{count} GPUs are wanted, {torch.cuda.device_count()} are visible; ask for fewer")
        return "cuda"
    if device == "cuda":
        raise InputError("--device cuda: no usable GPU on this machine; run with --device cpu")
    return "cpu"


def device_name(device: str) -> str:
    """What a device is called: the GPU's name, or the processor's and how many threads torch uses of it."""
    import torch

    if device == "cuda":
        return str(torch.cuda.get_device_name())
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "CPU")
    return f"{model}, {torch.get_num_threads()} threads"


def _lock(gpu: int) -> bool:
    path = Path(tempfile.gettempdir()) / f"bopflow-gpu{gpu}.lock"
    stream = path.open("a")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.close()
        return False
    _leases.append(stream)
    return True
