"""Choosing a device: one GPU is never given to two jobs of this machine.

A job leases a GPU with a file lock before CUDA is initialised; the kernel releases the lock when the job ends, however
it ends. Where a scheduler has already set CUDA_VISIBLE_DEVICES, its choice is taken as it is.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path
from typing import TextIO

from pose_models.files import InputError

_leases: list[TextIO] = []  # open files hold the locks for the life of the process


def lease_device(device: str) -> str:
    """Turn `auto`, `cpu` or `cuda` into `cpu` or `cuda`, leasing a free GPU for this process where one is used.

    Raises:
        InputError: `cuda` was asked for and there is none, or all are leased.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"--device {device}: expected auto, cpu or cuda")
    if device == "cpu":
        return "cpu"
    if "SLURM_JOB_ID" not in os.environ and "CUDA_VISIBLE_DEVICES" not in os.environ:
        gpus = sorted(int(path.name[6:]) for path in Path("/dev").glob("nvidia[0-9]*"))
        leased = next((gpu for gpu in gpus if _lock(gpu)), None)
        if gpus and leased is None:
            raise InputError("all GPUs of this machine are leased by other jobs; wait, or run with --device cpu")
        if leased is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = str(leased)
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise InputError("--device cuda: no usable GPU on this machine; run with --device cpu")
    return "cpu"


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
