"""One SQLite file in WAL mode: opened, migrated, written by one process at a time.

SQLite is the crash-safe log; we write none of our own. A transaction is durable when it returns.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dsa_edge.errors import DsaEdgeError, StoreError

__all__ = ["Database", "Migration", "store_errors"]

FILE = "user.db"
PRAGMAS = ("page_size=1024", "journal_mode=WAL", "synchronous=FULL", "secure_delete=ON")
# What reading rows that we did not write so can raise: NULL has no `hex`, JSON nests too deep.
_NOT_OURS = (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)
# Turns a database of one schema version into one of the next, inside a transaction.
Migration = Callable[["Database"], None]


class Database:
    """The tables of one user.

    folder: created when missing; None keeps everything in memory.
    tables: statements that make a new one. migrations: the first one takes version 1 to 2, …
    Raises StoreError when the file cannot be used, or a newer dsa-edge wrote it.
    """

    def __init__(
        self, folder: Path | None, tables: Sequence[str], migrations: Sequence[Migration]
    ) -> None:
        self.folder = folder
        with store_errors(folder):
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = ":memory:" if folder is None else str(folder / FILE)
            self._db = sqlite3.connect(path, isolation_level=None, timeout=2)
            try:
                self._open(tables, migrations)
            except BaseException:
                self._db.close()
                raise

    def rows(self, query: str, *given: Any) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        with store_errors(self.folder):
            return self._db.execute(query, given).fetchall()

    def insert(self, query: str, *given: Any) -> int:
        """Run an INSERT; returns the new row's id."""
        with store_errors(self.folder):
            return int(self._db.execute(query, given).lastrowid or 0)

    def get(self, key: str) -> str:
        """A setting that must be there."""
        with store_errors(self.folder):
            (value,) = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
            return str(value)

    def find(self, key: str) -> str | None:
        """A setting, or None where there is none."""
        found = self.rows("SELECT value FROM meta WHERE key = ?", key)
        return str(found[0][0]) if found else None

    def set(self, key: str, value: str) -> None:
        """Keep a setting."""
        self.rows("INSERT OR REPLACE INTO meta VALUES (?, ?)", key, value)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or nothing; durable at the end."""
        with store_errors(self.folder):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the one process that changes this store; others may go on reading.

        Raises StoreError when another one is.
        """
        if self.folder is None:
            yield
            return
        from filelock import FileLock, Timeout

        lock = FileLock(self.folder / "writer.lock", blocking=False)
        with store_errors(self.folder):
            try:
                lock.acquire()
            except Timeout as error:
                raise StoreError(
                    f"another program is changing the store {self.folder}: wait until it has "
                    "ended, or use another store; reading works meanwhile."
                ) from error
        try:
            yield
        finally:
            lock.release()

    def shrink(self) -> None:
        """Give freed pages back, and leave nothing of what they held in the log.

        Raises StoreError when that cannot be done now; what was committed before stays committed.
        """
        try:
            self._db.execute("VACUUM")
            ((busy, _, _),) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            if busy:
                raise sqlite3.OperationalError("another program is reading it")
        except sqlite3.DatabaseError as error:
            raise StoreError(
                f"the store {self.folder} was changed as asked, but its files may still hold bytes "
                f"of what is gone ({error}): free some space, close other programs that use it, "
                "and do the same again."
            ) from error

    @property
    def bytes(self) -> int:
        """Size on disk; 0 in memory."""
        if self.folder is None:
            return 0
        self.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        files = [self.folder / FILE, self.folder / f"{FILE}-wal"]
        return sum(file.stat().st_size for file in files if file.exists())

    def close(self) -> None:
        """Fold the write-ahead log into the database and close it."""
        self._db.close()

    def _open(self, tables: Sequence[str], migrations: Sequence[Migration]) -> None:
        for pragma in PRAGMAS:
            self._db.execute(f"PRAGMA {pragma}")
        newest = 1 + len(migrations)
        version = self._version()
        if version > newest or version < 0:
            raise StoreError(
                f"{self.folder} has store version {version}, this dsa-edge reads {newest}: "
                "use the dsa-edge that wrote it."
            )
        if version == newest:
            return
        with self.writing(), self.transaction():
            version = self._version()  # another process may have been faster
            if version == 0:
                for statement in tables:
                    self._db.execute(statement)
            elif version < newest:
                for migration in migrations[version - 1 :]:
                    migration(self)
            self._db.execute(f"PRAGMA user_version = {newest}")

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])


@contextmanager
def store_errors(folder: Path | None) -> Iterator[None]:
    """Turn SQLite's and the system's errors into ours."""
    try:
        yield
    except DsaEdgeError:
        raise
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"the store {folder} cannot be used ({error}): check free space and permissions, close "
            "other programs that use it, or choose another folder; what it held is unchanged."
        ) from error
    except _NOT_OURS as error:
        raise StoreError(
            f"the store {folder} is damaged ({type(error).__name__}: {error}): restore it from a "
            "backup, or choose another folder."
        ) from error
    except OSError as error:
        raise StoreError(
            f"the store {folder} cannot be made ({error.strerror}): choose another folder."
        ) from error
