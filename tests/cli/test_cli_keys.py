"""Keys on the command line: where they come from, what they open, and every mistake with them."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from stores import LABELLED, Run, Told, as_row, fill, places, write

from dsa_edge.bundle import Bundle
from dsa_edge.cli import VERBS
from dsa_edge.examples import Example
from dsa_edge.runtime import PassphraseKey

pytest.importorskip("cryptography", reason="the package cryptography is not installed")


def test_remembered_examples_are_kept_and_sealed(told: Told, store: Path, tmp_path: Path) -> None:
    key = ["--key", f"file:{tmp_path / 'key'}"]
    data = write(tmp_path / "notes.jsonl", *(as_row(Example(f"note {i}", " ok")) for i in range(8)))
    assert told("personalize", *key, "--data", data, "--steps", 2, "--remember")["steps"] == 2
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert b"note 3" not in (store / "user.db").read_bytes()
    assert told("rekey", *key, "--unseal") | {"store_bytes": 0} == {
        "sealed": False, "key": None, "store_bytes": 0
    }  # fmt: skip
    with sqlite3.connect(store / "user.db") as database:
        assert database.execute("SELECT count(*) FROM examples").fetchone() == (8,)
    database.close()


def test_a_forged_version_stops_work_but_not_the_way_back(
    told: Told, run: Run, bundle: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dsa_edge.runtime._vault import Vault

    fill(bundle, store, PassphraseKey("word"))
    size = Bundle.open(bundle, check_hashes=False).manifest.adapter_size
    forged = Vault(bytes(32)).pack_floats(np.zeros(size, dtype=np.float32), "versions/2/adapter")
    with sqlite3.connect(store / "user.db") as database:
        database.execute("UPDATE versions SET adapter = ? WHERE id = 2", (forged,))
    database.close()
    monkeypatch.setenv("DSA_EDGE_PASSPHRASE", "word")
    opened = [bundle, "--store", store, "--key", "passphrase"]
    code, _, err = run("generate", *opened, "--prompt", "x")
    assert code == 1
    assert "changed by something that does not have the store's key" in err
    code, out, err = run("history", *opened)
    assert code == 0
    assert "warning: versions/2/adapter was changed" in err
    assert "*" not in out.split("\n", 1)[1]
    assert told("rollback", "--key", "passphrase", "--version", 1)["active"] == 1


def test_a_store_is_sealed_rekeyed_and_unsealed(
    told: Told, run: Run, bundle: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(bundle, store)
    before = told("history")["versions"]
    file = f"file:{tmp_path / 'key'}"
    code, out, _ = run("rekey", bundle, "--store", store, "--to", file)
    assert code == 0
    assert f"is sealed with the key file {tmp_path / 'key'}; it takes" in out
    monkeypatch.setenv("DSA_EDGE_NEW_PASSPHRASE", "new")
    rekeyed = told("rekey", "--key", file, "--to", "passphrase")
    assert (rekeyed["sealed"], rekeyed["key"]) == (True, "the passphrase")
    assert rekeyed["store_bytes"] > 0
    assert run("history", bundle, "--store", store, "--key", file)[0] == 1  # the old key
    monkeypatch.setenv("DSA_EDGE_PASSPHRASE", "new")
    history = told("history", "--key", "passphrase")
    assert history["sealed"] is True
    assert history["versions"] == before
    assert "is not sealed" in run(
        "rekey", bundle, "--store", store, "--key", "passphrase", "--unseal"
    )[1]  # fmt: skip
    assert told("history")["versions"] == before


def test_the_keyring_seals_a_store(
    told: Told, bundle: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring = pytest.importorskip("keyring")
    kept: dict[tuple[str, str], str] = {}
    monkeypatch.setattr(keyring, "get_password", lambda *who: kept.get(who))
    monkeypatch.setattr(keyring, "set_password", lambda a, b, text: kept.update({(a, b): text}))
    fill(bundle, store)
    assert told("rekey", "--to", "keyring")["key"] == "the system's keyring"
    assert told("history", "--key", "keyring")["active"] == 2
    before = (store / "user.db").read_bytes()
    assert told("rekey", "--key", "keyring", "--to", "keyring")["sealed"] is True  # a new key
    assert (store / "user.db").read_bytes() != before
    assert told("history", "--key", "keyring")["active"] == 2
    ((service, account),) = kept
    listed = places(told("doctor", "--privacy"))
    assert listed["a key in the keyring"]["path"].endswith(f"service {service}, account {account}")


def typing(monkeypatch: pytest.MonkeyPatch, *words: str) -> list[str]:
    """A terminal on which these passphrases are typed; returns what was asked."""
    asked, left = list[str](), list(words)

    def typed(prompt: str) -> str:
        asked.append(prompt)
        if not left:
            raise EOFError
        return left.pop(0)

    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("dsa_edge.cli._keys.getpass", typed)
    return asked


def test_a_passphrase_is_typed_twice_for_a_new_store_and_once_after(
    run: Run, bundle: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = [bundle, "--store", store, "--key", "passphrase"]
    typing(monkeypatch, "one", "two")
    code, _, err = run("history", *opened)
    assert code == 2
    assert "the two passphrases differ" in err
    assert not store.exists()
    assert len(typing(monkeypatch, "one", "one")) == 0
    assert run("history", *opened)[0] == 0
    asked = typing(monkeypatch, "one")
    assert run("history", *opened)[0] == 0
    assert asked == [f"passphrase of {store}: "]
    asked = typing(monkeypatch, "one", "new", "new")
    assert run("rekey", *opened, "--to", "passphrase")[0] == 0
    assert len(asked) == 3
    typing(monkeypatch)
    code, _, err = run("history", *opened)
    assert code == 2
    assert "no passphrase was typed" in err


MISTAKES = {
    "a passphrase on the command line": (["history", "--key", "hunter2"], 2, "keyring, passphrase"),
    "no key": (["history"], 1, "is sealed, and no key was given"),
    "a wrong passphrase": (["history", "--key", "passphrase"], 1, "passphrase does not open"),
    "an empty passphrase": (["rekey", "--key", "passphrase", "--to", "file:"], 2, "file:PATH"),
    "another kind of key": (["history", "--key", "file:OTHER"], 1, "does not open"),
    "a key file that is not there": (["history", "--key", "file:none"], 2, "no key file none"),
    "no new passphrase": (["rekey", "--key", "file:KEY", "--to", "passphrase"], 2,
                          "set DSA_EDGE_NEW_PASSPHRASE"),
    "no new key": (["rekey", "--key", "file:KEY"], 2, "--to"),
    "two new keys": (["rekey", "--key", "file:KEY", "--to", "keyring", "--unseal"], 2, "--unseal"),
    "no id": (["forget", "--key", "file:KEY", "--examples", " , "], 2, "names no id"),
    "not an id": (["forget", "--key", "file:KEY", "--examples", "dear"], 2, "16 hex digits"),
    "no file": (["forget", "--key", "file:KEY", "--data", "none"], 1, "no file none"),
    "a template without a file": (["forget", "--key", "file:KEY", *LABELLED], 2, "--data"),
}  # fmt: skip


def contents(folder: Path) -> dict[Path, bytes]:
    """All files but the lock, which is empty."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "writer.lock"]
    return {path: path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def locked(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store sealed with the file KEY beside it. Read only."""
    from dsa_edge.runtime import FileKey

    folder = tmp_path_factory.mktemp("locked")
    fill(bundle, folder / "me", FileKey(folder / "KEY"))
    FileKey(folder / "OTHER").key("", bytes(16))
    return folder


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_with_keys_is_one_sentence_and_changes_nothing(
    run: Run, bundle: Path, locked: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(locked)
    monkeypatch.setenv("DSA_EDGE_PASSPHRASE", "wrong")
    before = contents(locked)
    (verb, *more), expected, words = MISTAKES[name]
    code, _, err = run(verb, bundle, "--store", "me", *more)
    assert code == expected
    assert words in err
    assert "hunter2" not in err
    assert contents(locked) == before


def test_keys_where_they_do_not_belong(
    run: Run, bundle: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = run("generate", bundle, "--prompt", "x", "--key", "keyring")
    assert code == 2
    assert "--key is given without --store" in err
    code, _, err = run("rekey", bundle, "--store", store, "--to", f"file:{tmp_path / 'key'}")
    assert code == 1
    assert f"no store in {store}" in err
    fill(bundle, store)
    code, _, err = run("history", bundle, "--store", store, "--key", f"file:{tmp_path / 'key'}")
    assert code == 1
    assert "is not sealed, and a key was given: `dsa-edge rekey` seals it" in err
    code, _, err = run("history", bundle, "--store", store, "--key", "passphrase")
    assert code == 2
    assert "set DSA_EDGE_PASSPHRASE, or use keyring or file:PATH" in err
    monkeypatch.setenv("DSA_EDGE_PASSPHRASE", "")
    code, _, err = run("history", bundle, "--store", store, "--key", "passphrase", "--json")
    assert code == 2
    assert "the passphrase is empty" in err


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("demo", "export")])
def test_every_verb_with_a_store_takes_a_key(run: Run, verb: str) -> None:
    help_ = run(verb, "--help")[1]
    assert ("--store" in help_) == ("--key KEY" in help_) or verb == "doctor"
