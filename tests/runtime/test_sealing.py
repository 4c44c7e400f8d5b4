"""Sealed stores: keys, what they hide, and how wrong keys, tampering and damage are told apart."""

from __future__ import annotations

import hashlib
import sqlite3
import stat
from pathlib import Path

import numpy as np
import pytest
from stub import StubEngine

from dsa_edge.adapter import Adapter
from dsa_edge.errors import DamagedError, StoreError, TamperError, UsageError, WrongKeyError
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
    for secret in (b"zebra", b"garden", b"improved", b"queries", LEARNED.vector[:4].tobytes()):
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
    forged = Vault(b"\7" * 32).pack(b"{}", "versions/1/record")
    change(tmp_path, "UPDATE versions SET record = ?", forged)
    with pytest.raises(TamperError, match="versions/1/record was changed"):
        store.rekey(FixedKey(2))
    store.close()
    again = Store(tmp_path, IDENTITY, FixedKey())
    assert again.journal(again.runs()[0])[0].slopes.tolist() == [1, 2]
    again.close()


@pytest.mark.parametrize(("old", "new"), [(None, 1), (1, 2), (2, None)])
def test_what_is_damaged_stays_so_under_another_key(
    tmp_path: Path, old: int | None, new: int | None
) -> None:
    before, after = (FixedKey(number) if number else None for number in (old, new))
    store = filled(tmp_path, before)
    run = store.start_run(1, 1, HYPER)
    store.end_run(run, "improved", (Adapter(-LEARNED.vector), 0, {}))
    ((whole,),) = store._db.rows("SELECT adapter FROM versions WHERE id = 2")
    broken = bytearray(whole)
    broken[-1] ^= 1
    change(tmp_path, "UPDATE versions SET adapter = ? WHERE id = 2", bytes(broken))
    change(tmp_path, "UPDATE runs SET record = x'0011' WHERE id = 2")
    change(tmp_path, "UPDATE meta SET value = x'0011' WHERE key = 'active'")
    for key in (after, before, after):
        store.rekey(key)
        used = store.newest_whole()
        assert (used.version, used.damaged, used.lost) == (1, (2,), True)
        assert [run.verdict for run in store.runs()] == ["improved", "damaged"]
    assert broken[40:64] not in held(tmp_path)  # not even as it was before the key
    store.close()
    again = Store(tmp_path, IDENTITY, after)
    np.testing.assert_array_equal(again.adapter(1).vector, LEARNED.vector)
    again.close()


def test_an_id_can_be_guessed_from_nothing_that_lies_in_the_clear(tmp_path: Path) -> None:
    """The secret of ids is under the key, and ids stay the same when that is changed."""
    store = filled(tmp_path, None)
    known = store.example_id(TEXT)
    for key in (FixedKey(), FixedKey(2), None, FixedKey()):
        store.rekey(key)
        assert store.example_id(TEXT) == known
        assert store.example_ids() == {known}
    rows = dict(store._db.rows("SELECT key, value FROM meta"))
    clear = [Vault().unpack(rows[name], f"meta/{name}") for name in ("id", "salt", "bundle")]
    clear += [bytes.fromhex(text.decode()) for text in clear]
    for secret in (*clear, *rows.values()):
        guess = hashlib.blake2b(TEXT.encode(), digest_size=8, key=secret[:64])
        assert guess.hexdigest() != known
    with pytest.raises(ValueError, match="meta/secret"):
        Vault().unpack(rows["secret"], "meta/secret")
    store.forget()
    assert store.example_id(TEXT) != known  # what was forgotten cannot be recognized either
    store.close()


def test_an_empty_store_that_gets_a_key_gets_another_secret(tmp_path: Path) -> None:
    plain = Store(tmp_path, IDENTITY)
    known = plain.example_id(TEXT)  # under a secret that lay open
    plain.close()
    store = Store(tmp_path, IDENTITY, FixedKey())
    assert store.sealed
    assert store.example_id(TEXT) != known
    store.close()


def test_the_version_in_use_cannot_be_set_without_the_key(tmp_path: Path) -> None:
    filled(tmp_path, FixedKey()).close()
    change(tmp_path, "UPDATE meta SET value = ? WHERE key = 'active'",
           Vault(b"\7" * 32).pack(b"0", "meta/active"))  # fmt: skip
    store = Store(tmp_path, IDENTITY, FixedKey())
    for call in (store.newest_whole, lambda: store.active):
        with pytest.raises(TamperError, match="meta/active was changed"):
            call()
    assert [version.active for version in store.versions()] == [False]
    store.activate(1)
    assert store.newest_whole().version == 1
    store.close()


def test_a_sealed_store_that_lost_its_proof_is_not_taken_for_an_unsealed_one(
    tmp_path: Path,
) -> None:
    for number, name in enumerate(("proof", "salt")):
        folder = tmp_path / str(number)
        filled(folder, FixedKey()).close()
        change(folder, "DELETE FROM meta WHERE key = ?", name)
        for key in (None, FixedKey()):
            with pytest.raises(DamagedError, match="half of what a sealed store has"):
                Store(folder, IDENTITY, key)


def test_a_forged_version_in_use_does_not_stop_forgetting(bundle: Path, tmp_path: Path) -> None:
    engine = StubEngine(bundle)
    with Personalizer(engine, Store(tmp_path, engine.bundle.identity, FixedKey())) as me:
        told = [Example(f"say {i}", " a", (" a", " b")) for i in range(2)]
        for parent, example in enumerate(told):
            run = me._store.start_run(parent, 1, HYPER, [me.example_id(example)])
            me._store.end_run(run, "improved", (LEARNED, 0, {}))
        forged = Vault(b"\7" * 32).pack_floats(LEARNED.vector, "versions/1/adapter")
        change(tmp_path, "UPDATE versions SET adapter = ? WHERE id = 1", forged)
        gone = me.forget([me.example_id(told[1])])
        assert (gone.versions, gone.active) == ((2,), 1)
        with pytest.raises(TamperError):
            me.version  # noqa: B018
        assert me.forget().active == me.version == 0


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
        Store(tmp_path / "2", IDENTITY, FileKey(tmp_path / "nowhere" / "key"))
    with pytest.raises(UsageError, match="the passphrase is empty"):
        PassphraseKey("")


def test_a_missing_key_is_told_and_none_is_made_for_a_sealed_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = FileKey(tmp_path / "key")
    filled(tmp_path / "me", key).close()
    (tmp_path / "key").rename(tmp_path / "moved")
    with pytest.raises(WrongKeyError, match="is sealed, and the key file .*does not have its key"):
        Store(tmp_path / "me", IDENTITY, key)
    assert not (tmp_path / "key").exists()
    keyring = pytest.importorskip("keyring")
    monkeypatch.setattr(keyring, "get_password", lambda *who: None)
    with pytest.raises(WrongKeyError, match="the system's keyring does not have its key: give"):
        Store(tmp_path / "me", IDENTITY, KeyringKey())
    monkeypatch.setattr(keyring, "get_password", lambda *who: "not base64!")
    with pytest.raises(WrongKeyError, match="is no key of ours"):
        Store(tmp_path / "me", IDENTITY, KeyringKey())


@pytest.mark.parametrize("kind", ["file", "keyring"])
def test_the_same_provider_gives_another_key_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    kept: dict[tuple[str, str], str] = {}
    if kind == "keyring":
        keyring = pytest.importorskip("keyring")
        monkeypatch.setattr(keyring, "get_password", lambda *who: kept.get(who))
        monkeypatch.setattr(keyring, "set_password", lambda a, b, c: kept.update({(a, b): c}))
    given: list[bytes] = []
    key = FileKey(tmp_path / "key") if kind == "file" else KeyringKey()
    derive = key.key
    monkeypatch.setattr(key, "key", lambda *what: given.append(derive(*what)) or given[-1])
    store = filled(tmp_path / "me", key)
    store.rekey(key)
    same_content(store)
    store.close()
    again = Store(tmp_path / "me", IDENTITY, key)
    same_content(again)
    again.close()
    first, second, opened = given
    assert first != second == opened
    assert {len(each) for each in given} == {32}


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
