"""Sealed stores: keys, what they hide, and how wrong keys, tampering and damage are told apart."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import numpy as np
import pytest
from stub import StubEngine

from dsa_edge.adapter import Adapter
from dsa_edge.errors import StoreError, TamperError, UsageError, WrongKeyError
from dsa_edge.runtime import Budget, Example, FileKey, KeyringKey, PassphraseKey, Personalizer
from dsa_edge.runtime._cache import PromptCache
from dsa_edge.runtime._encode import Encoder
from dsa_edge.runtime._objective import items_of
from dsa_edge.runtime._optimizer import Step
from dsa_edge.runtime._plan import Chunks
from dsa_edge.runtime._store import Store
from dsa_edge.runtime._vault import Vault

pytest.importorskip("cryptography", reason="the package cryptography is not installed")

IDENTITY = "b" * 64
LEARNED = Adapter(np.linspace(-1, 1, 300, dtype=np.float32), {" zebra": 0.25, " quokka": -0.25})
HYPER = {"queries": 2.0}
TEXT = "grandmother's garden gate code"


class FixedKey:
    """A key that costs no time."""

    name = "the fixed key"

    def __init__(self, number: int = 1) -> None:
        self._key = bytes([number]) * 32

    def key(self, store: str, salt: bytes) -> bytes:
        return self._key


def filled(folder: Path, key: FixedKey | None) -> Store:
    store = Store(folder, IDENTITY, key)
    run = store.start_run(0, 1, HYPER, [store.example_id(TEXT)])
    store.append(run, Step(0.5, np.array([1, 2], dtype=np.float32)))
    store.remember({store.example_id(TEXT): TEXT})
    store.end_run(run, "improved", (LEARNED, 1, {}))
    return store


def same_content(store: Store) -> None:
    np.testing.assert_array_equal(store.adapter(1).vector, LEARNED.vector)
    assert store.adapter(1).labels == LEARNED.labels
    (run,) = store.runs()
    assert store.journal(run)[0].slopes.tolist() == [1, 2]
    assert run.examples == (store.example_id(TEXT),)
    assert store.remembered() == {store.example_id(TEXT): TEXT}


def held(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def test_a_sealed_store_gives_back_what_it_was_given_and_hides_it(tmp_path: Path) -> None:
    filled(tmp_path, FixedKey()).close()
    content = held(tmp_path)
    for secret in (b"zebra", b"garden", LEARNED.vector[:4].tobytes()):
        assert secret not in content
    plain = Vault().pack_floats(LEARNED.vector, "versions/1/adapter")
    assert plain[100:124] not in content  # nor what an unsealed store keeps
    again = Store(tmp_path, IDENTITY, FixedKey())
    assert again.sealed
    same_content(again)
    again.close()


def test_no_key_and_a_wrong_key_are_told_and_change_nothing(tmp_path: Path) -> None:
    filled(tmp_path, FixedKey()).close()
    with pytest.raises(WrongKeyError, match="is sealed, and no key was given: give its key"):
        Store(tmp_path, IDENTITY)
    with pytest.raises(WrongKeyError, match="the fixed key does not open .*nothing was changed"):
        Store(tmp_path, IDENTITY, FixedKey(2))
    store = Store(tmp_path, IDENTITY, FixedKey())
    same_content(store)
    store.close()
    plain = tmp_path / "plain"
    filled(plain, None).close()
    with pytest.raises(StoreError, match="is not sealed, and a key was given: `dsa-edge rekey`"):
        Store(plain, IDENTITY, FixedKey())


def change(folder: Path, query: str, *given: object) -> None:
    with sqlite3.connect(folder / "user.db") as database:
        database.execute(query, given)


def test_tampering_is_told_from_damage(tmp_path: Path) -> None:
    filled(tmp_path, FixedKey()).close()
    (blob,) = (
        sqlite3.connect(tmp_path / "user.db").execute("SELECT adapter FROM versions").fetchone()
    )
    flipped = bytearray(blob)
    flipped[40] ^= 4
    change(tmp_path, "UPDATE versions SET adapter = ?", bytes(flipped))
    store = Store(tmp_path, IDENTITY, FixedKey())
    with pytest.raises(StoreError, match="damaged .*does not match its checksum") as caught:
        store.adapter(1)
    assert not isinstance(caught.value, TamperError)
    store.close()
    forged = Vault(b"\7" * 32).pack_floats(LEARNED.vector, "versions/1/adapter")
    change(tmp_path, "UPDATE versions SET adapter = ?", forged)
    store = Store(tmp_path, IDENTITY, FixedKey())
    with pytest.raises(TamperError, match="changed by something that does not have the store's"):
        store.adapter(1)
    with pytest.raises(TamperError):
        store.newest_whole()  # an old version must not stand in for a forged one unseen
    store.close()


def test_a_blob_cannot_stand_in_for_another(tmp_path: Path) -> None:
    vault = Vault(b"\1" * 32)
    blob = vault.pack(b"one", "versions/1/labels")
    with pytest.raises(ValueError, match="versions/2/labels does not match"):
        vault.unpack(blob, "versions/2/labels")


@pytest.mark.parametrize(("old", "new"), [(None, 1), (1, 2), (2, None)])
def test_keys_are_changed_all_at_once(tmp_path: Path, old: int | None, new: int | None) -> None:
    before, after = (FixedKey(number) if number else None for number in (old, new))
    store = filled(tmp_path, before)
    store.rekey(after)
    same_content(store)
    store.close()
    again = Store(tmp_path, IDENTITY, after)
    assert again.sealed == (new is not None)
    same_content(again)
    again.close()
    if before is not None:
        with pytest.raises(StoreError):
            Store(tmp_path, IDENTITY, before)


def test_a_change_of_keys_that_fails_changes_nothing(tmp_path: Path) -> None:
    store = filled(tmp_path, FixedKey())
    change(tmp_path, "UPDATE versions SET labels = x'00'")
    with pytest.raises(StoreError, match="versions/1/labels does not match"):
        store.rekey(FixedKey(2))
    store.close()
    again = Store(tmp_path, IDENTITY, FixedKey())
    assert again.journal(again.runs()[0])[0].slopes.tolist() == [1, 2]
    again.close()


def test_a_passphrase_and_a_key_file_open_what_they_sealed(tmp_path: Path) -> None:
    for number, make in enumerate(
        (lambda: PassphraseKey("ein Satz"), lambda: FileKey(tmp_path / "key"))
    ):
        folder = tmp_path / str(number)
        filled(folder, make()).close()
        store = Store(folder, IDENTITY, make())
        same_content(store)
        store.close()
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    with pytest.raises(WrongKeyError, match="the passphrase does not open"):
        Store(tmp_path / "0", IDENTITY, PassphraseKey("ein Satz."))
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(UsageError, match="can be read by others: `chmod 600"):
        Store(tmp_path / "1", IDENTITY, FileKey(tmp_path / "key"))
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "key").write_bytes(b"short")
    with pytest.raises(WrongKeyError, match="holds 5 bytes, expected 32"):
        Store(tmp_path / "1", IDENTITY, FileKey(tmp_path / "key"))
    with pytest.raises(UsageError, match="cannot be used"):
        Store(tmp_path / "1", IDENTITY, FileKey(tmp_path / "nowhere" / "key"))
    with pytest.raises(UsageError, match="the passphrase is empty"):
        PassphraseKey("")


def test_the_keyring_keeps_one_key_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keyring = pytest.importorskip("keyring")
    kept: dict[tuple[str, str], str] = {}
    monkeypatch.setattr(keyring, "get_password", lambda *who: kept.get(who))
    monkeypatch.setattr(keyring, "set_password", lambda a, b, text: kept.update({(a, b): text}))
    for name in ("a", "b"):
        filled(tmp_path / name, KeyringKey()).close()
        store = Store(tmp_path / name, IDENTITY, KeyringKey())
        same_content(store)
        store.close()
    assert len(set(kept.values())) == 2

    def none(*who: str) -> str:
        raise keyring.errors.NoKeyringError("no backend")

    monkeypatch.setattr(keyring, "get_password", none)
    with pytest.raises(UsageError, match="no keyring that can be used .*use a passphrase"):
        Store(tmp_path / "a", IDENTITY, KeyringKey())


def test_a_sealed_fit_learns_the_same_and_its_prompts_on_disk_are_encrypted(
    bundle: Path, tmp_path: Path
) -> None:
    examples = [Example(f"say {i}", " a", (" a", " b")) for i in range(20)]
    examples += [Example(f"no {i}", " b", (" a", " b")) for i in range(20)]
    vectors = []
    for key in (None, FixedKey()):
        engine = StubEngine(bundle)
        store = Store(tmp_path / str(bool(key)), engine.bundle.identity, key)
        with Personalizer(engine, store) as me:
            me.fit(examples, Budget(steps=20), remember=True)
            vectors.append(me.replay([20])[0].vector)
            assert set(me.remembered().values()) == set(examples)
    np.testing.assert_array_equal(*vectors)
    assert b"say 1" not in held(tmp_path / "True")
    engine = StubEngine(bundle)
    me = Personalizer(engine, Store(None, engine.bundle.identity))
    items = items_of(Encoder(me._tokenizer, engine.bundle.manifest).encode_all(examples))
    small = Chunks(10**6, 2**30, 0, probed=400, prefilled=400, key=0)
    plain, sealed = (
        PromptCache(engine, items, small, tmp_path, sealed=which) for which in (False, True)
    )
    assert plain.spilled
    assert sealed.spilled
    hidden = plain.context(np.arange(40)).hidden
    np.testing.assert_array_equal(sealed.context(np.arange(40)).hidden, hidden)
    assert hidden.any()
    assert hidden[3].tobytes() in plain._arena.tobytes()
    assert hidden[3].tobytes() not in sealed._arena.tobytes()
