"""Memory of this process: what the C library does with freed memory, and the peak."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_LARGEST = (1 << 30, 1 << 25)  # bytes of a block that is kept; older versions allow no more than the second


def keep_freed_memory() -> None:
    """Keep what is freed for the next use, instead of giving it back to the system.

    A training step frees tens of MB and asks for them again. glibc by default returns them in between, so that every
    page of 4 kB costs a fault when it is next written: a step of `mobilenet_v3` on a CPU took 1.1 to 1.4 times as long.
    `distill` does it when it starts; a program of your own may. Does nothing where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and any(mallopt(_MMAP_THRESHOLD, size) for size in _LARGEST):
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def peak_bytes() -> int:
    """Return the largest amount of memory that the process has held, in bytes; 0 where the system does not say."""
    if sys.platform == "win32":
        return 0
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in kibibytes
