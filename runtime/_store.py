"""The user's store: one SQLite file that holds versions of the adapter and the journal of steps.

SQLite in WAL mode is the crash-safe log; we write none of our own. Nothing here holds text.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dsa_edge.adapter import Adapter
from dsa_edge.errors import AdapterError, StoreError
from dsa_edge.runtime._optimizer import Step

__all__ = ["Run", "Store", "Version"]

SCHEMA = 1
FLUSH = 16  # steps a transaction: what a power cut can cost
_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE versions (
    id INTEGER PRIMARY KEY, parent INTEGER NOT NULL, created REAL NOT NULL, verdict TEXT NOT NULL,
    steps INTEGER NOT NULL, summary TEXT NOT NULL, adapter BLOB NOT NULL,
    labels TEXT NOT NULL);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, parent INTEGER NOT NULL, seed INTEGER NOT NULL, hyper TEXT NOT NULL,
    version INTEGER, kept INTEGER);
CREATE TABLE journal (run INTEGER NOT NULL, first INTEGER NOT NULL, steps BLOB NOT NULL,
    PRIMARY KEY (run, first)) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Version:
    """One saved adapter. id 0 is the bundle's initial adapter; created is in Unix seconds."""

    id: int
    parent: int
    created: float
    verdict: str
    steps: int
    active: bool
    summary: dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One fit as the journal has it: version = adapter of `parent` after the first `kept` steps."""

    id: int
    parent: int
    seed: int
    hyper: dict[str, float]
    version: int | None
    kept: int | None


class Store:
    """Versions and journal of one user on one bundle.

    folder: created when missing; None keeps everything in memory.
    identity: of the bundle; a store belongs to one bundle for good.
    Raises StoreError when the file cannot be used, AdapterError when it is another bundle's.
    """

    def __init__(self, folder: Path | None, identity: str) -> None:
        self.folder = folder
        self._pending: list[Step] = []
        with _errors(folder):
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = ":memory:" if folder is None else str(folder / "user.db")
            self._db = sqlite3.connect(path, isolation_level=None, timeout=2)
            self._open(identity)

    @property
    def bytes(self) -> int:
        """Size of the store on disk; 0 in memory."""
        if self.folder is None:
            return 0
        with _errors(self.folder):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        files = [self.folder / "user.db", self.folder / "user.db-wal"]
        return sum(file.stat().st_size for file in files if file.exists())

    @property
    def active(self) -> int:
        """The version in use."""
        with _errors(self.folder):
            return int(self._meta("active"))

    def versions(self) -> list[Version]:
        """All versions, oldest first."""
        query = "SELECT id, parent, created, verdict, steps, summary FROM versions ORDER BY id"
        with _errors(self.folder):
            active = self.active
            return [
                Version(
                    row[0], row[1], row[2], row[3], row[4], row[0] == active, json.loads(row[5])
                )
                for row in self._db.execute(query)
            ]

    def adapter(self, version: int) -> Adapter:
        """The adapter of a version other than 0.

        Raises StoreError for a version that does not exist.
        """
        known = [0, *(v.id for v in self.versions())]
        if version not in known:
            raise StoreError(
                f"no version {version} in this store (there are {', '.join(map(str, known))}): "
                "`dsa-edge history` lists them."
            )
        with _errors(self.folder):
            query = "SELECT adapter, labels FROM versions WHERE id = ?"
            vector, labels = self._db.execute(query, (version,)).fetchone()
            return Adapter(
                np.frombuffer(vector, dtype="<f4").astype(np.float32), json.loads(labels)
            )

    def activate(self, version: int) -> None:
        """Make a version the one in use; 0 is the initial adapter."""
        if version:
            self.adapter(version)
        with _errors(self.folder):
            self._set("active", str(version))

    def add_version(
        self, parent: int, adapter: Adapter, verdict: str, steps: int, summary: dict[str, Any]
    ) -> int:
        """Save an adapter and make it the one in use, in one transaction; returns its id."""
        with _errors(self.folder), self._transaction():
            cursor = self._db.execute(
                "INSERT INTO versions (parent, created, verdict, steps, summary, adapter, labels) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    parent,
                    time.time(),
                    verdict,
                    steps,
                    json.dumps(summary),
                    _blob(adapter.vector),
                    json.dumps(adapter.labels),
                ),
            )
            version = int(cursor.lastrowid or 0)
            self._set("active", str(version))
        return version

    def start_run(self, parent: int, seed: int, hyper: dict[str, float]) -> int:
        """Open the journal of a new fit; returns its id."""
        with _errors(self.folder):
            cursor = self._db.execute(
                "INSERT INTO runs (parent, seed, hyper) VALUES (?, ?, ?)",
                (parent, seed, json.dumps(hyper)),
            )
        self._pending, self._next = [], 0
        return int(cursor.lastrowid or 0)

    def append(self, run: int, step: Step) -> None:
        """Journal one step; every `FLUSH` steps become durable together."""
        self._pending.append(step)
        if len(self._pending) >= FLUSH:
            self.flush(run)

    def flush(self, run: int) -> None:
        """Make all journalled steps durable."""
        if not self._pending:
            return
        rows = np.array([[s.rate, *s.slopes] for s in self._pending], dtype="<f4")
        with _errors(self.folder):
            self._db.execute("INSERT INTO journal VALUES (?, ?, ?)", (run, self._next, _blob(rows)))
        self._next += len(self._pending)
        self._pending = []

    def end_run(self, run: int, version: int | None, kept: int | None) -> None:
        """Close a journal: `version` is its adapter after `kept` steps, None if none was kept."""
        self.flush(run)
        with _errors(self.folder):
            self._db.execute(
                "UPDATE runs SET version = ?, kept = ? WHERE id = ?", (version, kept, run)
            )

    def run(self, run: int | None = None) -> Run:
        """One fit by its id, or the last one.

        Raises StoreError when there is none.
        """
        found = [r for r in self.runs() if run is None or r.id == run]
        if not found:
            raise StoreError("the journal holds no such fit: `dsa-edge personalize` makes one.")
        return found[-1]

    def runs(self) -> list[Run]:
        """All fits that were started."""
        query = "SELECT id, parent, seed, hyper, version, kept FROM runs ORDER BY id"
        with _errors(self.folder):
            rows = self._db.execute(query)
            return [Run(r[0], r[1], r[2], json.loads(r[3]), r[4], r[5]) for r in rows]

    def journal(self, run: Run) -> list[Step]:
        """The steps of one fit."""
        query = "SELECT steps FROM journal WHERE run = ? ORDER BY first"
        with _errors(self.folder):
            width = int(run.hyper["queries"]) + 1
            rows = [np.frombuffer(r[0], dtype="<f4") for r in self._db.execute(query, (run.id,))]
            return [Step(float(row[0]), row[1:]) for r in rows for row in r.reshape(-1, width)]

    def forget(self) -> None:
        """Delete all versions and journals; freed pages are overwritten."""
        with _errors(self.folder):
            with self._transaction():
                for table in ("versions", "runs", "journal"):
                    self._db.execute(f"DELETE FROM {table}")
                self._set("active", "0")
            self._db.execute("VACUUM")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Fold the write-ahead log into the database and close it."""
        self._db.close()

    def _open(self, identity: str) -> None:
        for pragma in (
            "page_size=1024",
            "journal_mode=WAL",
            "synchronous=FULL",
            "secure_delete=ON",
        ):
            self._db.execute(f"PRAGMA {pragma}")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            with self._transaction():
                for statement in _TABLES.split(";\n"):
                    self._db.execute(statement)
                self._set("bundle", identity)
                self._set("active", "0")
                self._db.execute(f"PRAGMA user_version = {SCHEMA}")
        elif version != SCHEMA:
            raise StoreError(
                f"{self.folder} has store version {version}, this dsa-edge reads {SCHEMA}: "
                "use the dsa-edge that wrote it."
            )
        if self._meta("bundle") != identity:
            raise AdapterError(
                f"{self.folder} belongs to bundle {self._meta('bundle')[:12]}…, this one is "
                f"{identity[:12]}…: open the bundle it belongs to, or use another store folder."
            )

    def _meta(self, key: str) -> str:
        with _errors(self.folder):
            (value,) = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
            return str(value)

    def _set(self, key: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


@contextmanager
def _errors(folder: Path | None) -> Iterator[None]:
    """Turn SQLite's and the system's errors into ours."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"the store {folder} cannot be used ({error}): check free space and permissions, close "
            "other programs that use it, or choose another folder; what it held is unchanged."
        ) from error
    except (ValueError, TypeError, LookupError) as error:  # rows that we did not write so
        raise StoreError(
            f"the store {folder} is damaged ({type(error).__name__}: {error}): restore it from a "
            "backup, or choose another folder."
        ) from error
    except OSError as error:
        raise StoreError(
            f"the store {folder} cannot be made ({error.strerror}): choose another folder."
        ) from error


def _blob(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array, dtype="<f4").tobytes()
