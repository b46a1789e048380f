"""Keeping freed memory: large blocks are fetched page by page once, not at every allocation."""

import subprocess
import sys

PROGRAM = """
import resource, sys
import torch
from pose_models.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
faults = []
for _ in range(20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(10_000_000)  # 40 MB: the C library never learns to keep so much
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(sum(faults[-10:]))
"""


def test_kept_memory_is_not_fetched_again():
    kept, given_back = (
        int(subprocess.run([sys.executable, "-c", PROGRAM, how], check=True, capture_output=True, text=True).stdout)
        for how in ("keep", "plain")
    )
    assert kept < given_back / 10
