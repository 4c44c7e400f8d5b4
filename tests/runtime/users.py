"""Stores as the tests of the store need them, and ways to look into one and to damage it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
from stub import StubEngine

from dsa_edge.adapter import Adapter
from dsa_edge.runtime import Example, Personalizer
from dsa_edge.runtime._optimizer import Step
from dsa_edge.runtime._store import Store

IDENTITY = "a" * 64
CHOICES = (" a", " b")
WORDS = ["the", "quiet", "baker", "opens", "early", "and", "sells", "warm", "bread", "rain"]
LEARNED = Adapter(np.linspace(-1, 1, 300, dtype=np.float32), {" zebra": 0.25, " quokka": -0.25})
HYPER = {"queries": 2.0}


def examples() -> list[Example]:
    return [Example(f"say {w}", CHOICES[i % 2], CHOICES) for i, w in enumerate(WORDS)] * 8


def personalizer(bundle: Path, folder: Path | None) -> Personalizer:
    engine = StubEngine(bundle)
    return Personalizer(engine, Store(folder, engine.bundle.identity))


def step(number: int) -> Step:
    return Step(0.5, np.array([number, -number], dtype=np.float32))


def contents(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def store_blobs(folder: Path, query: str) -> list[bytes]:
    with sqlite3.connect(folder / "user.db") as database:
        return [bytes(row[0]) for row in database.execute(query)]


def edit(folder: Path, *queries: str) -> None:
    database = sqlite3.connect(folder / "user.db")
    with database:
        for query in queries:
            database.execute(query)
    database.close()


def three_versions(folder: Path) -> tuple[Store, list[list[str]]]:
    """A store whose versions 1, 2 and 3 were learned one from the other, of other examples each."""
    store, groups = Store(folder, IDENTITY), []
    for number in range(3):
        texts = [f"text {number}.{i}" for i in range(5)]
        ids = {store.example_id(text): text for text in texts}
        store.remember(ids)
        run = store.start_run(store.active, 1, HYPER, list(ids))
        store.append(run, step(number))
        learned = Adapter(LEARNED.vector + np.float32(number))
        assert store.end_run(run, "improved", (learned, 1, {})) == number + 1
        groups.append(list(ids))
    return store, groups
