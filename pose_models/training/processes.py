"""Several processes that train together: one per GPU, or, on a CPU, one per share of its cores.

The main process starts the others by running its own command again (Lightning's launcher). They compute; leases, locks
and files are the main process's alone.
"""

from __future__ import annotations

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def is_main() -> bool:
    """Whether this process may lease devices and write files."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def follow_main() -> None:
    """Let a process that the main one started end with it, however that ends.

    Without this it would wait in a collective for a partner that is gone, and hold its GPU.
    """
    if not is_main():
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
