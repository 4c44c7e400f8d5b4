"""One SQLite file in WAL mode: opened, migrated, written by one process at a time.

SQLite is the crash-safe log; we write none of our own. A transaction is durable when it returns.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dsa_edge.errors import DamagedError, DsaEdgeError, StoreError

__all__ = ["FILE", "PRAGMAS", "Database", "Migration", "Opener", "store_errors"]

FILE = "user.db"
PRAGMAS = (
    "page_size=1024", "journal_mode=WAL", "synchronous=FULL", "secure_delete=ON",
    "temp_store=MEMORY",  # what VACUUM copies is then in no other file
)  # fmt: skip
# What reading rows that we did not write so can raise: NULL has no `hex`, JSON nests too deep.
_NOT_OURS = (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)
# Turns a database of one schema version into one of the next, inside a transaction.
Migration = Callable[["Database"], None]
# Makes the database of a folder, as `Database` itself does.
Opener = Callable[["Path | None", Sequence[str], Sequence[Migration]], "Database"]


class Database:
    """The tables of one user.

    folder: created when missing; None keeps everything in memory.
    tables: statements that make a new one. migrations: the first one takes version 1 to 2, …
    Raises StoreError when the file cannot be used, or a newer dsa-edge wrote it.
    """

    pragmas: tuple[str, ...] = PRAGMAS
    one_thread = True  # others may not use it, as SQLite's module has it

    def __init__(
        self, folder: Path | None, tables: Sequence[str], migrations: Sequence[Migration]
    ) -> None:
        self.folder, self._tables, self._migrations = folder, tables, migrations
        self._connect()

    def _connect(self) -> None:
        """Open the file, and make or migrate its tables."""
        folder = self.folder
        with store_errors(folder):
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                _private(folder / FILE)
            path = ":memory:" if folder is None else str(folder / FILE)
            self._db = sqlite3.connect(
                path, isolation_level=None, timeout=2, check_same_thread=self.one_thread
            )
            try:
                self._open(self._tables, self._migrations)
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

    def get(self, key: str) -> bytes:
        """A setting that must be there."""
        found = self.find(key)
        if found is None:
            raise DamagedError(
                f"the store {self.folder} is damaged (it has no setting {key!r}): restore it from "
                "a backup, or choose another folder."
            )
        return found

    def find(self, key: str) -> bytes | None:
        """A setting as it was packed, or None where there is none."""
        found = self.rows("SELECT value FROM meta WHERE key = ?", key)
        if not found:
            return None
        return found[0][0] if isinstance(found[0][0], bytes) else b""  # no blob: damaged

    def set(self, key: str, value: bytes) -> None:
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
        for pragma in self.pragmas:
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


def _private(file: Path) -> None:
    """Its owner alone may read it, whatever the folder allows; the log's files follow it."""
    if not file.exists():  # to open one that is in use, and close it, would end SQLite's locks
        with suppress(FileExistsError):
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    if os.name == "posix" and stat.S_IMODE(file.stat().st_mode) & 0o077:
        with suppress(PermissionError):  # another user's
            file.chmod(0o600)


@contextmanager
def store_errors(folder: Path | None) -> Iterator[None]:
    """Turn SQLite's and the system's errors into ours."""
    try:
        yield
    except DsaEdgeError:
        raise
    except sqlite3.DatabaseError as error:
        # SQLite says "malformed" with the class itself, and "full" or "locked" with another.
        kind = DamagedError if type(error) is sqlite3.DatabaseError else StoreError
        raise kind(
            f"the store {folder} cannot be used ({error}): check free space and permissions, close "
            "other programs that use it, or choose another folder; what it held is unchanged."
        ) from error
    except _NOT_OURS as error:
        raise DamagedError(
            f"the store {folder} is damaged ({type(error).__name__}: {error}): restore it from a "
            "backup, or choose another folder."
        ) from error
    except OSError as error:
        raise StoreError(
            f"the store {folder} cannot be opened or made ({error.strerror}): check the "
            "permissions of its folder, or choose another one."
        ) from error
