"""What a peer is asked, and what it answers. The standard library alone: every environment has it.

A peer is a script. It reads a `Job` as JSON on stdin and prints one JSON object as its last line:

    learning  {"points": [Point, …], "peak_mb", "loaded_mb", "user_bytes", "size", "notes"}
    speed     {"prompt": [tokens/s, …], "generate": [tokens/s, …], "switch_ms": [ms, …] or null,
               "load_seconds", "peak_mb", "bytes", "notes"}

Time stands still while a peer loads, and while held-out examples are looked at: adapters along
the way are kept and judged afterwards, so that the peak of memory is that of learning.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["LOOKS", "Clock", "Job", "Row", "answer", "marks", "memory", "read_task"]

FOLDER = Path(__file__).parent
LOOKS = 6  # at held-out examples, in a run
GROWTH = 1.6  # from one look to the next


@dataclass(frozen=True)
class Row:
    """One example in tokens. candidates: what is chosen between, by its answer; or none."""

    prompt: list[int]
    response: list[int]
    candidates: list[int]
    answer: int


@dataclass(frozen=True)
class Job:
    """One peer on one task.

    task: file that `_examples.py` wrote. model: GGUF file, or Hugging Face folder. bundle: its
    export. seconds, steps: of learning, at most. settings: the peer's own.
    """

    peer: str
    task: str
    model: str
    bundle: str
    seed: int = 0
    seconds: float = 60.0
    steps: int = 1_000_000
    threads: int = 2
    settings: dict[str, Any] = field(default_factory=dict)


class Clock:
    """Wall-clock and processor seconds of what runs inside `running`."""

    def __init__(self) -> None:
        self.seconds = self.cpu_seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count what happens inside; threads' processor seconds are this process's."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.seconds += time.perf_counter() - wall
        self.cpu_seconds += time.process_time() - cpu


def answer(run: Callable[[Job], dict[str, Any]]) -> None:
    """Read the job, run it, print what came out."""
    print(json.dumps(run(Job(**json.load(sys.stdin)))))


def marks(whole: float, looks: int = LOOKS) -> list[float]:
    """When to look, of a run that is so long: close together at first."""
    return [whole / GROWTH**back for back in reversed(range(looks))]


def memory() -> ModuleType:
    """`runtime/_memory.py`, which needs nothing else of this project."""
    path = FOLDER.parents[1] / "runtime" / "_memory.py"
    spec = importlib.util.spec_from_file_location("memory_of_peers", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_task(path: str) -> tuple[list[Row], list[Row]]:
    """(to learn from, held out) of a task's file."""
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    learn, held = ([Row(**row["ids"]) for row in content[part]] for part in ("learn", "held"))
    return learn, held
