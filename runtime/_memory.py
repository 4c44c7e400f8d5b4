"""What this process uses: resident memory now and at its peak, in MB."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from pathlib import Path

__all__ = ["peak_mb", "release_freed", "reset_peak", "resident_mb", "steady_peaks"]

_MMAP_THRESHOLD, _LARGE = -3, 2**20  # mallopt's number (malloc.h); bytes
_STATUS = Path("/proc/self/status")


def resident_mb() -> float:
    """Resident memory now; the peak where the system does not tell."""
    return _linux("VmRSS:") or _usage()


def peak_mb() -> float:
    """Highest resident memory since the start, or since `reset_peak`."""
    return _linux("VmHWM:") or _usage()


def reset_peak() -> None:
    """Start a new peak (Linux); elsewhere the peak stays that of the whole process."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def release_freed() -> None:
    """Give memory that was freed back to the system: glibc keeps it otherwise (100 MB measured)."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl and bionic have none
        if trim is not None:
            trim(0)


@functools.cache
def steady_peaks() -> None:
    """Keep large blocks out of glibc's heap, for the whole process.

    By default glibc takes to serving ever larger blocks from its heap, where what is freed stays
    between what is not: the peaks of the same fit differed by a tenth, and were a tenth higher.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(libc, "gnu_get_libc_version"):
        getattr(libc, "mallopt")(_MMAP_THRESHOLD, _LARGE)  # noqa: B009


def _linux(key: str) -> float | None:
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1]) / 1024
    except OSError:
        return None
    return None


def _usage() -> float:
    if os.name != "posix":
        return 0.0
    import resource

    unit = 2**20 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
