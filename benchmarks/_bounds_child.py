"""One process of `bounds.py`: plans or runs a fit on one case, and says what it took.

    python benchmarks/_bounds_child.py plan|fit BUNDLE STORE CASE

The case is a JSON object: `task`, `train`, `steps`, and `memory_mb` or null.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dsa_edge.demo import LABELS, review_sentences
from dsa_edge.examples import Example
from dsa_edge.runtime import Budget, Personalizer

WORDS = ["the", "quiet", "baker", "opens", "early", "and", "sells", "warm", "bread", "to", "street"]
SHOTS = 4  # worked examples before each of the demo's sentences
PAUSE = 0.002  # seconds between two looks at the disk
MB = 2**20


def main(what: str, bundle: str, store: str, case: dict[str, Any]) -> None:
    examples = TASKS[case["task"]](case["train"])
    budget = Budget(steps=case["steps"], memory_mb=case["memory_mb"])
    with Personalizer.open(bundle, store) as me:
        if what == "plan":
            print(json.dumps(asdict(me.plan(examples, budget))))
            return
        with Disk(Path(store)) as disk:
            report = me.fit(examples, budget)
    told = {name: getattr(report, name) for name in ("peak_mb", "verdict", "steps")}
    print(json.dumps({**told, "seconds": report.fit_seconds, "disk_mb": disk.most / MB}))


class Disk:
    """Watches the bytes that are added to a folder, prompts in an unlinked file among them."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._end = folder, threading.Event()
        self._before, self.most = self._bytes(), 0
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Disk:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(PAUSE):
            self._look()
        self._look()

    def _look(self) -> None:
        self.most = max(self.most, self._bytes() - self._before)

    def _bytes(self) -> int:
        linked = sum(path.stat().st_size for path in self._folder.iterdir())
        return linked + sum(map(unlinked_bytes, os.listdir("/proc/self/fd")))


def unlinked_bytes(descriptor: str) -> int:
    """What an open file of prompts takes that no folder holds any more."""
    try:
        found = os.fstat(int(descriptor))
        name = os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:  # closed meanwhile
        return 0
    return 512 * found.st_blocks if found.st_nlink == 0 and ".prompts-" in name else 0


def sentences(count: int) -> list[Example]:
    """The demo's sentences after worked examples."""
    rows, _ = review_sentences(count + SHOTS, 1)
    labels = LABELS.with_shots(rows[:SHOTS])
    return [labels.example(*row) for row in rows[SHOTS:]]


def words(count: int) -> list[Example]:
    """Short prompts; their last word decides between two tokens."""
    answers = (" a", " b")
    return [Example(text, answers[key], answers) for text, key in lines(count, 24)]


def sequences(count: int) -> list[Example]:
    """Long prompts; their last word decides between two answers of several tokens."""
    answers = (" warm bread", " not like the film")
    return [Example(text, answers[key], answers) for text, key in lines(count, 90)]


def lines(count: int, most: int) -> Iterator[tuple[str, int]]:
    """Random words, at most so many, and whether the last one is among the first of the list."""
    rng = random.Random(0)
    for _ in range(count):
        text = rng.choices(WORDS, k=rng.randint(most // 3, most))
        yield " ".join(text), int(WORDS.index(text[-1]) < len(WORDS) // 2)


TASKS = {"sentences": sentences, "words": words, "sequences": sequences}

if __name__ == "__main__":
    main(*sys.argv[1:4], json.loads(sys.argv[4]))
