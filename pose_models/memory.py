"""What becomes of freed memory: the C library gives large blocks back at once, to fetch them page by page again."""

from __future__ import annotations

import ctypes

# glibc's options, by name: number and value. No block gets a mapping of its own, and none leaves the heap again.
_OPTIONS = {"MMAP_MAX": (-4, 0), "TRIM_THRESHOLD": (-1, 2**31 - 1), "TOP_PAD": (-2, 1 << 28)}

# The same for children, as environment: dask would let its workers give all back at once, a third of the time that
# pictures take.
KEEP_MEMORY = {f"MALLOC_{name}_": value for name, (_, value) in _OPTIONS.items()}


def keep_freed_memory() -> None:
    """Let this process keep what it frees, for loops that allocate the same again and again; glibc only.

    CosyPose's matching networks then train 1.1 to 1.3 times as fast on a CPU (`benchmarks/cosypose.py`, beside
    `--give-back`).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for number, value in _OPTIONS.values():
            mallopt(number, value)
