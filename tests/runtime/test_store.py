"""The user's store: durable, private, forgetful, and clear when it is damaged."""

from __future__ import annotations

import json
import sqlite3
import stat
from pathlib import Path

import numpy as np
import pytest
from users import (
    CHOICES,
    HYPER,
    IDENTITY,
    LEARNED,
    contents,
    examples,
    personalizer,
    step,
)

from dsa_edge.adapter import Adapter, AdapterSpec, save_adapter
from dsa_edge.errors import AdapterError, StoreError, UsageError
from dsa_edge.runtime import Budget, Example, Hyperparameters, Progress
from dsa_edge.runtime._optimizer import Step
from dsa_edge.runtime._store import Store

SECRET = "grandmother's garden gate code"


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
