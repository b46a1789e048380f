"""What becomes of freed memory: the C library gives large blocks back at once, to fetch them page by page again."""

from __future__ import annotations

import ctypes

# For children: dask would let its workers give all back at once, a third of the time that pictures take.
KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": 1 << 28, "MALLOC_MMAP_THRESHOLD_": 1 << 28}
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # names of glibc's options


def keep_freed_memory() -> None:
    """Let this process keep what it frees, for loops that allocate the same again and again; glibc only.

    Training CosyPose's matching networks on a CPU takes a fifth less time (`benchmarks/cosypose.py`).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 1 << 28)):
            mallopt(option, value)
