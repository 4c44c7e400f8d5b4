"""The stages of an export: timed, told, named when they fail; and a folder that appears whole."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dsa_edge.errors import DsaEdgeError, ExportError

__all__ = ["Stages", "put_in_place", "staging"]


class Stages:
    """Times the stages, tells the caller of them, and names the one that failed."""

    def __init__(self, on_stage: Callable[[str], object] | None) -> None:
        self._on_stage = on_stage or (lambda _: None)
        self._current = ""
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        self._current = stage
        self._on_stage(stage)
        began = time.perf_counter()
        try:
            yield
        except DsaEdgeError:
            raise
        except MemoryError as error:
            raise ExportError(
                f"export ran out of memory in stage {stage!r}: close other programs or export "
                "on a larger machine."
            ) from error
        except OSError as error:
            raise ExportError(
                f"export failed in stage {stage!r} ({error.strerror or error}): free some disk "
                "space or choose another place for the bundle."
            ) from error
        except Exception as error:
            lines = str(error.__cause__ or error).strip().splitlines() or ["no message"]
            raise ExportError(
                f"export failed in stage {stage!r} ({type(error).__name__}: {lines[-1][:300]}): "
                "please report it with this message."
            ) from error
        self.seconds[stage] = time.perf_counter() - began

    def detail(self, what: str) -> None:
        """Announce a part of the current stage."""
        self._on_stage(f"{self._current}: {what}")


@contextmanager
def staging(target: Path) -> Iterator[Path]:
    """A folder beside the target that is removed whatever happens."""
    folder = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise ExportError(
            f"cannot write beside {target} ({error.strerror}): choose another place for the bundle."
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def put_in_place(folder: Path, target: Path) -> None:
    """Rename the finished folder, setting an older bundle aside until it is there."""
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    try:
        if target.exists():
            target.rename(old)
        folder.rename(target)
    except OSError as error:
        if old.exists():
            old.rename(target)
        raise ExportError(
            f"the finished bundle cannot be put at {target} ({error.strerror}): choose another "
            "place; a bundle that was there is untouched."
        ) from error
    shutil.rmtree(old, ignore_errors=True)
