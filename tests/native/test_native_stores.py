"""Stores in C++: sealed, damaged, locked, or from a newer version."""

from __future__ import annotations

import json
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from known_engine import EXAMPLES, HYPER, THETA, asked, fit
from native_learn import IDENTITY, Native, NativeError

from dsa_edge.errors import WrongKeyError
from dsa_edge.runtime import FileKey, PassphraseKey
from dsa_edge.runtime._store import Store
from dsa_edge.runtime._vault import Vault


class AppKey:
    """What a callback of an app gives."""

    name = "the app"

    def key(self, store: str, salt: bytes) -> bytes:
        return b"k" * 32


KEYS: list[Any] = ["file", "passphrase", "callback"]


def both(kind: str, folder: Path) -> tuple[Any, list[str]]:
    """The same key for Python and for C++."""
    if kind == "file":
        return FileKey(folder / "key"), ["file", str(folder / "key")]
    if kind == "passphrase":
        return PassphraseKey("sésame"), ["passphrase", "sésame"]
    return AppKey(), ["callback", "k" * 32]


@pytest.mark.parametrize("kind", KEYS)
def test_a_sealed_store_opens_on_both_sides(native: Native, tmp_path: Path, kind: str) -> None:
    pytest.importorskip("cryptography", reason="the package cryptography is not installed")
    key, told = both(kind, tmp_path)
    report = native("fit", tmp_path / "store", key=told, remember=True, **asked())
    store = Store(tmp_path / "store", IDENTITY, key)
    assert store.sealed
    used = store.newest_whole()
    assert (used.version, report["verdict"]) == (1, "improved")
    fit(store, EXAMPLES, THETA, HYPER, 12, seed=4)
    theta = store.newest_whole().adapter
    assert len(store.remembered()) == 7
    store.close()
    assert theta is not None
    assert native("adapter", tmp_path / "store", key=told)["theta"] == theta.vector.tobytes().hex()
    assert len(native("remembered", tmp_path / "store", key=told)["remembered"]) == 7
    files = b"".join(file.read_bytes() for file in (tmp_path / "store").iterdir())
    assert b"0.3" not in files


def test_a_wrong_or_missing_key_changes_nothing(native: Native, tmp_path: Path) -> None:
    native("fit", tmp_path / "store", key=["passphrase", "one"], **asked())
    for key, words in (
        ({"key": ["passphrase", "two"]}, "the passphrase does not open"),
        ({}, "no key was given"),
        ({"key": ["file", str(tmp_path / "none")]}, "does not have the key of this store"),
        ({"key": ["callback", ""]}, "the app does not have the key"),
    ):
        with pytest.raises(NativeError, match=words) as caught:
            native("history", tmp_path / "store", **key)
        assert caught.value.kind == "wrong_key"
    assert not (tmp_path / "none").exists()
    with pytest.raises(WrongKeyError):
        Store(tmp_path / "store", IDENTITY, PassphraseKey("two"))
    assert native("history", tmp_path / "store", key=["passphrase", "one"])["version"] == 1


def test_a_key_file_is_made_private_and_must_stay_so(native: Native, tmp_path: Path) -> None:
    file = tmp_path / "key"
    native("history", tmp_path / "store", key=["file", str(file)])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "store" / "user.db").stat().st_mode) == 0o600
    file.chmod(0o644)
    with pytest.raises(NativeError, match="can be read by others: `chmod 600"):
        native("history", tmp_path / "store", key=["file", str(file)])
    file.chmod(0o600)
    file.write_bytes(b"short")
    with pytest.raises(NativeError, match="holds 5 bytes, expected 32"):
        native("history", tmp_path / "store", key=["file", str(file)])


def test_another_key_and_none(native: Native, tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="the package cryptography is not installed")
    native("fit", tmp_path, remember=True, **asked())
    before = native("adapter", tmp_path)["theta"]
    native("rekey", tmp_path, new_key=["passphrase", "one"])
    native("rekey", tmp_path, key=["passphrase", "one"], new_key=["callback", "k" * 32])
    store = Store(tmp_path, IDENTITY, AppKey())
    used = store.newest_whole().adapter
    assert used is not None
    assert used.vector.tobytes().hex() == before
    assert len(store.journal(store.run())) == 24
    assert len(store.remembered()) == 7
    store.close()
    native("rekey", tmp_path, key=["callback", "k" * 32])
    assert native("adapter", tmp_path)["theta"] == before
    with pytest.raises(NativeError, match="not sealed, and a key was given"):
        native("history", tmp_path, key=["callback", "k" * 32])


def change(folder: Path, statement: str, *given: Any) -> None:
    with sqlite3.connect(folder / "user.db") as database:
        database.execute(statement, given)
    database.close()


def test_a_store_of_a_newer_version_is_refused(native: Native, tmp_path: Path) -> None:
    native("history", tmp_path)
    change(tmp_path, "PRAGMA user_version = 3")
    with pytest.raises(
        NativeError, match="has store version 3, this dsa-edge reads 2: use"
    ) as caught:
        native("history", tmp_path)
    assert caught.value.kind == "store"


def test_a_store_of_another_bundle_is_refused(native: Native, tmp_path: Path) -> None:
    native("history", tmp_path)
    with pytest.raises(
        NativeError, match="belongs to bundle aaaaaaaaaaaa…, this one is bbb"
    ) as caught:
        native("history", tmp_path, identity="b" * 64)
    assert caught.value.kind == "adapter"


@pytest.mark.parametrize(
    "content", [b"no database at all, but long enough" * 99, b"SQLite format 3\0" + b"\1" * 4096]
)
def test_a_file_that_is_no_database_is_one_error(
    native: Native, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "user.db").write_bytes(content)
    with pytest.raises(NativeError, match="cannot be used") as caught:
        native("history", tmp_path)
    assert caught.value.kind == "damaged"
    assert (tmp_path / "user.db").read_bytes() == content


def test_a_folder_that_cannot_be_made_is_one_error(native: Native, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(NativeError, match=r"or made \(Not a directory\): check the permissions"):
        native("history", tmp_path / "file" / "store")


DAMAGES = [
    ("UPDATE versions SET record = x'00' WHERE id = 2", [2], 1, ["improved", "damaged"]),
    ("UPDATE versions SET adapter = substr(adapter, 1, 40) WHERE id = 2", [2], 1, ["improved"] * 2),
    ("UPDATE versions SET id = 7 WHERE id = 2", [2], 1, ["improved", "damaged"]),
    ("UPDATE versions SET record = 'text' WHERE id = 1", [], 2, ["damaged", "improved"]),
    ("UPDATE meta SET value = x'0011' WHERE key = 'active'", [], 2, ["improved"] * 2),
]


@pytest.mark.parametrize(("statement", "damaged", "version", "verdicts"), DAMAGES)
def test_what_is_damaged_is_told_as_in_python(
    native: Native, tmp_path: Path, statement: str, damaged: list[int], version: int,
    verdicts: list[str],
) -> None:  # fmt: skip
    for seed in (1, 2):
        native("fit", tmp_path, **asked(seed=seed))
    change(tmp_path, statement)
    found = native("history", tmp_path)
    assert (found["version"], found["damaged"]) == (version, damaged)
    assert [verdict for _, verdict, *_ in found["versions"]] == verdicts
    store = Store(tmp_path, IDENTITY)
    used = store.newest_whole()
    assert (used.version, [*used.damaged], used.lost) == (version, damaged, found["lost"])
    assert [v.verdict for v in store.versions()] == verdicts
    store.close()


@pytest.mark.parametrize("statement", [
    "UPDATE journal SET steps = substr(steps, 1, 60)",
    "DELETE FROM journal",
    "UPDATE journal SET first = 'x'",
    "UPDATE runs SET record = x'0102030405060708090a'",
])  # fmt: skip
def test_a_damaged_fit_cannot_be_replayed(native: Native, tmp_path: Path, statement: str) -> None:
    native("fit", tmp_path, **asked())
    change(tmp_path, statement)
    with pytest.raises(NativeError, match="is damaged") as caught:
        native("replay", tmp_path, at=[24], theta=THETA.tolist())
    assert caught.value.kind == "damaged"


def test_a_row_that_was_written_without_the_key_is_told(native: Native, tmp_path: Path) -> None:
    """A blob with a right checksum and no key behind it."""
    native("fit", tmp_path, key=["passphrase", "one"], **asked())
    change(
        tmp_path,
        "UPDATE versions SET adapter = ?",
        Vault().pack_floats(THETA, "versions/1/adapter"),
    )
    with pytest.raises(
        NativeError, match="changed by something that does not have the store's key"
    ) as caught:
        native("adapter", tmp_path, key=["passphrase", "one"])
    assert caught.value.kind == "tampered"


def test_flipped_bits_are_told_or_without_effect(native: Native, tmp_path: Path) -> None:
    """Each of 60 flips: the same adapter, an older one that is told of, or one clear error."""
    native("fit", tmp_path, **asked())
    native("bytes", tmp_path)
    whole, wanted = (tmp_path / "user.db").read_bytes(), native("adapter", tmp_path)["theta"]
    random = np.random.default_rng(0)
    for bit in random.integers(0, 8 * len(whole), 60):
        for file in tmp_path.iterdir():
            file.unlink()
        spoiled = bytearray(whole)
        spoiled[bit // 8] ^= 1 << bit % 8
        (tmp_path / "user.db").write_bytes(spoiled)
        try:
            found = native("adapter", tmp_path, theta=THETA.tolist())["theta"]
            told = native("history", tmp_path)
        except NativeError as error:
            assert error.kind in ("damaged", "store")
            continue
        assert found == wanted or told["damaged"] or told["lost"]


STRANGE = [None, -1, 2**63, 1e308, "", "x" * 300, [], {}, [[]] * 3, {"a": 1}, True, 0.5]


def spoiled(told: Any, random: np.random.Generator) -> Any:
    """A value with one part replaced by another, missing, or unheard of."""
    if isinstance(told, dict) and told and random.random() < 0.8:
        name = str(random.choice([*told, "unheard of"]))
        rest = {key: value for key, value in told.items() if key != name}
        return rest if random.random() < 0.2 else rest | {name: spoiled(told.get(name), random)}
    return STRANGE[random.integers(len(STRANGE))]


def test_records_of_strangers_are_told_or_read(native: Native, tmp_path: Path) -> None:
    """Any JSON in a row, with the checksum that a forger would put there: never a crash."""
    native("fit", tmp_path, remember=True, **asked())
    vault, random = Vault(), np.random.default_rng(0)
    with closing(sqlite3.connect(tmp_path / "user.db")) as database:
        rows = [
            (table, row, vault.unpack(record, f"{table}/{row}/record"))
            for table in ("versions", "runs")
            for row, record in database.execute(f"SELECT id, record FROM {table}").fetchall()
        ]
        for _ in range(60):
            table, row, record = rows[random.integers(len(rows))]
            text = json.dumps(spoiled(json.loads(record), random)).encode()
            if random.random() < 0.1:
                text = b"[" * 10_000 + text
            with database:
                blob = vault.pack(text, f"{table}/{row}/record")
                database.execute(f"UPDATE {table} SET record = ? WHERE id = ?", (blob, row))
            for do in ("history", "adapter", "replay"):
                try:
                    native(do, tmp_path, at=[0, 99], theta=THETA.tolist())
                except NativeError as error:
                    assert error.kind in ("damaged", "store", "adapter")
            with database:
                blob = vault.pack(record, f"{table}/{row}/record")
                database.execute(f"UPDATE {table} SET record = ? WHERE id = ?", (blob, row))


def test_a_store_has_one_writer_at_a_time(native: Native, tmp_path: Path) -> None:
    native("fit", tmp_path, **asked())
    store = Store(tmp_path, IDENTITY)
    with store.writing():
        with pytest.raises(NativeError, match="another program is changing the store") as caught:
            native("rollback", tmp_path, version=0)
        assert native("history", tmp_path)["version"] == 1  # reading works
    assert caught.value.kind == "store"
    store.database.rows("BEGIN IMMEDIATE")  # as a program would that does not know our lock
    with pytest.raises(NativeError, match="database is locked"):
        native("rollback", tmp_path, version=0)
    store.database.rows("ROLLBACK")
    store.close()
