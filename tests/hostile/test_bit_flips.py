"""One flipped bit in any file: refused, or without effect, or an older version is used and said so.

Where the bits flip is drawn from a seed, one in every few bytes, so that each region is hit.
"""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _crash_model import digest, make_bundle, open_versions

from dsa_edge.adapter import Adapter, AdapterSpec, load_adapter, read_adapter_info, save_adapter
from dsa_edge.bundle import Bundle
from dsa_edge.errors import AdapterError, BundleError, DsaEdgeError
from dsa_edge.examples import Example
from dsa_edge.runtime._optimizer import Hyperparameters, Step
from dsa_edge.runtime._sealing import kept
from dsa_edge.runtime._versions import Versions

pytest.importorskip("cryptography", reason="the package cryptography is not installed")

HYPER = asdict(Hyperparameters(queries=2))
SIZE = 14 * 4**2  # numbers in the adapters
DETECTED, HARMLESS = "detected", "harmless"


def flips(raw: bytes, every: int, seed: int) -> Iterator[bytes]:
    """Copies with one bit flipped, one copy for each stretch of so many bytes."""
    randomness = random.Random(seed)
    for start in range(0, len(raw), every):
        at = min(start + randomness.randrange(every), len(raw) - 1)
        changed = bytearray(raw)
        changed[at] ^= 1 << randomness.randrange(8)
        yield bytes(changed)


def fill(folder: Path, key: int) -> None:
    """A store with two versions, of which the newer is in use, their journals, and examples."""
    make_bundle(folder / "bundle", rank=4)
    me = open_versions(folder, key)
    randomness = np.random.default_rng(0)
    told = [Example(f"what they said, {i}", " a", (" a", " b")) for i in range(3)]
    for example in told[:2]:
        ids = {me.example_id(e): e for e in (example, told[2])}
        me._remember(ids)
        parent = me.version
        run = me._store.start_run(parent, 2**62 + parent, HYPER, list(ids))
        for _ in range(3):
            slopes = randomness.standard_normal(2).astype(np.float32)
            me._store.append(run, Step(0.1, slopes))
        learned = me.replay([2], run)[0].vector
        made = Adapter(learned, {" a": 0.5}), 2, {"before": {"loss": 1.0}}
        me._store.end_run(run, "improved", made)
    me._store.close()


READS: dict[str, Callable[[Versions], Any]] = {
    "in use": lambda me: (me.version, digest(me.adapter)),
    "history": lambda me: me.history(),
    "versions": lambda me: [digest(me._version(v.id)) for v in me.history()],
    "fits": lambda me: me.fits(),
    "replays": lambda me: [[digest(a) for a in me.replay(range(4), r.id)] for r in me.fits()],
    "examples": lambda me: me.remembered(),
    "an id": lambda me: me.example_id(Example("a", " b")),
    "the store's id": lambda me: kept(me._store._db, "id"),
}


def read(folder: Path, key: int) -> dict[str, Any]:
    """All that a store says; an error of ours in the place of what it refuses to say."""
    me = open_versions(folder, key)
    said: dict[str, Any] = {}
    for name, call in READS.items():
        try:
            said[name] = call(me)
        except DsaEdgeError as error:
            said[name] = error
    readable = not isinstance(said["in use"], DsaEdgeError)
    said["damaged"] = readable and (me.active_damaged or bool(me.damaged))
    me._store.close()
    return said


def verdicts(said: dict[str, Any], truth: dict[str, Any]) -> set[str]:
    """What became of one flip: what differs without a word, or detected, or harmless."""
    wrong = {name for name in READS if told(said[name]) is None and said[name] != truth[name]}
    if said["damaged"]:
        wrong.discard("in use")
        wrong.discard("history")  # none of the listed versions is the one in use
    if told(said["history"]):
        wrong.discard("versions")  # which are those that it lists
    spoken = said["damaged"] or any(told(said[name]) for name in READS)
    return wrong or {DETECTED if spoken else HARMLESS}


def told(said: Any) -> str | None:
    """What damage an answer speaks of: it is refused, or has rows marked as damaged."""
    if isinstance(said, DsaEdgeError):
        return "refused"
    rows = said if isinstance(said, list) else []
    return "marked" if any(getattr(row, "verdict", "") == "damaged" for row in rows) else None


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")  # replays with changed settings
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
@pytest.mark.parametrize("key", [0, 1], ids=["plain", "sealed"])
def test_a_flipped_bit_in_a_store_never_gives_another_adapter(tmp_path: Path, key: int) -> None:
    fill(tmp_path, key)
    file = tmp_path / "store" / "user.db"
    truth, raw = read(tmp_path, key), file.read_bytes()
    whole = [(0, digest(Adapter(np.zeros(SIZE, np.float32)))), *enumerate(truth["versions"], 1)]
    tally: Counter[str] = Counter()
    for changed in flips(raw, 12, seed=key):
        for leftover in file.parent.glob("user.db-*"):
            leftover.unlink()
        file.write_bytes(changed)
        try:
            said = read(tmp_path, key)
        except DsaEdgeError:
            tally[DETECTED] += 1
            continue
        tally.update(verdicts(said, truth))
        assert isinstance(said["in use"], DsaEdgeError) or said["in use"] in whole
    tell(f"store, key {key}", tally)
    assert tally[DETECTED] > 0.2 * tally.total()
    assert tally.total() == tally[DETECTED] + tally[HARMLESS]


COLUMNS = {
    "meta": ("key", "value"), "versions": ("id", "record", "adapter"),
    "runs": ("id", "record", "examples"), "journal": ("run", "first", "steps"),
    "examples": ("id", "record"),
}  # fmt: skip


@pytest.mark.parametrize("key", [0, 1], ids=["plain", "sealed"])
def test_a_flipped_bit_in_any_column_is_told(tmp_path: Path, key: int) -> None:
    """Each column of each row, in turn, as no page of SQLite's would tell."""
    fill(tmp_path, key)
    file, tally, randomness = tmp_path / "store" / "user.db", Counter[str](), random.Random(key)
    truth, raw = read(tmp_path, key), file.read_bytes()
    for table, columns in COLUMNS.items():
        for number in range(len(rows_of(file, table))):
            for column in columns:
                file.write_bytes(raw)
                flip(file, table, column, number, randomness)
                try:
                    tally.update(verdicts(read(tmp_path, key), truth))
                except DsaEdgeError:
                    tally[DETECTED] += 1
    tell(f"columns, key {key}", tally)
    assert set(tally) == {DETECTED}


def rows_of(file: Path, table: str) -> list[dict[str, Any]]:
    database = sqlite3.connect(file)
    found = database.execute(f"SELECT * FROM {table}")
    names = [column[0] for column in found.description]
    rows = [dict(zip(names, row, strict=True)) for row in found]
    database.close()
    return rows


def flip(file: Path, table: str, column: str, number: int, randomness: random.Random) -> None:
    """One bit of one value."""
    row = rows_of(file, table)[number]
    value = row[column]
    where = " AND ".join(f"{name} IS ?" for name in row)
    database = sqlite3.connect(file)
    with database:
        database.execute(
            f"UPDATE {table} SET {column} = ? WHERE {where}",
            (flipped(value, randomness), *row.values()),
        )
    database.close()


def flipped(value: Any, randomness: random.Random) -> Any:
    if isinstance(value, int):
        return value ^ 1 << randomness.randrange(3, 20)  # no other row has it
    raw = bytearray(value.encode() if isinstance(value, str) else value)
    raw[randomness.randrange(len(raw))] ^= 1 << randomness.randrange(7)
    return raw.decode() if isinstance(value, str) else bytes(raw)


def test_a_flipped_bit_in_an_adapter_file_is_found(tmp_path: Path) -> None:
    file, tally = tmp_path / "a.safetensors", Counter[str]()
    adapter = Adapter(np.linspace(-1, 1, SIZE, dtype=np.float32), {" a": 0.5})
    save_adapter(file, adapter, "f" * 64, AdapterSpec(rank=4))
    raw, truth = file.read_bytes(), read_adapter_info(file)
    for changed in flips(raw, 1, seed=2):
        file.write_bytes(changed)
        try:
            got, info = load_adapter(file, "f" * 64, SIZE), read_adapter_info(file)
        except AdapterError:
            tally[DETECTED] += 1
            continue
        tally[HARMLESS] += 1
        assert digest(got) == digest(adapter)
        assert info == truth
    tell("adapter file", tally)
    assert tally[DETECTED] > 0.9 * tally.total()


def test_a_flipped_bit_in_a_file_of_a_bundle_is_found(bundle_copy: Path) -> None:
    tally: Counter[str] = Counter()
    for name in Bundle.open(bundle_copy).manifest.files:
        file = bundle_copy / name
        raw = file.read_bytes()
        for changed in flips(raw, len(raw) // 40 + 1, seed=3):
            file.write_bytes(changed)
            with pytest.raises(BundleError, match="changed after the export"):
                Bundle.open(bundle_copy)
            tally[DETECTED] += 1
        file.write_bytes(raw)
    tell("files of a bundle", tally)
    Bundle.open(bundle_copy)


def test_a_flipped_bit_in_a_manifest_is_found_or_harmless(bundle_copy: Path) -> None:
    file, tally = bundle_copy / "manifest.json", Counter[str]()
    raw, truth = file.read_bytes(), Bundle.open(bundle_copy).manifest
    for changed in flips(raw, 24, seed=4):
        file.write_bytes(changed)
        try:
            got = Bundle.open(bundle_copy).manifest
        except BundleError:
            tally[DETECTED] += 1
            continue
        assert got == truth  # as where a space became another one
        tally[HARMLESS] += 1
    tell("manifest", tally)
    assert tally[DETECTED] > 0.9 * tally.total()


def tell(what: str, tally: Counter[str]) -> None:
    """For `pytest -s`: the figures that docs/reliability.md quotes."""
    print(f"\n{what}: {tally.total()} flips, {dict(tally.most_common())}")
