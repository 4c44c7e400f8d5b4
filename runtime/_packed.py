"""What every part of the store does: read rows that are packed, and know those that are damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dsa_edge.errors import DamagedError, TamperError
from dsa_edge.runtime._database import Database, store_errors
from dsa_edge.runtime._vault import Vault

__all__ = ["Packed"]

T = TypeVar("T")


class Packed:
    """A database, and the vault that its rows are packed by."""

    folder: Path | None
    _db: Database
    _vault: Vault

    def _unpack(self, blob: bytes, place: str) -> bytes:
        """The bytes of a blob; raises DamagedError or TamperError."""
        with store_errors(self.folder):
            return self._vault.unpack(blob, place)

    def _setting(self, key: str) -> bytes:
        """A setting that lies under the key; raises as `_unpack`."""
        return self._unpack(self._db.get(key), f"meta/{key}")

    def _whole(self, read: Callable[[], T]) -> T | None:
        """What was read, or None where it is damaged, or was written without the key."""
        try:
            with store_errors(self.folder):
                return read()
        except (DamagedError, TamperError):
            return None

    def _next_id(self, table: str) -> int:
        ((row,),) = self._db.rows(f"SELECT coalesce(max(id), 0) + 1 FROM {table}")
        return int(row)
