"""The user's store: versions of the adapter, the journal of steps, and examples if they are kept.

Everything that says something of the user is packed by `_vault.py`, and sealed where the store has
a key; what is damaged is known by its checksum. Each step is durable before the next one begins.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dsa_edge.adapter import Adapter
from dsa_edge.errors import AdapterError, DamagedError, StoreError
from dsa_edge.runtime._database import Database, Opener, store_errors
from dsa_edge.runtime._examples import Examples
from dsa_edge.runtime._forgetting import learned_from
from dsa_edge.runtime._journal import ID_BYTES
from dsa_edge.runtime._keys import KeyProvider
from dsa_edge.runtime._privacy import Spent
from dsa_edge.runtime._records import (
    DAMAGED,
    InUse,
    Version,
    adapter_of,
    before,
    labels_of,
    numbers_of,
    parents_of,
    record_of_version,
    version_of,
)
from dsa_edge.runtime._schema import MIGRATIONS, TABLES, settings
from dsa_edge.runtime._sealing import kept, open_vault, rekey, start_over

__all__ = ["ID_BYTES", "Store"]

KEPT = 32  # versions whose adapters a store holds; of older ones it knows what they came from


class Store(Examples):
    """Versions and journal of one user on one bundle.

    folder: created when missing; None keeps everything in memory.
    identity: of the bundle; a store belongs to one bundle for good.
    key: seals a new store, and opens one that is sealed.
    opener: makes its database; that of one among many users is open while it is used.
    Raises StoreError when the file cannot be used, WrongKeyError when the key is another one or
    missing, AdapterError when the store is another bundle's.
    """

    def __init__(
        self, folder: Path | None, identity: str, key: KeyProvider | None = None,
        opener: Opener = Database,
    ) -> None:  # fmt: skip
        self.folder = folder
        self._db = opener(folder, (*TABLES, *settings(identity)), MIGRATIONS)
        try:
            self._check_bundle(identity)
            self._vault = open_vault(self._db, key)
        except BaseException:
            self._db.close()
            raise

    @property
    def database(self) -> Database:
        """Where everything is kept."""
        return self._db

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
        """The version in use; DamagedError when the store no longer knows which."""
        with store_errors(self.folder):
            return int(self._setting("active"))

    def writing(self) -> AbstractContextManager[None]:
        """Be the one process that changes the store; StoreError when another one is."""
        return self._db.writing()

    def versions(self) -> list[Version]:
        """All versions, oldest first, damaged ones among them."""
        active = self._whole(lambda: self.active)
        rows = self._db.rows("SELECT id, record FROM versions ORDER BY id")
        return [self._version(row, record, active) for row, record in rows]

    def _version(self, row: int, record: Any, active: int | None) -> Version:
        place = f"versions/{row}/record"
        found = self._whole(lambda: version_of(row, self._vault.unpack(record, place), active))
        return found or Version(row, None, None, DAMAGED, 0, row == active, {})

    def adapter(self, version: int) -> Adapter:
        """The adapter of a version other than 0.

        Raises StoreError for a version that does not exist or whose adapter is no longer kept,
        DamagedError for one that is damaged.
        """
        if version not in self._ids():
            known = ", ".join(map(str, self._ids()))
            raise StoreError(
                f"no version {version} in the store {self.folder} (there are {known}): "
                "`dsa-edge history` lists them."
            )
        query = "SELECT record, adapter FROM versions WHERE id = ?"
        with store_errors(self.folder):
            ((record, vector),) = self._db.rows(query, version)
            place = f"versions/{version}"
            told = self._vault.unpack(record, f"{place}/record")
            numbers = self._vault.unpack_floats(vector, f"{place}/adapter")
            found, adapter = version_of(version, told, None), adapter_of(told, numbers)
        if not found.kept:
            raise StoreError(
                f"the adapter of version {version} is no longer kept, the newest {KEPT} are: "
                "`dsa-edge history` lists them."
            )
        return adapter

    def labels(self, version: int) -> dict[str, float]:
        """Label biases of a version, its adapter being kept or not; raises as `adapter`."""
        ((record,),) = self._db.rows("SELECT record FROM versions WHERE id = ?", version)
        with store_errors(self.folder):
            return labels_of(self._vault.unpack(record, f"versions/{version}/record"))

    def newest_whole(self) -> InUse:
        """The version in use, or its nearest ancestor that is not damaged.

        Where nothing tells an ancestor, it is the newest version from before.
        """
        version, lost = self._in_use()
        damaged = list[int]()
        while version:
            try:
                if self._has(version):
                    return InUse(version, self.adapter(version), tuple(damaged), lost)
                gone = version not in self._ids()  # its row; an old one's adapter is just not kept
            except DamagedError:
                gone = True
            damaged += [version] * gone
            with store_errors(self.folder):
                version = before(version, parents_of(self.versions(), self.runs()))
        return InUse(0, None, tuple(damaged), lost)

    def _has(self, version: int) -> bool:
        """Whether the adapter of a version is there, damaged or not."""
        return any(v.id == version and v.kept for v in self.versions())

    def _in_use(self) -> tuple[int, bool]:
        """The version that should be in use; where that is lost, the newest one, and True."""
        try:
            return self.active, False
        except DamagedError:
            return self._ids()[-1], True

    def _ids(self) -> list[int]:
        """Of all versions, 0 first."""
        return [0, *(row for (row,) in self._db.rows("SELECT id FROM versions ORDER BY id"))]

    def activate(self, version: int) -> None:
        """Make a version the one in use; 0 is the initial adapter."""
        if version:
            self.adapter(version)
        self._use(version)

    def _use(self, version: int) -> None:
        self._db.set("active", self._vault.pack(str(version).encode(), "meta/active"))

    def add_version(
        self, parent: int, adapter: Adapter, verdict: str, steps: int, summary: dict[str, Any]
    ) -> int:
        """Save an adapter and make it the one in use, in one transaction; returns its id."""
        with self._db.transaction():
            return self._add_version(parent, adapter, verdict, steps, summary)

    def _add_version(
        self, parent: int, adapter: Adapter, verdict: str, steps: int, summary: dict[str, Any]
    ) -> int:
        row = self._next_id("versions")
        self._write(Version(row, parent, time.time(), verdict, steps, True, summary), adapter)
        self._use(row)
        self._drop_adapters()
        return row

    def _write(self, version: Version, adapter: Adapter) -> None:
        start = None if adapter.coordinates is None else adapter.coordinates.start
        record = record_of_version(version, adapter.labels, adapter.gate, start)
        self._db.rows(
            "INSERT OR REPLACE INTO versions VALUES (?, ?, ?)", version.id,
            self._vault.pack(record, f"versions/{version.id}/record"),
            self._vault.pack_floats(numbers_of(adapter), f"versions/{version.id}/adapter"),
        )  # fmt: skip

    def _drop_adapters(self) -> None:
        """Of the oldest versions keep no numbers, so that a store does not grow with every fit."""
        for old in self.versions()[:-KEPT]:
            if old.kept and old.verdict != DAMAGED:
                nothing = Adapter(np.empty(0, np.float32), self.labels(old.id))
                self._write(replace(old, kept=False), nothing)

    def end_run(
        self, run: int, verdict: str, made: tuple[Adapter, int, dict[str, Any]] | None = None,
        spent: Spent | None = None,
    ) -> int | None:  # fmt: skip
        """Close a journal, and save what came of it, in one transaction.

        made: the adapter after so many steps, and the summary, of a run that is worth keeping.
        spent: the privacy that it took.
        Returns the id of the version that this makes, which is then the one in use.
        """
        version = steps = None
        with self._db.transaction():
            ended = replace(self.run(run), verdict=verdict, privacy=spent)
            if made is not None:
                adapter, steps, summary = made
                version = self._add_version(ended.parent or 0, adapter, verdict, steps, summary)
            numbers = self._compact(ended, self._next)
            gate = ended.gate if version is None or ended.directions else None
            self._keep_run(replace(ended, version=version, kept=steps, numbers=numbers, gate=gate))
        return version

    def forget(self) -> None:
        """Delete all versions, journals and examples; freed pages are overwritten."""
        with self._db.transaction():
            for table in ("versions", "runs", "journal", "examples"):
                self._db.rows(f"DELETE FROM {table}")
            start_over(self._db, self._vault)
        self._db.shrink()

    def forget_examples(self, ids: Sequence[str]) -> tuple[int, ...]:
        """Delete examples and every version that may have learned from them, or from such a one.

        The version in use becomes its nearest ancestor that did not. Returns the deleted versions.
        """
        with self._db.transaction():
            runs, versions = self.runs(), self.versions()
            parents = parents_of(versions, runs)
            gone, fits = learned_from(set(ids), runs, versions)
            active = self._in_use()[0]
            while active and (active in gone or not self._has(active)):
                active = before(active, parents)  # a damaged row may have the id 0
            for table, rows in (("versions", gone), ("runs", fits)):
                for row in rows:
                    self._db.rows(f"DELETE FROM {table} WHERE id = ?", row)
            self._db.rows("DELETE FROM journal WHERE run NOT IN (SELECT id FROM runs)")
            self._drop_examples(set(ids))
            self._use(active)
        self._db.shrink()
        return tuple(sorted(gone))

    def rekey(self, key: KeyProvider | None) -> None:
        """Pack everything again under another key, or without one, in one transaction.

        What is damaged stays damaged.
        """
        self._vault = rekey(self._db, self._vault, key)
        self._db.shrink()

    def close(self) -> None:
        """Fold the write-ahead log into the database and close it."""
        self._db.close()

    def _check_bundle(self, identity: str) -> None:
        bundle = kept(self._db, "bundle")
        if bundle != identity:
            raise AdapterError(
                f"{self.folder} belongs to bundle {bundle[:12]}…, this one is "
                f"{identity[:12]}…: open the bundle it belongs to, or use another store folder."
            )
