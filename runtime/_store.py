"""The user's store: versions of the adapter, the journal of steps, and examples if they are kept.

Everything that could say something of the user is packed by `_vault.py`, and sealed where the store
has a key. Each step is durable before the next one begins.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from dsa_edge.adapter import Adapter
from dsa_edge.errors import AdapterError, StoreError, TamperError
from dsa_edge.runtime._database import Database, store_errors
from dsa_edge.runtime._keys import KeyProvider
from dsa_edge.runtime._optimizer import Step
from dsa_edge.runtime._privacy import Spent
from dsa_edge.runtime._records import Run, Version, spent_json, spent_of
from dsa_edge.runtime._schema import MIGRATIONS, TABLES
from dsa_edge.runtime._sealing import open_vault, rekey

__all__ = ["Store"]

Blob = bytes  # `Store.bytes` would hide the type inside the class

ID_BYTES = 8  # of an example: a keyed hash of its content


class Store:
    """Versions and journal of one user on one bundle.

    folder: created when missing; None keeps everything in memory.
    identity: of the bundle; a store belongs to one bundle for good.
    key: seals a new store, and opens one that is sealed.
    Raises StoreError when the file cannot be used, WrongKeyError when the key is another one or
    missing, AdapterError when the store is another bundle's.
    """

    def __init__(self, folder: Path | None, identity: str, key: KeyProvider | None = None) -> None:
        self.folder = folder
        self._db = Database(folder, (*TABLES, *_settings(identity)), MIGRATIONS)
        try:
            self._check_bundle(identity)
            self._vault = open_vault(self._db, key)
        except BaseException:
            self._db.close()
            raise

    @property
    def sealed(self) -> bool:
        """Whether a key is needed to read it."""
        return self._vault.sealed

    @property
    def bytes(self) -> int:
        """Size of the store on disk; 0 in memory."""
        return self._db.bytes

    @property
    def active(self) -> int:
        """The version in use."""
        with store_errors(self.folder):
            return int(self._db.get("active"))

    def writing(self) -> AbstractContextManager[None]:
        """Be the one process that changes the store; StoreError when another one is."""
        return self._db.writing()

    def versions(self) -> list[Version]:
        """All versions, oldest first."""
        query = "SELECT id, parent, created, verdict, steps, summary FROM versions ORDER BY id"
        active = self.active
        with store_errors(self.folder):
            return [
                Version(row, parent, created, verdict, steps, row == active, json.loads(summary))
                for row, parent, created, verdict, steps, summary in self._db.rows(query)
            ]

    def adapter(self, version: int) -> Adapter:
        """The adapter of a version other than 0.

        Raises StoreError for a version that does not exist or is damaged.
        """
        known = [0, *(row for (row,) in self._db.rows("SELECT id FROM versions ORDER BY id"))]
        if version not in known:
            raise StoreError(
                f"no version {version} in this store (there are {', '.join(map(str, known))}): "
                "`dsa-edge history` lists them."
            )
        query = "SELECT adapter, labels FROM versions WHERE id = ?"
        with store_errors(self.folder):
            ((vector, labels),) = self._db.rows(query, version)
            place = f"versions/{version}"
            return Adapter(
                self._vault.unpack_floats(vector, f"{place}/adapter"),
                json.loads(self._vault.unpack(labels, f"{place}/labels")),
            )

    def newest_whole(self) -> tuple[int, Adapter | None, tuple[int, ...]]:
        """The version in use, or its nearest ancestor that is not damaged.

        Returns its id, its adapter (None for version 0), and the damaged versions passed over.
        """
        parents = {version.id: version.parent for version in self.versions()}
        version, damaged = self.active, list[int]()
        while version:
            try:
                return version, self.adapter(version), tuple(damaged)
            except TamperError:
                raise
            except StoreError:
                if version not in parents:
                    raise
                damaged.append(version)
                version = parents[version] if parents[version] < version else 0
        return 0, None, tuple(damaged)

    def activate(self, version: int) -> None:
        """Make a version the one in use; 0 is the initial adapter."""
        if version:
            self.adapter(version)
        self._db.set("active", str(version))

    def add_version(
        self, parent: int, adapter: Adapter, verdict: str, steps: int, summary: dict[str, Any]
    ) -> int:
        """Save an adapter and make it the one in use, in one transaction; returns its id."""
        with self._db.transaction():
            return self._add_version(parent, adapter, verdict, steps, summary)

    def _add_version(
        self, parent: int, adapter: Adapter, verdict: str, steps: int, summary: dict[str, Any]
    ) -> int:
        version = self._db.insert(
            "INSERT INTO versions (parent, created, verdict, steps, summary, adapter, labels) "
            "VALUES (?, ?, ?, ?, ?, x'', x'')",
            parent, time.time(), verdict, steps, json.dumps(summary),
        )  # fmt: skip
        place = f"versions/{version}"
        self._db.rows(
            "UPDATE versions SET adapter = ?, labels = ? WHERE id = ?",
            self._vault.pack_floats(adapter.vector, f"{place}/adapter"),
            self._vault.pack(json.dumps(adapter.labels).encode(), f"{place}/labels"),
            version,
        )
        self._db.set("active", str(version))
        return version

    def start_run(
        self, parent: int, seed: int, hyper: dict[str, float], examples: Sequence[str] = (),
        spent: Spent | None = None,
    ) -> int:  # fmt: skip
        """Open the journal of a new fit; returns its id.

        spent: the privacy that it takes if it is never ended.
        """
        with self._db.transaction():
            for (interrupted,) in self._db.rows("SELECT id FROM runs WHERE verdict IS NULL"):
                self._compact(interrupted)
            run = self._db.insert(
                "INSERT INTO runs (parent, seed, hyper, created, privacy) VALUES (?, ?, ?, ?, ?)",
                parent, seed, json.dumps(hyper), time.time(), spent_json(spent),
            )  # fmt: skip
            ids = self._vault.pack(bytes.fromhex("".join(examples)), f"runs/{run}/examples")
            self._db.rows("UPDATE runs SET examples = ? WHERE id = ?", ids, run)
        self._next = 0
        return run

    def append(self, run: int, step: Step) -> None:
        """Journal one step; it is durable when this returns."""
        row = np.array([step.rate, *step.slopes], dtype=np.float32)
        blob = self._vault.pack_floats(row, f"journal/{run}/{self._next}")
        self._db.insert("INSERT INTO journal VALUES (?, ?, ?)", run, self._next, blob)
        self._next += 1

    def end_run(
        self, run: int, verdict: str, made: tuple[Adapter, int, dict[str, Any]] | None = None,
        spent: Spent | None = None,
    ) -> int | None:  # fmt: skip
        """Close a journal, and save what came of it, in one transaction.

        made: the adapter after so many steps, and the summary, of a run that is worth keeping.
        spent: the privacy that it took.
        Returns the id of the version that this makes, which is then the one in use.
        """
        version = kept = None
        with self._db.transaction():
            self._compact(run)
            if made is not None:
                adapter, kept, summary = made
                parent = self.run(run).parent
                version = self._add_version(parent, adapter, verdict, kept, summary)
            self._db.rows(
                "UPDATE runs SET version = ?, kept = ?, verdict = ?, privacy = ? WHERE id = ?",
                version, kept, verdict, spent_json(spent), run,
            )  # fmt: skip
        return version

    def _compact(self, run: int) -> None:
        """One row for all steps of a fit: a row for each takes three times the room."""
        rows = self._steps(run)
        if len(rows) > 1:
            blob = self._vault.pack_floats(np.concatenate(rows), f"journal/{run}/0")
            self._db.rows("DELETE FROM journal WHERE run = ?", run)
            self._db.rows("INSERT INTO journal VALUES (?, 0, ?)", run, blob)

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
        query = (
            "SELECT id, parent, seed, hyper, version, kept, created, verdict, examples, privacy "
            "FROM runs ORDER BY id"
        )
        with store_errors(self.folder):
            return [self._run(*row) for row in self._db.rows(query)]

    def _run(
        self, run: int, parent: int, seed: int, hyper: str, version: int | None, kept: int | None,
        created: float | None, verdict: str | None, examples: Blob | None, privacy: str | None,
    ) -> Run:  # fmt: skip
        return Run(
            run, parent, seed, json.loads(hyper), version, kept, created, verdict,
            self._ids(examples, run), spent_of(privacy),
        )  # fmt: skip

    def journal(self, run: Run) -> list[Step]:
        """The steps of one fit."""
        with store_errors(self.folder):
            width = int(run.hyper["queries"]) + 1
            rows = [row for part in self._steps(run.id) for row in part.reshape(-1, width)]
            return [Step(float(row[0]), row[1:]) for row in rows]

    def _steps(self, run: int) -> list[np.ndarray]:
        query = "SELECT first, steps FROM journal WHERE run = ? ORDER BY first"
        with store_errors(self.folder):
            return [
                self._vault.unpack_floats(blob, f"journal/{run}/{first}")
                for first, blob in self._db.rows(query, run)
            ]

    def _ids(self, blob: Blob | None, run: int) -> tuple[str, ...]:
        if blob is None:  # of a fit from before ids were kept
            return ()
        text = self._vault.unpack(blob, f"runs/{run}/examples").hex()
        return tuple(text[i : i + 2 * ID_BYTES] for i in range(0, len(text), 2 * ID_BYTES))

    def example_id(self, content: str) -> str:
        """Hex id of an example in this store; in another store the same text has another."""
        with store_errors(self.folder):
            key = bytes.fromhex(self._db.get("id"))
        return hashlib.blake2b(content.encode(), digest_size=ID_BYTES, key=key).hexdigest()

    def remember(self, contents: dict[str, str]) -> None:
        """Keep examples by their ids; those that are known already stay as they are."""
        with self._db.transaction():
            for example, content in contents.items():
                blob = self._vault.pack(content.encode(), f"examples/{example}/content")
                given = bytes.fromhex(example), time.time(), blob
                self._db.rows("INSERT OR IGNORE INTO examples VALUES (?, ?, ?)", *given)

    def remembered(self) -> dict[str, str]:
        """The examples that are kept: id → content, oldest first."""
        query = "SELECT id, content FROM examples ORDER BY added, id"
        with store_errors(self.folder):
            return {
                row.hex(): self._vault.unpack(blob, f"examples/{row.hex()}/content").decode()
                for row, blob in self._db.rows(query)
            }

    def forget(self) -> None:
        """Delete all versions, journals and examples; freed pages are overwritten."""
        with self._db.transaction():
            for table in ("versions", "runs", "journal", "examples"):
                self._db.rows(f"DELETE FROM {table}")
            self._db.set("active", "0")
        self._db.shrink()

    def forget_examples(self, ids: Sequence[str]) -> tuple[int, ...]:
        """Delete examples and every version that learned from them, or from such a version.

        The version in use becomes its nearest ancestor that did not. Returns the deleted versions.
        """
        gone = set(ids)
        with self._db.transaction():
            runs = [run for run in self.runs() if gone & set(run.examples)]
            versions = _with_descendants({r.version for r in runs if r.version}, self.versions())
            parents = {version.id: version.parent for version in self.versions()}
            active = self.active
            while active in versions:
                active = parents[active]
            runs += [run for run in self.runs() if run.parent in versions and run not in runs]
            for run in runs:
                self._db.rows("DELETE FROM journal WHERE run = ?", run.id)
                self._db.rows("DELETE FROM runs WHERE id = ?", run.id)
            for version in versions:
                self._db.rows("DELETE FROM versions WHERE id = ?", version)
            for example in gone:
                self._db.rows("DELETE FROM examples WHERE id = ?", bytes.fromhex(example))
            self._db.set("active", str(active))
        self._db.shrink()
        return tuple(sorted(versions))

    def rekey(self, key: KeyProvider | None) -> None:
        """Pack everything again under another key, or without one, in one transaction."""
        self._vault = rekey(self._db, self._vault, key)
        self._db.shrink()

    def close(self) -> None:
        """Fold the write-ahead log into the database and close it."""
        self._db.close()

    def _check_bundle(self, identity: str) -> None:
        if self._db.get("bundle") != identity:
            raise AdapterError(
                f"{self.folder} belongs to bundle {self._db.get('bundle')[:12]}…, this one is "
                f"{identity[:12]}…: open the bundle it belongs to, or use another store folder."
            )


def _settings(identity: str) -> tuple[str, ...]:
    """Statements that fill the settings of a new store."""
    settings = {"bundle": identity, "active": "0", "id": os.urandom(16).hex()}
    return tuple(f"INSERT INTO meta VALUES ('{k}', '{v}')" for k, v in settings.items())


def _with_descendants(versions: set[int], known: Sequence[Version]) -> set[int]:
    """Versions, and all that were learned from them; parents come before their children."""
    found = set(versions)
    for version in known:
        if version.parent in found:
            found.add(version.id)
    return found
