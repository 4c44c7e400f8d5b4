"""Examples in a store: their ids, and their texts where the user wants them kept."""

from __future__ import annotations

import hashlib
import json
import time

from dsa_edge.runtime._database import store_errors
from dsa_edge.runtime._journal import ID_BYTES, Journal

__all__ = ["Examples"]

REMEMBERED = 1000  # examples that a store keeps at most


class Examples(Journal):
    """Examples are told apart by a hash under a secret of the store: without it, ids say nothing.

    The secret lies under the store's key, and stays the same when that is changed.
    """

    def example_id(self, content: str) -> str:
        """Hex id of an example in this store; in another store the same text has another."""
        key = self._setting("secret")
        raw = content.encode(errors="surrogatepass")  # half a character the tokenizer refuses
        return hashlib.blake2b(raw, digest_size=ID_BYTES, key=key).hexdigest()

    def example_ids(self) -> set[str]:
        """Ids of the examples that are kept, or that a fit used."""
        used = {example for run in self.runs() for example in run.examples}
        return used | {row.hex() for row, record in self._rows() if record is not None}

    def remember(self, contents: dict[str, str]) -> None:
        """Keep examples by their ids; those that are known already stay as they are.

        Of too many, those with the largest ids stay: ids are as good as random, so these are a
        fair sample of all that were ever given, old and new.
        """
        with self._db.transaction():
            for example, content in contents.items():
                record = json.dumps([time.time(), content]).encode()
                blob = self._vault.pack(record, f"examples/{example}/record")
                given = bytes.fromhex(example), blob
                self._db.rows("INSERT OR IGNORE INTO examples VALUES (?, ?)", *given)
            largest = "SELECT id FROM examples ORDER BY id DESC LIMIT ?"
            self._db.rows(f"DELETE FROM examples WHERE id NOT IN ({largest})", REMEMBERED)

    def remembered(self) -> dict[str, str]:
        """The examples that are kept: id → content, oldest first.

        Raises DamagedError when one of them is damaged.
        """
        with store_errors(self.folder):
            found = []
            for row, blob in self._db.rows("SELECT id, record FROM examples"):
                added, content = json.loads(self._vault.unpack(blob, _place(row)))
                found.append((added, row.hex(), content))
            return {example: content for _, example, content in sorted(found)}

    def _drop_examples(self, ids: set[str]) -> None:
        """Delete examples, and all that are damaged: one of those may be what was meant."""
        damaged = [row for row, record in self._rows() if record is None]
        for row in (*map(bytes.fromhex, ids), *damaged):
            self._db.rows("DELETE FROM examples WHERE id IS ?", row)

    def _rows(self) -> list[tuple[bytes, bytes | None]]:
        """Ids and records, None for a damaged one."""
        rows = self._db.rows("SELECT id, record FROM examples")
        return [(row, self._read(row, blob)) for row, blob in rows]

    def _read(self, row: bytes, blob: bytes) -> bytes | None:
        return self._whole(lambda: self._vault.unpack(blob, _place(row)))


def _place(row: bytes) -> str:
    return f"examples/{row.hex()}/record"
