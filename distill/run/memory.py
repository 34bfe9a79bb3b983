"""Memory of this process: reuse of freed memory, and the peak."""

from __future__ import annotations

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_VARIABLES = {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_MAX_"}
_LARGEST = (
    1 << 30,
    1 << 25,
)  # bytes of the largest block to keep; old versions of glibc allow only the second


def keep_freed_memory() -> None:
    """Keep freed memory in the process for reuse, instead of returning it to the system.

    A training step frees tens of MB and allocates them again. By default glibc returns them to the system in between.
    Then every page of 4 kB costs a page fault at its next write. With that default, a step of `mobilenet_v3` on a CPU
    took 1.1 to 1.4 times as long. `import distill` calls this function. A program that should return memory sooner sets
    one of glibc's own variables, such as MALLOC_TRIM_THRESHOLD_=131072; then, and without glibc, the function does
    nothing.
    """
    if not sys.platform.startswith("linux") or _is_tuned():
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and any(mallopt(_MMAP_THRESHOLD, size) for size in _LARGEST):
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def _is_tuned() -> bool:
    """Return whether the user has set glibc's variables of memory."""
    return bool(_VARIABLES & os.environ.keys()) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")


def peak_bytes() -> int:
    """Return the peak memory of the process in bytes; 0 on Windows, which does not report it."""
    if sys.platform == "win32":
        return 0
    import resource  # does not exist on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in kibibytes
