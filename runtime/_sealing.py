"""Which key a store is under: told by a setting, changed in one transaction."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from dsa_edge.errors import StoreError, TamperError, WrongKeyError
from dsa_edge.runtime._database import Database, store_errors
from dsa_edge.runtime._keys import KeyProvider
from dsa_edge.runtime._vault import Vault

__all__ = ["open_vault", "rekey"]

PROOF, PLACE = b"dsa-edge", "meta/proof"  # sealed with the key, to tell it from others


def open_vault(db: Database, key: KeyProvider | None) -> Vault:
    """The vault of an open database; a key seals it while it is still empty.

    Raises WrongKeyError when the key is another one or missing, StoreError for a key to a store
    that holds unsealed data.
    """
    sealed = db.find("proof")
    if sealed is None and key is None:
        return Vault()
    if key is None:
        raise WrongKeyError(
            f"the store {db.folder} is sealed, and no key was given: give its key, as with `--key`."
        )
    if sealed is None:
        if _any_blob(db):
            raise StoreError(
                f"the store {db.folder} is not sealed, and a key was given: `dsa-edge rekey` seals "
                "it, or leave the key out."
            )
        with db.transaction():
            return _sealed(db, key)
    return _proven(db, key, sealed)


def rekey(db: Database, old: Vault, key: KeyProvider | None) -> Vault:
    """Pack everything again under another key, or without one, in one transaction.

    What it returns must be used from then on, whatever fails afterwards.
    """
    with db.transaction():
        new = _sealed(db, key)
        for table, column, row, place, blob in _blobs(db):
            with store_errors(db.folder):
                fresh = new.pack(old.unpack(blob, place), place)
            where = " AND ".join(f"{name} = ?" for name in row)
            db.rows(f"UPDATE {table} SET {column} = ? WHERE {where}", fresh, *row.values())
    return new


def _sealed(db: Database, key: KeyProvider | None) -> Vault:
    """The vault of a key, with what proves it later kept in the database."""
    salt = os.urandom(16)
    vault = Vault(None if key is None else key.key(db.get("id"), salt))
    if key is None:
        db.rows("DELETE FROM meta WHERE key IN ('proof', 'salt')")
    else:
        db.set("salt", salt.hex())
        db.set("proof", vault.pack(PROOF, PLACE).hex())
    return vault


def _proven(db: Database, key: KeyProvider, sealed: str) -> Vault:
    with store_errors(db.folder):
        vault = Vault(key.key(db.get("id"), bytes.fromhex(db.get("salt"))))
        try:
            vault.unpack(bytes.fromhex(sealed), PLACE)
        except TamperError as error:
            raise WrongKeyError(
                f"{key.name} does not open the store {db.folder}: give the key that it was sealed "
                "with; nothing was changed."
            ) from error
    return vault


def _any_blob(db: Database) -> bool:
    return any(True for _ in _blobs(db))


def _blobs(db: Database) -> Iterator[tuple[str, str, dict[str, Any], str, bytes]]:
    """Every blob: table, column, the row's key, place, content."""
    for column in ("adapter", "labels"):
        for row, blob in db.rows(f"SELECT id, {column} FROM versions"):
            yield "versions", column, {"id": row}, f"versions/{row}/{column}", blob
    for row, blob in db.rows("SELECT id, examples FROM runs WHERE examples NOT NULL"):
        yield "runs", "examples", {"id": row}, f"runs/{row}/examples", blob
    for run, first, blob in db.rows("SELECT run, first, steps FROM journal"):
        yield "journal", "steps", {"run": run, "first": first}, f"journal/{run}/{first}", blob
    for row, blob in db.rows("SELECT id, content FROM examples"):
        yield "examples", "content", {"id": row}, f"examples/{row.hex()}/content", blob
