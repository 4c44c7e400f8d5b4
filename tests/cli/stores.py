"""Stores as the tests of the command line need them, and ways to run it on them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dsa_edge.adapter import Adapter
from dsa_edge.bundle import Bundle
from dsa_edge.examples import Example
from dsa_edge.runtime import KeyProvider
from dsa_edge.runtime._optimizer import Step
from dsa_edge.runtime._store import Store
from dsa_edge.runtime._versions import Versions

LABELLED = ["--template", "{text} It was", "--labels", "terrible,great"]
FIRST, SECOND = Example("Dear", " team"), Example("Bye", " all")
Run = Callable[..., tuple[int, str, str]]
Told = Callable[..., dict[str, Any]]


def fill(bundle: Path, folder: Path, key: KeyProvider | None = None) -> list[str]:
    """Two fits that made versions 1 and 2, and one that was interrupted; ids of the examples."""
    opened = Bundle.open(bundle, check_hashes=False)
    store = Store(folder, opened.identity, key)
    me = Versions(opened, store)
    ids = [me.example_id(example) for example in (FIRST, SECOND)]
    size = opened.manifest.adapter_size
    for parent, example in enumerate(ids):
        run = store.start_run(parent, 1, {"queries": 1.0}, [example])
        store.append(run, Step(0.5, np.array([1], dtype=np.float32)))
        adapter = Adapter(np.full(size, parent + 1, dtype=np.float32))
        store.end_run(run, "improved", (adapter, 1, {}))
    store.start_run(2, 1, {"queries": 1.0}, ids)
    store.close()
    return ids


def damage(folder: Path, version: int) -> None:
    with sqlite3.connect(folder / "user.db") as database:
        database.execute("UPDATE versions SET adapter = x'00' WHERE id = ?", (version,))
    database.close()


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def as_row(example: Example) -> dict[str, Any]:
    return {"prompt": example.prompt, "response": example.response}


def places(listed: dict[str, Any]) -> dict[str, Any]:
    """What `doctor --privacy --json` lists, by its name."""
    return {place["what"]: place for place in listed["places"]}
