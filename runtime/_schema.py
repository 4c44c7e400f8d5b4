"""The tables of a store, and how those of older versions become them.

What a row says is packed into its `record`, where a checksum guards it, and the key if there is
one; beside it stand ids alone. Values of `meta` are packed as well.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from typing import Any

import numpy as np

from dsa_edge.runtime._database import Database
from dsa_edge.runtime._records import Run, Version, record_of_run, record_of_version
from dsa_edge.runtime._sealing import keep, start_over
from dsa_edge.runtime._vault import Vault

__all__ = ["MIGRATIONS", "TABLES", "settings"]

TABLES = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE versions (id INTEGER PRIMARY KEY, record BLOB NOT NULL, adapter BLOB NOT NULL)",
    "CREATE TABLE runs (id INTEGER PRIMARY KEY, record BLOB NOT NULL, examples BLOB NOT NULL)",
    """CREATE TABLE journal (run INTEGER NOT NULL, first INTEGER NOT NULL, steps BLOB NOT NULL,
        PRIMARY KEY (run, first)) WITHOUT ROWID""",
    "CREATE TABLE examples (id BLOB PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID",
)


def settings(identity: str) -> tuple[str, ...]:
    """Statements that fill the settings of a new store; those under its key come with the key."""
    told = {"bundle": identity, "id": os.urandom(16).hex()}
    packed = {key: Vault().pack(text.encode(), f"meta/{key}") for key, text in told.items()}
    return tuple(f"INSERT INTO meta VALUES ('{k}', x'{v.hex()}')" for k, v in packed.items())


def _to_2(database: Database) -> None:
    """Rows are packed and checked; fits know their verdict and their examples."""
    settings = dict(database.rows("SELECT key, value FROM meta"))
    versions = database.rows(
        "SELECT id, parent, created, verdict, steps, summary, adapter, labels FROM versions"
    )
    runs = database.rows("SELECT id, parent, seed, hyper, version, kept FROM runs")
    steps = defaultdict[int, bytes](bytes)
    for run, blob in database.rows("SELECT run, steps FROM journal ORDER BY run, first"):
        steps[run] += blob
    for table in ("meta", "versions", "runs", "journal"):
        database.rows(f"DROP TABLE {table}")
    for statement in TABLES:
        database.rows(statement)
    vault = Vault()
    keep(database, "bundle", settings["bundle"])
    keep(database, "id", os.urandom(16).hex())
    start_over(database, vault, int(settings["active"]))
    for row in versions:
        _keep_version(database, vault, row)
    for row in runs:
        _keep_run(database, vault, (*row, steps[row[0]]))


def _keep_version(database: Database, vault: Vault, columns: tuple[Any, ...]) -> None:
    row, parent, created, verdict, steps, summary, adapter, labels = columns
    version = Version(row, parent, created, verdict, steps, False, json.loads(summary))
    record = record_of_version(version, json.loads(labels))
    database.rows(
        "INSERT INTO versions VALUES (?, ?, ?)", row,
        vault.pack(record, f"versions/{row}/record"),
        vault.pack_floats(_floats(adapter), f"versions/{row}/adapter"),
    )  # fmt: skip


def _keep_run(database: Database, vault: Vault, columns: tuple[Any, ...]) -> None:
    row, parent, seed, hyper, version, kept, steps = columns
    verdict = "improved" if version else "no improvement"  # interrupted ones were not told apart
    numbers = _floats(steps)
    run = Run(
        row, parent, seed, json.loads(hyper), version, kept, verdict=verdict, numbers=len(numbers)
    )
    record = vault.pack(record_of_run(run), f"runs/{row}/record")
    examples = vault.pack(b"", f"runs/{row}/examples")
    database.rows("INSERT INTO runs VALUES (?, ?, ?)", row, record, examples)
    if len(numbers):
        packed = vault.pack_floats(numbers, f"journal/{row}/0")
        database.rows("INSERT INTO journal VALUES (?, 0, ?)", row, packed)


def _floats(blob: bytes) -> np.ndarray:
    return np.frombuffer(blob, dtype="<f4")


MIGRATIONS = (_to_2,)
