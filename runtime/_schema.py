"""The tables of a store, and how those of older versions become them."""

from __future__ import annotations

import os

import numpy as np

from dsa_edge.runtime._database import Database
from dsa_edge.runtime._vault import Vault

__all__ = ["MIGRATIONS", "TABLES"]

TABLES = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE versions (
        id INTEGER PRIMARY KEY, parent INTEGER NOT NULL, created REAL NOT NULL,
        verdict TEXT NOT NULL, steps INTEGER NOT NULL, summary TEXT NOT NULL,
        adapter BLOB NOT NULL, labels BLOB NOT NULL)""",
    """CREATE TABLE runs (
        id INTEGER PRIMARY KEY, parent INTEGER NOT NULL, seed INTEGER NOT NULL, hyper TEXT NOT NULL,
        version INTEGER, kept INTEGER, created REAL, verdict TEXT, examples BLOB,
        privacy TEXT)""",
    """CREATE TABLE journal (run INTEGER NOT NULL, first INTEGER NOT NULL, steps BLOB NOT NULL,
        PRIMARY KEY (run, first)) WITHOUT ROWID""",
    """CREATE TABLE examples (
        id BLOB PRIMARY KEY, added REAL NOT NULL, content BLOB NOT NULL) WITHOUT ROWID""",
)


def _to_2(database: Database) -> None:
    """Fits know their verdict and their examples; blobs are packed and checked."""
    for column in ("created REAL", "verdict TEXT", "examples BLOB", "privacy TEXT"):
        database.rows(f"ALTER TABLE runs ADD COLUMN {column}")
    database.rows(TABLES[-1])
    database.set("id", os.urandom(16).hex())
    vault = Vault()
    for row, adapter, labels in database.rows("SELECT id, adapter, labels FROM versions"):
        packed = vault.pack_floats(_floats(adapter), f"versions/{row}/adapter")
        words = vault.pack(str(labels).encode(), f"versions/{row}/labels")
        database.rows(
            "UPDATE versions SET adapter = ?, labels = ? WHERE id = ?", packed, words, row
        )
    for run, first, steps in database.rows("SELECT run, first, steps FROM journal"):
        packed = vault.pack_floats(_floats(steps), f"journal/{run}/{first}")
        database.rows(
            "UPDATE journal SET steps = ? WHERE run = ? AND first = ?", packed, run, first
        )
    for run, version in database.rows("SELECT id, version FROM runs"):
        verdict = (
            "improved" if version else "no improvement"
        )  # interrupted ones were not told apart
        database.rows("UPDATE runs SET verdict = ? WHERE id = ?", verdict, run)


def _floats(blob: bytes) -> np.ndarray:
    return np.frombuffer(blob, dtype="<f4")


MIGRATIONS = (_to_2,)
