"""Keeping freed memory: what a process frees stays with it, asked for in the process or through its environment."""

import os
import subprocess
import sys

import pytest

from pose_models.memory import KEEP_MEMORY

BLOCK = 40_000_000  # bytes: the C library never learns by itself to keep so much

# Prints how many bytes of address space freeing a block gives back to the system.
PROGRAM = f"""
import resource, sys
import torch
from pose_models.memory import keep_freed_memory
if sys.argv[1] == "asked within":
    keep_freed_memory()
size = lambda: int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
block = torch.ones({BLOCK}, dtype=torch.uint8)
held = size()
del block
print(held - size())
"""


@pytest.mark.parametrize(("how", "keeps"), [("plain", False), ("asked within", True), ("by environment", True)])
def test_freed_memory_stays_in_the_process(how, keeps):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    if how == "by environment":
        environment |= {name: str(value) for name, value in KEEP_MEMORY.items()}
    printed = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], check=True, capture_output=True, text=True, env=environment
    ).stdout
    given_back = int(printed)
    assert given_back < BLOCK / 10 if keeps else given_back >= BLOCK
