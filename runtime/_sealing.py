"""Which key a store is under: told by its settings, changed in one transaction.

Settings of `meta` that say how to open the store are packed without a key: bundle, id, salt. Under
the key are the version in use, the secret that ids of examples come from, and the key's proof.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from dsa_edge.errors import DamagedError, StoreError, TamperError, WrongKeyError
from dsa_edge.runtime._database import Database, store_errors
from dsa_edge.runtime._keys import KeyProvider, keeps
from dsa_edge.runtime._vault import Vault

__all__ = ["keep", "kept", "open_vault", "rekey", "start_over"]

PROOF, PLACE = b"dsa-edge", "meta/proof"  # sealed with the key, to tell it from others
SECRET_BYTES = 32
UNDER_THE_KEY = ("active", "secret")
TABLES = {"versions": ("record", "adapter"), "runs": ("record", "examples")}


def kept(db: Database, key: str) -> str:
    """A setting that can be read without the key."""
    with store_errors(db.folder):
        return Vault().unpack(db.get(key), f"meta/{key}").decode()


def keep(db: Database, key: str, text: str) -> None:
    """Keep a setting that can be read without the key."""
    db.set(key, Vault().pack(text.encode(), f"meta/{key}"))


def start_over(db: Database, vault: Vault, active: int = 0) -> None:
    """The version in use, and a new secret: ids from before say nothing from now on."""
    db.set("active", vault.pack(str(active).encode(), "meta/active"))
    db.set("secret", vault.pack(os.urandom(SECRET_BYTES), "meta/secret"))


def open_vault(db: Database, key: KeyProvider | None) -> Vault:
    """The vault of an open database; a key seals it while it is still empty.

    Raises WrongKeyError when the key is another one or missing, StoreError for a key to a store
    that holds unsealed data.
    """
    proof, salted = db.find("proof"), db.find("salt") is not None
    if (proof is not None) != salted:  # without this, a sealed store could pass for an unsealed one
        raise DamagedError(
            f"the store {db.folder} is damaged (it has half of what a sealed store has): restore "
            "it from a backup, or choose another folder."
        )
    if proof is not None:
        return _proven(db, key, proof)
    if key is not None and not _empty(db):
        raise StoreError(
            f"the store {db.folder} is not sealed, and a key was given: `dsa-edge rekey` seals "
            "it, or leave the key out."
        )
    if key is None and (db.find("secret") is not None or not _empty(db)):
        return Vault()
    with db.transaction():
        if db.find("proof") is None and (key is not None or db.find("secret") is None):
            vault = _sealed(db, key)
            start_over(db, vault)
            return vault
    return open_vault(db, key)  # another program was faster


def rekey(db: Database, old: Vault, key: KeyProvider | None) -> Vault:
    """Pack everything again under another key, or without one, in one transaction.

    What is damaged stays so, and loses its bytes: they could hold what the new key is to hide.
    What it returns must be used from then on, whatever fails afterwards.
    """
    with db.transaction():
        new = _sealed(db, key)
        for table, column, row, place, blob in _blobs(db):
            try:
                with store_errors(db.folder):
                    fresh = new.pack(old.unpack(blob, place), place)
            except DamagedError:
                fresh = b""
            where = " AND ".join(f"{name} = ?" for name in row)
            db.rows(f"UPDATE {table} SET {column} = ? WHERE {where}", fresh, *row.values())
    return new


def _sealed(db: Database, key: KeyProvider | None) -> Vault:
    """The vault of a key, with what proves it later kept in the database."""
    salt = os.urandom(16)
    vault = Vault(None if key is None else key.key(kept(db, "id"), salt))
    if key is None:
        db.rows("DELETE FROM meta WHERE key IN ('proof', 'salt')")
    else:
        keep(db, "salt", salt.hex())
        db.set("proof", vault.pack(PROOF, PLACE))
    return vault


def _proven(db: Database, key: KeyProvider | None, proof: bytes) -> Vault:
    """The vault of a sealed store's key."""
    if key is None:
        raise WrongKeyError(
            f"the store {db.folder} is sealed, and no key was given: give its key, as with `--key`."
        )
    store = kept(db, "id")
    with store_errors(db.folder):
        salt = bytes.fromhex(kept(db, "salt"))
    if not keeps(key, store):
        raise WrongKeyError(
            f"the store {db.folder} is sealed, and {key.name} does not have its key: give the key "
            "that it was sealed with; nothing was changed."
        )
    vault = Vault(key.key(store, salt))
    try:
        with store_errors(db.folder):
            vault.unpack(proof, PLACE)
    except TamperError as error:
        raise WrongKeyError(
            f"{key.name} does not open the store {db.folder}: give the key that it was sealed "
            "with; nothing was changed."
        ) from error
    return vault


def _empty(db: Database) -> bool:
    return not any(db.rows(f"SELECT 1 FROM {t} LIMIT 1") for t in (*TABLES, "journal", "examples"))


def _blobs(db: Database) -> Iterator[tuple[str, str, dict[str, Any], str, bytes]]:
    """Every blob under the key: table, column, the row's key, place, content."""
    for table, columns in TABLES.items():
        for column in columns:
            for row, blob in db.rows(f"SELECT id, {column} FROM {table}"):
                yield table, column, {"id": row}, f"{table}/{row}/{column}", blob
    for run, first, blob in db.rows("SELECT run, first, steps FROM journal"):
        yield "journal", "steps", {"run": run, "first": first}, f"journal/{run}/{first}", blob
    for row, blob in db.rows("SELECT id, record FROM examples"):
        name = row.hex() if isinstance(row, bytes) else row  # another type is damage
        yield "examples", "record", {"id": row}, f"examples/{name}/record", blob
    for key in UNDER_THE_KEY:
        if (blob := db.find(key)) is not None:
            yield "meta", "value", {"key": key}, f"meta/{key}", blob
