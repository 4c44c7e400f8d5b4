"""The user's store: durable, private, forgetful, and clear when it is damaged."""

from __future__ import annotations

import json
import random
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stub import StubEngine

from dsa_edge.adapter import Adapter, AdapterSpec, save_adapter
from dsa_edge.errors import (
    AdapterError,
    DamagedError,
    DsaEdgeError,
    PrivacyError,
    StoreError,
    UsageError,
)
from dsa_edge.runtime import Budget, Example, Hyperparameters, Personalizer, Privacy, Progress
from dsa_edge.runtime._optimizer import Step
from dsa_edge.runtime._store import Store

IDENTITY = "a" * 64
CHOICES = (" a", " b")
WORDS = ["the", "quiet", "baker", "opens", "early", "and", "sells", "warm", "bread", "rain"]
SECRET = "grandmother's garden gate code"
LEARNED = Adapter(np.linspace(-1, 1, 300, dtype=np.float32), {" zebra": 0.25, " quokka": -0.25})
HYPER = {"queries": 2.0}


def examples() -> list[Example]:
    return [Example(f"say {w}", CHOICES[i % 2], CHOICES) for i, w in enumerate(WORDS)] * 8


def personalizer(bundle: Path, folder: Path | None) -> Personalizer:
    engine = StubEngine(bundle)
    return Personalizer(engine, Store(folder, engine.bundle.identity))


def step(number: int) -> Step:
    return Step(0.5, np.array([number, -number], dtype=np.float32))


def contents(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def test_versions_and_the_one_in_use_survive_reopening(tmp_path: Path) -> None:
    store = Store(tmp_path / "deep" / "me", IDENTITY)
    assert store.active == 0
    first = store.add_version(0, LEARNED, "improved", 7, {"before": 1})
    second = store.add_version(first, Adapter(-LEARNED.vector), "loaded", 0, {})
    store.activate(first)
    store.close()
    again = Store(tmp_path / "deep" / "me", IDENTITY)
    assert again.active == first == 1
    assert [(v.id, v.parent, v.active, v.verdict, v.steps) for v in again.versions()] == [
        (1, 0, True, "improved", 7), (2, 1, False, "loaded", 0)
    ]  # fmt: skip
    np.testing.assert_array_equal(again.adapter(first).vector, LEARNED.vector)
    np.testing.assert_array_equal(again.adapter(second).vector, -LEARNED.vector)
    assert again.adapter(first).labels == LEARNED.labels
    again.close()


def test_a_journal_is_durable_step_by_step(tmp_path: Path) -> None:
    """What a crash leaves is all steps but the one that was being taken."""
    crashed = Store(tmp_path, IDENTITY)
    run = crashed.start_run(0, seed=2**63 - 1, hyper=HYPER)
    for number in range(37):
        crashed.append(run, step(number))
    survivor = Store(tmp_path, IDENTITY)  # the first one was never closed
    (found,) = survivor.runs()
    assert (found.seed, found.version, found.kept, found.verdict) == (2**63 - 1, None, None, None)
    journal = survivor.journal(found)
    assert [s.slopes.tolist() for s in journal] == [[i, -i] for i in range(37)]
    assert {s.rate for s in journal} == {0.5}
    survivor.start_run(0, 1, HYPER)  # which also packs what was interrupted
    assert [s.slopes.tolist() for s in survivor.journal(found)] == [[i, -i] for i in range(37)]
    crashed.close()
    survivor.close()


def test_journals_of_several_fits_do_not_mix(tmp_path: Path) -> None:
    store = Store(tmp_path, IDENTITY)
    for count in (3, 17):
        run = store.start_run(0, 1, HYPER)
        for number in range(count):
            store.append(run, step(number))
        store.end_run(run, "no improvement")
    assert [len(store.journal(run)) for run in store.runs()] == [3, 17]
    with pytest.raises(StoreError, match="no such fit"):
        store.run(9)
    store.close()


def store_blobs(folder: Path, query: str) -> list[bytes]:
    with sqlite3.connect(folder / "user.db") as database:
        return [bytes(row[0]) for row in database.execute(query)]


def test_forgetting_leaves_no_byte_of_what_was_learned(tmp_path: Path) -> None:
    store = Store(tmp_path, IDENTITY)
    run = store.start_run(0, 1, HYPER)
    for number in range(40):
        store.append(run, step(number + 1000))
    assert store.end_run(run, "improved", (LEARNED, 40, {})) == 1
    store.close()
    blobs = [
        *store_blobs(tmp_path, "SELECT adapter FROM versions UNION SELECT record FROM versions"),
        *store_blobs(tmp_path, "SELECT record FROM runs"),
        *store_blobs(tmp_path, "SELECT steps FROM journal"),
    ]
    before = contents(tmp_path)
    traces = [blob[i : i + 24] for blob in blobs for i in range(0, len(blob) - 24, 24)]
    traces = [trace for trace in traces if trace in before]
    assert len(traces) > 20  # a few are cut by the ends of pages
    store = Store(tmp_path, IDENTITY)
    store.forget()
    for _ in range(2):
        after = contents(tmp_path)  # the write-ahead log included, and while still open
        assert not [trace for trace in traces if trace in after]
        assert store.versions() == []
        assert store.runs() == []
        assert store.active == 0
        store.close()
        store = Store(tmp_path, IDENTITY)
    assert store.bytes < 16_000
    store.close()


def test_a_forgotten_store_learns_again(bundle: Path, tmp_path: Path) -> None:
    with personalizer(bundle, tmp_path) as me:
        me.fit(examples(), Budget(steps=40))
        me.forget()
        assert me.version == 0
        assert not me.adapter.vector.any()
        assert me.fit(examples(), Budget(steps=40)).version == 1


def test_a_store_keeps_no_prompt_and_is_its_owners_alone(bundle: Path, tmp_path: Path) -> None:
    me = personalizer(bundle, tmp_path / "me")
    told = [Example(f"{SECRET} {e.prompt}", e.response, CHOICES) for e in examples()]
    me.fit(told, Budget(steps=3))
    held = contents(tmp_path / "me")
    assert SECRET.encode() not in held
    assert b"say rain" not in held
    assert stat.S_IMODE((tmp_path / "me").stat().st_mode) == 0o700
    me.close()


def test_without_a_folder_nothing_is_written(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with personalizer(bundle, None) as me:
        me.fit(examples(), Budget(steps=3))
        assert me.store_bytes == 0
    assert list(tmp_path.iterdir()) == []


def test_two_programs_may_read_and_write_one_store(tmp_path: Path) -> None:
    one, two = Store(tmp_path, IDENTITY), Store(tmp_path, IDENTITY)
    assert one.add_version(0, LEARNED, "improved", 1, {}) == 1
    assert two.active == 1
    assert two.add_version(1, LEARNED, "improved", 1, {}) == 2
    assert [v.id for v in one.versions()] == [1, 2]
    one.close()
    two.close()


def test_a_store_that_another_program_holds_is_a_clear_error(tmp_path: Path) -> None:
    store = Store(tmp_path, IDENTITY)
    store.add_version(0, LEARNED, "improved", 1, {})
    other = sqlite3.connect(tmp_path / "user.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store._db.rows("PRAGMA busy_timeout = 50")  # ms; two seconds would only slow this test
    with pytest.raises(StoreError, match=r"locked.*close other programs"):
        store.activate(0)
    assert store.active == 1
    other.execute("ROLLBACK")
    other.close()
    store.activate(0)
    assert store.active == 0
    store.close()


def test_a_full_disk_loses_the_new_version_alone(bundle: Path, tmp_path: Path) -> None:
    """SQLite's own page limit stands for the disk: the same error on the same paths."""
    me = personalizer(bundle, tmp_path)
    assert me.fit(examples(), Budget(steps=40)).version == 1
    good = me.adapter.vector
    ((pages,),) = me._store._db.rows("PRAGMA page_count")
    me._store._db.rows(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match=r"full.*free space.*unchanged"):
        me.fit(examples(), Budget(steps=40), seed=1)
    me.close()
    with personalizer(bundle, tmp_path) as again:
        assert again.version == 1
        np.testing.assert_array_equal(again.adapter.vector, good)
        assert again.fit(examples(), Budget(steps=3)).steps == 3


def test_a_fit_that_is_interrupted_changes_nothing_and_can_be_repeated(
    bundle: Path, tmp_path: Path
) -> None:
    def interrupt(event: Progress) -> None:
        if event.step == 19:
            raise KeyboardInterrupt

    me = personalizer(bundle, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        me.fit(examples(), Budget(steps=60), interrupt)
    assert me.version == 0
    assert me.history() == []
    report = me.fit(examples(), Budget(steps=60))
    assert (report.verdict, report.version) == ("improved", 1)
    me.close()
    with personalizer(bundle, tmp_path) as again:
        broken, whole = again._store.runs()
        assert len(again._store.journal(broken)) == 19
        assert (broken.version, whole.version) == (None, 1)
        assert (broken.verdict, whole.verdict) == (None, "improved")
        prefix, same = (again.replay([19], run.id)[0].vector for run in (broken, whole))
        np.testing.assert_array_equal(prefix, same)  # the same seed took the same steps


def test_replay_rebuilds_any_step_of_any_fit_to_the_bit(bundle: Path, tmp_path: Path) -> None:
    """A second fit starts from the first one's version, with another seed and settings."""
    with personalizer(bundle, tmp_path) as me:
        me.fit(examples(), Budget(steps=15))
        hyper = Hyperparameters(
            queries=3, batch=5, epsilon=0.2, rate=0.03, smoothing=0, cooldown=0.5
        )
        me.fit(examples(), Budget(steps=30), hyperparameters=hyper, seed=2**63 - 1)
    with personalizer(bundle, tmp_path) as again:
        for run in again._store.runs():
            assert run.version is not None
            assert run.kept is not None
            start, kept = again.replay([0, run.kept], run.id)
            np.testing.assert_array_equal(start.vector, again._version(run.parent).vector)
            np.testing.assert_array_equal(kept.vector, again._version(run.version).vector)
            assert np.abs(kept.vector - start.vector).max() > 0
        assert [v.parent for v in again.history()] == [0, 1]


@pytest.mark.parametrize("seed", [-1, 2**63, 2**64])
def test_seeds_that_no_journal_can_hold_are_refused(bundle: Path, seed: int) -> None:
    with personalizer(bundle, None) as me, pytest.raises(UsageError, match=r"seed .*2\^63"):
        me.fit(examples(), Budget(steps=1), seed=seed)


@pytest.mark.parametrize("version", [-1, 2, 10**30])
def test_versions_that_do_not_exist_are_listed_against_those_that_do(
    tmp_path: Path, version: int
) -> None:
    store = Store(tmp_path, IDENTITY)
    store.add_version(0, LEARNED, "improved", 1, {})
    for call in (store.adapter, store.activate):
        with pytest.raises(StoreError, match=rf"no version {version} .*there are 0, 1"):
            call(version)
    assert store.active == 1
    store.close()


def test_stores_of_another_bundle_and_of_a_newer_program_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path, IDENTITY)
    store.add_version(0, LEARNED, "improved", 1, {})
    with pytest.raises(AdapterError, match=r"a{12}….*b{12}…"):
        Store(tmp_path, "b" * 64)
    assert store.active == 1
    store._db.rows("PRAGMA user_version = 3")
    store.close()
    with pytest.raises(StoreError, match=r"version 3, this dsa-edge reads 2"):
        Store(tmp_path, IDENTITY)


def test_a_summary_is_json_that_history_gives_back(bundle: Path, tmp_path: Path) -> None:
    with personalizer(bundle, tmp_path) as me:
        report = me.fit(examples(), Budget(steps=40))
        (version,) = me.history()
    assert json.loads(json.dumps(version.summary))["after"]["loss"] == report.after.loss
    assert version.steps <= report.steps


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


def test_one_program_changes_a_store_and_others_read(bundle: Path, tmp_path: Path) -> None:
    with personalizer(bundle, tmp_path) as writer, personalizer(bundle, tmp_path) as reader:
        refused: list[str] = []

        def meanwhile(event: Progress) -> None:
            if event.step != 3:
                return
            assert reader.version == 0
            assert reader.choose("say rain", CHOICES).text in CHOICES
            assert [run.verdict for run in reader.fits()] == [None]
            for change in (
                lambda: reader.fit(examples(), Budget(steps=1)),
                lambda: reader.rollback(0),
                lambda: reader.forget(),
            ):
                with pytest.raises(StoreError, match="another program is changing .*wait until"):
                    change()
                refused.append("refused")

        writer.fit(examples(), Budget(steps=40), meanwhile)
        assert len(refused) == 3
        assert reader.version == 1
        reader.rollback(0)
        assert writer.version == 0


def three_versions(folder: Path) -> tuple[Store, list[list[str]]]:
    """A store whose versions 1, 2 and 3 were learned one from the other, of other examples each."""
    store, groups = Store(folder, IDENTITY), []
    for number in range(3):
        texts = [f"text {number}.{i}" for i in range(5)]
        ids = {store.example_id(text): text for text in texts}
        store.remember(ids)
        run = store.start_run(store.active, 1, HYPER, list(ids))
        store.append(run, step(number))
        learned = Adapter(LEARNED.vector + np.float32(number))
        assert store.end_run(run, "improved", (learned, 1, {})) == number + 1
        groups.append(list(ids))
    return store, groups


def test_forgetting_examples_takes_what_was_learned_from_them(tmp_path: Path) -> None:
    store, groups = three_versions(tmp_path)
    assert store.forget_examples([groups[1][2]]) == (2, 3)
    assert store.active == 1
    assert [run.version for run in store.runs()] == [1]
    np.testing.assert_array_equal(store.adapter(1).vector, LEARNED.vector)
    assert len(store.remembered()) == 14
    assert "text 1.2" not in store.remembered().values()
    assert store.forget_examples(["00" * 8]) == ()
    store.close()


def test_the_personalizer_forgets_by_id(bundle: Path, tmp_path: Path) -> None:
    with personalizer(bundle, tmp_path) as me:
        assert me.fit(examples(), Budget(steps=40), remember=True).version == 1
        assert len(me.remembered()) == len(set(examples()))
        gone = me.forget([me.example_id(examples()[3])])
        assert (gone.versions, gone.active, me.version) == ((1,), 0, 0)
        assert examples()[3] not in me.remembered().values()
        with pytest.raises(UsageError, match="'xyz' is no id of an example, expected 16 hex"):
            me.forget(["xyz"])


def test_a_damaged_version_gives_way_to_the_one_before(tmp_path: Path) -> None:
    store, _ = three_versions(tmp_path)
    edit(tmp_path, "UPDATE versions SET adapter = x'0011223344556677aabb' WHERE id = 3")
    used = store.newest_whole()
    assert (used.version, used.damaged, used.lost) == (2, (3,), False)
    assert used.adapter is not None
    np.testing.assert_array_equal(used.adapter.vector, LEARNED.vector + np.float32(1))
    store.close()


def edit(folder: Path, *queries: str) -> None:
    database = sqlite3.connect(folder / "user.db")
    with database:
        for query in queries:
            database.execute(query)
    database.close()


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


def test_a_store_is_its_owners_alone_even_in_a_folder_that_is_not(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    store = Store(tmp_path, IDENTITY)
    store.add_version(0, LEARNED, "loaded", 0, {})
    files = [tmp_path / f"user.db{end}" for end in ("", "-wal", "-shm")]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    store.close()
    files[0].chmod(0o644)
    Store(tmp_path, IDENTITY).close()
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o600
    store = Store(tmp_path, IDENTITY)
    assert store._db.rows("PRAGMA temp_store") == [(2,)]  # in memory
    store.close()


def test_a_store_of_a_default_adapter_takes_little(tmp_path: Path) -> None:
    """SmolLM2-135M: 26,880 numbers; 100 steps of 16 queries, 508 examples."""
    store, randomness = Store(tmp_path, IDENTITY), np.random.default_rng(0)
    ids = [randomness.bytes(8).hex() for _ in range(508)]
    run = store.start_run(0, 1, {"queries": 16.0, "rate": 0.01}, ids)
    for _ in range(100):
        store.append(run, Step(0.01, randomness.standard_normal(16).astype(np.float32)))
    vector = 0.1 * randomness.standard_normal(26_880).astype(np.float32)
    store.end_run(run, "improved", (Adapter(vector, {" a": 0.1, " b": -0.1}), 90, {"before": {}}))
    assert store.bytes <= 120_000
    store.close()


def test_a_store_of_the_first_version_is_migrated(tmp_path: Path) -> None:
    rows, ids = np.array([[0.5, 1, -1], [0.5, 2, -2]], dtype="<f4"), set[str]()
    with sqlite3.connect(tmp_path / "user.db") as old:
        old.executescript(
            """CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
            CREATE TABLE versions (id INTEGER PRIMARY KEY, parent INTEGER NOT NULL,
                created REAL NOT NULL, verdict TEXT NOT NULL, steps INTEGER NOT NULL,
                summary TEXT NOT NULL, adapter BLOB NOT NULL, labels TEXT NOT NULL);
            CREATE TABLE runs (id INTEGER PRIMARY KEY, parent INTEGER NOT NULL,
                seed INTEGER NOT NULL, hyper TEXT NOT NULL, version INTEGER, kept INTEGER);
            CREATE TABLE journal (run INTEGER NOT NULL, first INTEGER NOT NULL, steps BLOB NOT NULL,
                PRIMARY KEY (run, first)) WITHOUT ROWID;
            PRAGMA user_version = 1;"""
        )
        old.executemany("INSERT INTO meta VALUES (?, ?)", [("bundle", IDENTITY), ("active", "1")])
        vector, labels = LEARNED.vector.tobytes(), json.dumps(LEARNED.labels)
        old.execute(
            "INSERT INTO versions VALUES (1, 0, 1.5, 'improved', 2, '{}', ?, ?)", (vector, labels)
        )
        old.execute("INSERT INTO runs VALUES (1, 0, 7, ?, 1, 2)", (json.dumps(HYPER),))
        old.execute("INSERT INTO runs VALUES (2, 1, 8, ?, NULL, NULL)", (json.dumps(HYPER),))
        old.execute("INSERT INTO journal VALUES (1, 0, ?)", (rows.tobytes(),))
        old.executemany(
            "INSERT INTO journal VALUES (2, ?, ?)", [(i, rows[i].tobytes()) for i in (0, 1)]
        )
    for _ in range(2):
        store = Store(tmp_path, IDENTITY)
        assert store.active == 1
        np.testing.assert_array_equal(store.adapter(1).vector, LEARNED.vector)
        assert store.adapter(1).labels == LEARNED.labels
        (version,) = store.versions()
        assert (version.created, version.verdict, version.steps) == (1.5, "improved", 2)
        assert (version.parent, version.active, version.summary) == (0, True, {})
        run, other = store.runs()
        assert (run.seed, run.verdict, run.examples) == (7, "improved", ())
        assert (run.version, run.kept, run.numbers) == (1, 2, 6)
        assert (other.seed, other.parent, other.verdict) == (8, 1, "no improvement")
        for each in (run, other):
            assert [s.slopes.tolist() for s in store.journal(each)] == [[1, -1], [2, -2]]
        ids.add(store.example_id("text"))
        store.close()
    assert len(ids) == 1
    held = contents(tmp_path)  # nothing of the old rows is left
    assert rows.tobytes() not in held
    assert LEARNED.vector[:8].tobytes() not in held


def test_an_adapter_of_another_bundle_is_refused_with_reasons(bundle: Path, tmp_path: Path) -> None:
    with personalizer(bundle, None) as me:
        manifest, file = me.bundle.manifest, tmp_path / "a.safetensors"
        me.save_adapter(file)
        assert me.is_compatible(file) == ()
        other = AdapterSpec(rank=3, split=0.9)
        save_adapter(file, Adapter(np.zeros(9, dtype=np.float32)), "c" * 64, other)
        reasons = " ".join(me.is_compatible(file))
        assert f"rank is 3, this bundle's is {manifest.adapter.rank}" in reasons
        assert f"9 numbers, this bundle's adapters have {manifest.adapter_size}" in reasons
        vector = np.zeros(manifest.adapter_size, dtype=np.float32)
        save_adapter(file, Adapter(vector), "c" * 64, manifest.adapter)
        (reason,) = me.is_compatible(file)
        assert "trained on another base or tokenizer" in reason
