"""Damage in a store: what is told, what is used instead, and what goes on all the same."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from users import (
    CHOICES,
    HYPER,
    IDENTITY,
    LEARNED,
    edit,
    examples,
    personalizer,
    step,
    store_blobs,
    three_versions,
)

from dsa_edge.adapter import Adapter
from dsa_edge.errors import DamagedError, DsaEdgeError, PrivacyError
from dsa_edge.runtime import Budget, Example, Personalizer, Privacy
from dsa_edge.runtime._store import Store

EDITS = {
    "what is said of a version": "UPDATE versions SET record = '{'",
    "numbers cut short": "UPDATE versions SET adapter = x'00000000ff'",
    "numbers that are text": "UPDATE versions SET adapter = 'text'",
    "another id of a version": "UPDATE versions SET id = 3",
    "what is said of a fit": "UPDATE runs SET record = '{'",
    "a fit without a record": "UPDATE runs SET record = x''",
    "steps": "UPDATE journal SET steps = x'0102'",
    "the version in use": "UPDATE meta SET value = 'x' WHERE key = 'active'",
    "no version in use": "DELETE FROM meta WHERE key = 'active'",
    "a number in place of a setting": "UPDATE meta SET value = 1 WHERE key = 'active'",
    "no secret": "DELETE FROM meta WHERE key = 'secret'",
    "half a seal": "INSERT INTO meta VALUES ('salt', x'00')",
    "no bundle": "DELETE FROM meta WHERE key = 'bundle'",
    "a missing table": "DROP TABLE journal",
}
USES: dict[str, Callable[[Personalizer], Any]] = {
    "history": lambda me: me.history(),
    "adapter": lambda me: me.adapter,
    "replay": lambda me: me.replay([1]),
    "choose": lambda me: me.choose("say rain", CHOICES),
    "size": lambda me: me.store_bytes,
    "rollback": lambda me: me.rollback(0),
    "ids": lambda me: me.example_id(Example("say rain", " a")),
    "forget": lambda me: me.forget(),
}


@pytest.fixture(scope="module")
def learned(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a store with one version and one journal."""
    folder = tmp_path_factory.mktemp("learned")
    with personalizer(bundle, folder) as me:
        assert me.fit(examples(), Budget(steps=40)).version == 1
    return (folder / "user.db").read_bytes()


def use(bundle: Path, folder: Path) -> int:
    """Do everything with a store that may be damaged; returns how often it refused or told so."""
    refusals = 0
    try:
        me = personalizer(bundle, folder)
    except DsaEdgeError as error:
        assert str(folder) in str(error)
        return 1
    for call in USES.values():
        try:
            call(me)
            refusals += bool(me.damaged or me.active_damaged)
        except DsaEdgeError as error:
            assert str(folder) in str(error)
            assert str(error).endswith(".")
            refusals += 1
    me.close()
    return refusals


def test_a_whole_store_is_refused_nothing(bundle: Path, learned: bytes, tmp_path: Path) -> None:
    (tmp_path / "user.db").write_bytes(learned)
    assert use(bundle, tmp_path) == 0


@pytest.mark.parametrize("edit", EDITS)
def test_rows_that_we_did_not_write_are_a_store_error(
    bundle: Path, learned: bytes, tmp_path: Path, edit: str
) -> None:
    (tmp_path / "user.db").write_bytes(learned)
    database = sqlite3.connect(tmp_path / "user.db")
    with database:
        database.execute(EDITS[edit])
    database.close()
    assert use(bundle, tmp_path) >= 1


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")  # replaying steps of random bytes
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_damaged_pages_give_answers_or_store_errors_and_no_traceback(
    bundle: Path, learned: bytes, tmp_path: Path
) -> None:
    randomness, refusals = random.Random(0), 0
    for trial in range(60):
        folder = tmp_path / str(trial)
        folder.mkdir()
        raw = bytearray(learned)
        page = randomness.randrange(len(raw) // 1024) * 1024
        if trial % 3 == 0:
            raw[page : page + 1024] = randomness.randbytes(1024)
        elif trial % 3 == 1:
            raw = raw[: randomness.randrange(len(raw))]
        else:
            raw[page + randomness.randrange(1024)] ^= 1 << randomness.randrange(8)
        (folder / "user.db").write_bytes(raw)
        refusals += use(bundle, folder) > 0
    assert refusals >= 20  # whole pages and cut files are noticed


def test_a_damaged_version_gives_way_to_the_one_before(tmp_path: Path) -> None:
    store, _ = three_versions(tmp_path)
    edit(tmp_path, "UPDATE versions SET adapter = x'0011223344556677aabb' WHERE id = 3")
    used = store.newest_whole()
    assert (used.version, used.damaged, used.lost) == (2, (3,), False)
    assert used.adapter is not None
    np.testing.assert_array_equal(used.adapter.vector, LEARNED.vector + np.float32(1))
    store.close()


def branched(folder: Path) -> Store:
    """Version 3 was learned from version 1, after going back from version 2."""
    store, _ = three_versions(folder)
    store.forget_examples([store.example_id("text 2.0")])
    store.activate(1)
    run = store.start_run(1, 1, HYPER, [store.example_id("text 2.0")])
    store.end_run(run, "improved", (LEARNED, 0, {}))
    assert [(v.id, v.parent) for v in store.versions()] == [(1, 0), (2, 1), (3, 1)]
    return store


def test_the_fit_tells_what_a_damaged_version_came_from(tmp_path: Path) -> None:
    store = branched(tmp_path)
    edit(tmp_path, "UPDATE versions SET record = x'00' WHERE id = 3")
    used = store.newest_whole()
    assert (used.version, used.damaged) == (1, (3,))
    listed = store.versions()[2]
    assert (listed.verdict, listed.parent, listed.active) == ("damaged", None, True)
    edit(tmp_path, "UPDATE runs SET record = x'00' WHERE id = 3")  # and now nothing does
    used = store.newest_whole()
    assert (used.version, used.damaged) == (2, (3,))
    store.activate(2)
    assert store.newest_whole().damaged == ()
    store.close()


def test_a_version_whose_row_is_gone_gives_way_too(tmp_path: Path) -> None:
    store = branched(tmp_path)
    edit(tmp_path, "DELETE FROM versions WHERE id = 3")
    used = store.newest_whole()
    assert (used.version, used.damaged) == (2, (3,))
    store.close()


@pytest.mark.parametrize(
    "query",
    [
        "UPDATE meta SET value = x'00112233445566778899' WHERE key = 'active'",
        "UPDATE meta SET key = 'actire' WHERE key = 'active'",
        "UPDATE meta SET value = (SELECT value FROM meta WHERE key = 'id') WHERE key = 'active'",
    ],
)
def test_when_the_version_in_use_is_lost_the_newest_whole_one_is(
    bundle: Path, tmp_path: Path, query: str
) -> None:
    with personalizer(bundle, tmp_path) as me:
        for number in (1, 2, 3):
            size = me.bundle.manifest.adapter_size
            made = Adapter(np.full(size, number, dtype=np.float32))
            me._store.add_version(number - 1, made, "loaded", 0, {})
        me.rollback(1)
        assert not me.active_damaged
        edit(tmp_path, query)
        assert (me.version, me.damaged, me.active_damaged) == (3, (), True)
        edit(tmp_path, "UPDATE versions SET adapter = x'' WHERE id = 3")
        assert (me.version, me.damaged, me.active_damaged) == (2, (3,), True)
        assert me.adapter.vector[0] == 2
        assert not any(version.active for version in me.history())
        me.rollback(1)
        assert (me.version, me.damaged, me.active_damaged) == (1, (), False)


RUN_EDITS = {
    "record": "UPDATE runs SET record = x'0011' WHERE id = 2",
    "examples": "UPDATE runs SET examples = x'0011' WHERE id = 2",
    "id": "UPDATE runs SET id = 66 WHERE id = 2",
}


@pytest.mark.parametrize("part", RUN_EDITS)
def test_a_damaged_fit_is_listed_and_all_else_goes_on(
    bundle: Path, tmp_path: Path, part: str
) -> None:
    with personalizer(bundle, tmp_path) as me:
        for number in range(3):
            told = [Example(f"{number} {i}", CHOICES[i % 2], CHOICES) for i in range(16)]
            me.fit(told, Budget(steps=2), remember=True)
            run = me._store.start_run(me.version, 0, {"queries": 1.0}, [me.example_id(told[0])])
            me._store.end_run(run, "improved", (me.adapter, 0, {}))
        assert len(me.history()) >= 3
        edit(tmp_path, RUN_EDITS[part])
        damaged = [run for run in me.fits() if run.verdict == "damaged"]
        assert [run.id for run in damaged] == [66 if part == "id" else 2]
        assert (damaged[0].seed is None) == (part != "examples")
        assert len(me.fits()) == 6
        if part != "examples":
            with pytest.raises(DamagedError, match="is damaged, so it cannot be replayed: restore"):
                me.replay([0], damaged[0].id)
        with pytest.raises(
            PrivacyError, match=r"fit \d+ of this store is damaged, so what it spent"
        ):
            me.fit(examples(), Budget(steps=2), privacy=Privacy(8.0))
        assert len(me.replay([0, 1], me.fits()[0].id)) == 2
        assert len(me.history()) >= 3
        me.rollback(1)
        assert me.version == 1
        assert me.fit(examples(), Budget(steps=2)).steps == 2
        assert me.version == me._store.active


def test_a_damaged_fit_may_have_learned_from_what_is_forgotten(tmp_path: Path) -> None:
    store, groups = three_versions(tmp_path)
    edit(tmp_path, RUN_EDITS["record"])  # version 2 may be its, and 3 came from that
    assert store.forget_examples([groups[2][0]]) == (2, 3)
    assert [run.id for run in store.runs()] == [1]
    assert store.active == 1
    assert len(store.remembered()) == 14
    store.close()
    store, groups = three_versions(tmp_path / "examples")
    edit(tmp_path / "examples", RUN_EDITS["examples"])
    assert store.forget_examples([groups[2][0]]) == (2, 3)
    store.close()
    store, groups = three_versions(tmp_path / "both")
    both = (RUN_EDITS["record"], "UPDATE versions SET record = x'' WHERE id = 1")
    edit(tmp_path / "both", *both, "UPDATE runs SET record = x'' WHERE id = 1")
    assert store.forget_examples(["00" * 8]) == (1, 2, 3)
    assert store.active == 0
    assert not store_blobs(tmp_path / "both", "SELECT steps FROM journal")
    store.close()


@pytest.mark.parametrize("number", [0, -1, 2**40])
def test_a_damaged_version_of_any_number_is_forgotten(tmp_path: Path, number: int) -> None:
    store, groups = three_versions(tmp_path)
    edit(tmp_path, f"UPDATE versions SET id = {number} WHERE id = 1")
    assert sorted(store.forget_examples([groups[0][0]])) == sorted([1, 2, 3, number])
    assert (store.active, store.versions()) == (0, [])
    store.close()


def test_a_damaged_example_is_forgotten_with_any(tmp_path: Path) -> None:
    store, groups = three_versions(tmp_path)
    edit(tmp_path, f"UPDATE examples SET id = x'{'11' * 8}' WHERE id = x'{groups[0][0]}'")
    with pytest.raises(DamagedError):
        store.remembered()
    assert groups[0][0] in store.example_ids()  # the fit still knows it
    assert "11" * 8 not in store.example_ids()
    store.forget_examples([groups[2][0]])
    assert len(store.remembered()) == 13
    store.close()


JOURNAL_EDITS = (
    "UPDATE journal SET run = 9 WHERE run = 2",
    "UPDATE journal SET run = 1 WHERE run = 2 AND first = 6",
    "UPDATE journal SET first = 8 WHERE run = 2 AND first = 6",
    "UPDATE journal SET first = 9 WHERE run = 2 AND first = 3",
    "DELETE FROM journal WHERE run = 2 AND first = 3",
)


@pytest.mark.parametrize("query", JOURNAL_EDITS)
@pytest.mark.parametrize("ended", [False, True])
def test_a_changed_key_of_a_journal_is_found(tmp_path: Path, query: str, ended: bool) -> None:
    store = Store(tmp_path, IDENTITY)
    for _ in range(2):
        run = store.start_run(0, 1, HYPER)
        for number in range(7):
            store.append(run, step(number))
    if ended:
        store.end_run(run, "no improvement")
        query = query.replace("AND first = 6", "").replace("AND first = 3", "")
        query = query.replace("run = 1 ", "run = 5 ")  # run 1 has such a row
    edit(tmp_path, query)
    for _ in range(2):
        with pytest.raises(DamagedError):
            [store.journal(run) for run in store.runs()]
        store.start_run(0, 1, HYPER)  # what is damaged does not stop what comes after it
        store.end_run(store.run().id, "no improvement")
        assert "run = 1 " in query or len(store.journal(store.run(1))) == 7
    store.close()
