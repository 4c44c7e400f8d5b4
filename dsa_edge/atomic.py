"""Files that appear whole or not at all."""

from __future__ import annotations

import glob
import os
from contextlib import suppress
from pathlib import Path

from dsa_edge.errors import AdapterError

__all__ = ["write_atomic"]


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file so that a crash or a full disk leaves the old one in place.

    What a crash left of an earlier write to the same place goes with it.
    Raises AdapterError naming the file when it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise AdapterError(
            f"cannot write {path} ({error.strerror}): free some space or choose another place; "
            "the old file is untouched."
        ) from error
    with suppress(OSError):
        _clean(path)


def _clean(path: Path) -> None:
    """Remove what programs that are gone left of their writes to a place."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        number = left.name.split(".")[-2]
        if number.isdecimal() and not _runs(int(number)):
            left.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    """Whether a process runs, for all that is known."""
    if os.name == "posix":  # elsewhere, to ask would end it
        try:
            os.kill(process, 0)
        except (ProcessLookupError, OverflowError):
            return False
        except PermissionError:  # another user's
            pass
    return True
