"""Stores of many users, of which only some are open at a time: SQLite comes when it is needed.

An open store takes three files and about 0.3 MB. What a closed one keeps is its place, and its key
if it is sealed. `Pool` bounds how many are open; it closes the ones that were not used for longest.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, RLock
from typing import Any

from dsa_edge.errors import StoreError
from dsa_edge.runtime._database import FILE, PRAGMAS, Database, Migration

__all__ = ["Mark", "Pool", "PooledDatabase"]

# What tells one state of a store from another: changes made here, and size, time of each file.
Mark = tuple[int, ...]

CLOSED = "the user of {} was closed, expected an open one: open the user again."
FILES = 6  # of a store at most: database, log, index and lock, and SQLite's while it makes them
FRESH = 0.05  # s; a file's time does not tell two changes within a tick of the clock (4 ms) apart


class Pool:
    """Open stores, at most `most` of them but for those in the middle of something."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._lock = Lock()
        self._open: OrderedDict[PooledDatabase, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def used(self, database: PooledDatabase) -> None:
        """A store is open and in use; the ones that were used least recently make room."""
        with self._lock:
            self._open[database] = None
            self._open.move_to_end(database)
            self._close_idle(len(self._open) - self.most, database)

    def close_idle(self, asking: PooledDatabase) -> bool:
        """Close all that can be closed, for want of file descriptors; whether there were any."""
        with self._lock:
            return self._close_idle(len(self._open), asking)

    def gone(self, database: PooledDatabase) -> None:
        """A store was closed."""
        with self._lock:
            self._open.pop(database, None)

    def _close_idle(self, count: int, asking: PooledDatabase) -> bool:
        closed = 0
        for other in list(self._open) if count > 0 else ():
            if closed == count:
                break
            if other is not asking and other.suspend():
                del self._open[other]
                closed += 1
        return closed > 0


class PooledDatabase(Database):
    """A database that is open while it is used, and any thread may use.

    Raises StoreError as `Database`, when it is used after `close`, and when the system has no file
    descriptor left even with all idle stores closed.
    """

    one_thread = False
    pragmas = (*PRAGMAS, "cache_size=-128")  # kB; an adapter is read once and kept elsewhere

    def __init__(
        self, pool: Pool, folder: Path | None, tables: Sequence[str],
        migrations: Sequence[Migration],
    ) -> None:  # fmt: skip
        self._pool, self._lock = pool, RLock()
        self._users, self._changes, self._closed = 0, 0, False
        self._held: sqlite3.Connection | None = None
        super().__init__(folder, tables, migrations)
        self._pooled()

    @property
    def _db(self) -> sqlite3.Connection:
        if self._held is None:
            if self._closed:
                raise StoreError(CLOSED.format(self.folder))
            self._connect()
        assert self._held is not None
        return self._held

    @_db.setter
    def _db(self, connection: sqlite3.Connection) -> None:
        self._held = connection

    def rows(self, query: str, *given: Any) -> list[tuple[Any, ...]]:
        """See `Database`."""
        with self._using():
            return super().rows(query, *given)

    def insert(self, query: str, *given: Any) -> int:
        """See `Database`."""
        with self._using():
            return super().insert(query, *given)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See `Database`; other threads wait for its end."""
        with self._using(), super().transaction():
            yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """See `Database`; other threads may read meanwhile, and the store stays open."""
        self._count(1)
        try:
            self._make_room()  # the lock is a file too
            with super().writing():
                yield
        finally:
            self._changes += 1
            self._count(-1)
            self._pooled()

    def shrink(self) -> None:
        """See `Database`."""
        with self._using():
            super().shrink()

    def suspend(self) -> bool:
        """Close the file until it is needed again; False where it is in use, or has none."""
        if self.folder is None or not self._lock.acquire(blocking=False):
            return False
        try:
            if self._users or self._held is None:
                return False
            self._held.close()
            self._held = None
            return True
        finally:
            self._lock.release()

    def close(self) -> None:
        """See `Database`."""
        with self._lock:
            self._closed = True
            if self._held is not None:
                self._held.close()
            self._held = None
        self._pool.gone(self)

    def mark(self) -> Mark | None:
        """What tells this state of the store from later ones, without opening it.

        None where that cannot be told: in memory, or when the files are too fresh for their time
        to tell. Raises StoreError when it was closed.
        """
        if self._closed:
            raise StoreError(CLOSED.format(self.folder))
        if self.folder is None:
            return None
        try:
            main = os.stat(self.folder / FILE)
        except OSError:
            return None
        found, newest = [self._changes, main.st_ino, main.st_size, main.st_mtime_ns], 0
        try:
            log = os.stat(self.folder / f"{FILE}-wal")
            if log.st_size:  # an empty one comes and goes with every reader
                found += [log.st_size, log.st_mtime_ns]
                newest = log.st_mtime_ns
        except OSError:
            pass
        newest = max(newest, main.st_mtime_ns)
        return tuple(found) if time.time() - newest / 1e9 > FRESH else None

    def _connect(self) -> None:
        self._make_room()
        try:
            super()._connect()
        except BaseException:
            self._held = None
            raise

    def _make_room(self) -> None:
        """See to it that files can be opened: others' stores are closed where that takes it."""
        if _descriptors_left() or (self._pool.close_idle(self) and _descriptors_left()):
            return
        raise StoreError(
            f"no file descriptor is left for the store {self.folder}, expected {FILES}: raise the "
            "limit (`ulimit -n`), close other files, or open the base with fewer `open_stores`; "
            "nothing was lost."
        )

    @contextmanager
    def _using(self) -> Iterator[None]:
        """Nobody else uses the connection, and nobody closes it."""
        with self._lock:
            self._users += 1
            try:
                yield
            finally:
                self._users -= 1
                self._pooled()

    def _count(self, by: int) -> None:
        with self._lock:
            self._users += by

    def _pooled(self) -> None:
        if self.folder is not None and self._held is not None:
            self._pool.used(self)


def _descriptors_left() -> bool:
    """Whether the system lets this process open what a store takes."""
    held: list[int] = []
    try:
        held += (os.open(os.devnull, os.O_RDONLY) for _ in range(FILES))
        return True
    except OSError:
        return False
    finally:
        for descriptor in held:
            os.close(descriptor)
