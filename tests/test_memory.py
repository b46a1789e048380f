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
    parts = [torch.ones(n * 1_000_000) for n in (2, 9, 4, 7, 3)]  # up to 36 MB
    del parts
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(sum(faults[-10:]))
"""


def test_kept_memory_is_not_fetched_again():
    kept, given_back = (
        int(subprocess.run([sys.executable, "-c", PROGRAM, how], check=True, capture_output=True, text=True).stdout)
        for how in ("keep", "plain")
    )
    assert kept < 100
    assert kept < given_back / 20
