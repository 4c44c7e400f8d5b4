"""ExecuTorch's thread pool, started without what its C++ libraries print."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

__all__ = ["start_pool"]


def start_pool(bindings: ModuleType, threads: int | None = None) -> None:
    """Start the pool that all programs of a process share; None takes all cores.

    bindings: ExecuTorch's `portable_lib`.
    """
    with _quiet_stderr():  # the pool looks for files of other systems, and says so
        count = bindings._threadpool_get_thread_count()
        if threads and threads != count:
            bindings._unsafe_reset_threadpool(threads)


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """File descriptor 2 leads nowhere: the lines of C++ libraries know no log level."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)
