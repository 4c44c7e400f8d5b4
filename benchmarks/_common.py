"""What every benchmark has: a command line, and timings in turns."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["interleaved", "parser", "seconds", "some_of"]


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the demo's folder and --json."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--folder", default="demo", help="where the demo's bundle is or goes")
    made.add_argument("--json", action="store_true", help="print one JSON object")
    return made


def some_of(known: Sequence[str], between: str = ",") -> Callable[[str], list[str]]:
    """The type of an option that names some of what there is."""

    def chosen(text: str) -> list[str]:
        names = [name.strip() for name in text.split(between)]
        strange = [name for name in names if name not in known]
        if strange:
            raise argparse.ArgumentTypeError(
                f"{', '.join(map(repr, strange))}, expected some of {between.join(known)}"
            )
        return names

    return chosen


def interleaved(
    first: Callable[[], Any], second: Callable[[], Any], repeats: int
) -> list[tuple[float, float]]:
    """Seconds of each call, in turns, so that a busy machine slows both; a few turns warm up."""
    return [(seconds(first), seconds(second)) for _ in range(repeats + 3)][3:]


def seconds(run: Callable[[], Any]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began
