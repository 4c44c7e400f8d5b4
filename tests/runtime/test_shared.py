"""Many users over one base: rows of several in one batch, stores that come when they are needed."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from users import edit

from dsa_edge.adapter import Adapter
from dsa_edge.bundle import Bundle
from dsa_edge.errors import (
    AdapterError,
    BudgetError,
    DamagedError,
    DsaEdgeError,
    EngineError,
    ExampleError,
    StoreError,
    UsageError,
)
from dsa_edge.runtime import (
    Budget,
    Choice,
    Example,
    FileKey,
    Hyperparameters,
    Personalizer,
    Sampling,
    SharedBase,
)
from dsa_edge.runtime._engine import Context
from dsa_edge.runtime._onnx_engine import OnnxEngine
from dsa_edge.runtime._prompts import no_prefix

# Beside other rows a prompt's products are summed in another order (1e-6 of a logit), and a key or
# a value of the cache may then round to float16's other neighbour, which is 1e-3 of it away.
SAME = 1e-3
SINGLE = (" a", " b", " t")
LONG = (" the film", " bread", " a warm garden")
PROMPTS = ["He did not", "The quiet baker opens early and sells", "Rain", "Rain fell on the", "He"]


def adapter(bundle: Path, seed: int) -> Adapter:
    """An adapter that changes what the tiny base says."""
    size = Personalizer.open(bundle).bundle.manifest.adapter_size
    numbers = np.random.default_rng(seed).standard_normal(size) * 0.2
    return Adapter(numbers.astype(np.float32), {" a": 0.3 * seed, " b": -0.2, " t": 0.0})


@pytest.fixture(scope="module")
def stores(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Folders of users 0 … 4; each has learned something else, the last one nothing. Read only."""
    folder = tmp_path_factory.mktemp("stores")
    for number in range(4):
        with Personalizer.open(bundle, folder / str(number)) as me:
            me.use_adapter(adapter(bundle, number))
    return [folder / str(number) for number in range(5)]


@pytest.fixture
def base(bundle: Path) -> Iterator[SharedBase]:
    with SharedBase.open(bundle) as made:
        yield made


def alone(bundle: Path, store: Path) -> Personalizer:
    return Personalizer.open(bundle, store)


def assert_same(found: Choice, expected: Choice) -> None:
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=SAME)


@pytest.mark.parametrize("choices", [SINGLE, LONG])
def test_rows_of_several_users_answer_as_each_user_alone(
    choices: tuple[str, ...], bundle: Path, stores: list[Path], base: SharedBase
) -> None:
    users = [base.user(store) for store in stores]
    rows = [(user, prompt) for user in users for prompt in PROMPTS[:3]]
    found = base.choose(rows, choices)
    answers = set()
    for number, store in enumerate(stores):
        with alone(bundle, store) as me:
            for at, prompt in enumerate(PROMPTS[:3]):
                assert_same(found[3 * number + at], me.choose(prompt, choices))
        answers.add(tuple(choice.probabilities for choice in found[3 * number : 3 * number + 3]))
    assert len(answers) == len(stores)  # each adapter says something of its own


@pytest.mark.parametrize("sampling", [None, Sampling(temperature=1, seed=3)])
def test_texts_of_several_users_are_those_of_each_user_alone(
    sampling: Sampling | None, bundle: Path, stores: list[Path], base: SharedBase
) -> None:
    users = [base.user(store) for store in stores]
    rows = list(zip(users, PROMPTS, strict=True))
    texts = base.generate(rows, max_tokens=12, sampling=sampling)
    for store, prompt, text in zip(stores, PROMPTS, texts, strict=True):
        with alone(bundle, store) as me:
            assert text == me.generate(prompt, 12, sampling)
    assert len(set(texts)) == len(texts)


def test_rows_that_end_early_leave_the_others_as_they_are(
    bundle: Path, stores: list[Path], base: SharedBase
) -> None:
    users = [base.user(store) for store in stores]
    room = base.bundle.manifest.decoder["max_positions"]
    long = PROMPTS[1]
    while len(base.user(None).encode(f"{long} rain")) < room - 4:
        long += " rain"
    rows = [(users[0], "He"), (users[1], long), (users[2], "Rain fell")]
    texts = base.generate(rows, max_tokens=9)
    for store, (_, prompt), text in zip(stores, rows, texts, strict=False):
        with alone(bundle, store) as me:
            assert text == me.generate(prompt, 9)


def test_many_rows_run_in_parts_with_the_same_answers(
    stores: list[Path], base: SharedBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dsa_edge.runtime.shared import _base, _choices

    users = [base.user(store) for store in stores]
    rows = [(users[i % 5], PROMPTS[i % 4]) for i in range(11)]
    whole, texts = base.choose(rows, SINGLE), base.generate(rows, 4)
    monkeypatch.setattr(_choices, "MOST_ROWS", 3)
    monkeypatch.setattr(_base, "MOST_ROWS", 3)
    for found, expected in zip(base.choose(rows, SINGLE), whole, strict=True):
        assert_same(found, expected)
    assert base.generate(rows, 4) == texts


def test_rows_with_their_own_adapters_are_the_bits_of_lanes(bundle: Path) -> None:
    """On the same cached prompts, row i by adapter i is lane i of example i."""
    engine = OnnxEngine(Bundle.open(bundle))
    manifest, random = engine.bundle.manifest, np.random.default_rng(0)
    prompts, tails = random.integers(0, 200, (4, 9)), random.integers(0, 200, (4, 3))
    lengths = np.array([9, 4, 7, 5])
    filled = engine.prefill(no_prefix(manifest), prompts, tails, lengths)
    split, empty = manifest.split_layer, no_prefix(manifest)
    caches = filled.keys[split:], filled.values[split:]
    lanes = Context(empty.from_layer(split), filled.hidden, *caches, lengths)
    numbers = (random.standard_normal((4, manifest.adapter_size)) * 0.1).astype(np.float32)
    given = random.integers(0, 200, (4, 3)), np.ones((4, 3), np.float32)
    candidates, each = np.array([3, 9, 50]), replace(lanes, each=True)
    mixed, across = (engine.choose(c, numbers, candidates) for c in (each, lanes))
    np.testing.assert_array_equal(mixed[0], across[np.arange(4), np.arange(4)])
    mixed, across = (engine.probe(c, numbers, *given) for c in (each, lanes))
    np.testing.assert_array_equal(mixed[0], np.diagonal(across))
    twice = np.concatenate([numbers, numbers[::-1]])  # two lanes of rows with their own
    both = engine.choose(each, twice, candidates)
    np.testing.assert_array_equal(both[0], engine.choose(each, numbers, candidates)[0])
    np.testing.assert_array_equal(both[1], engine.choose(each, numbers[::-1], candidates)[0])
    with pytest.raises(EngineError, match="ONNX Runtime .* failed in 'choose'"):
        engine.choose(each, numbers[:3], candidates)


def test_no_rows_are_no_answers(base: SharedBase) -> None:
    assert base.choose([], SINGLE) == []
    assert base.generate([]) == []


def test_a_bundle_from_before_answers_row_by_row(
    stores: list[Path], base: SharedBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = list(zip([base.user(store) for store in stores], PROMPTS, strict=True))
    mixed, texts = (
        [base.choose(rows, choices) for choices in (SINGLE, LONG)],
        base.generate(rows, 5),
    )
    monkeypatch.setattr(base._engine._engine, "mixes", False)  # type: ignore[attr-defined]
    for choices, expected in zip((SINGLE, LONG), mixed, strict=True):
        for found, other in zip(base.choose(rows, choices), expected, strict=True):
            assert_same(found, other)
    assert base.generate(rows, 5) == texts


def test_what_one_user_learns_changes_nobody_else(bundle: Path, tmp_path: Path) -> None:
    examples = [Example(p, SINGLE[i % 2], SINGLE) for i, p in enumerate(PROMPTS * 4)]
    with SharedBase.open(bundle) as base:
        alice, bob = base.user(tmp_path / "alice"), base.user(tmp_path / "bob")
        rows = [(alice, "Rain"), (bob, "Rain")]
        before = base.choose(rows, SINGLE)
        assert before[0] == before[1]
        alice.fit(examples, Budget(steps=3), hyperparameters=Hyperparameters(queries=2, batch=4))
        alice.use_adapter(adapter(bundle, 1))
        after = base.choose(rows, SINGLE)
        assert_same(after[1], before[1])
        assert after[0] != after[1]
        alice.rollback(0)
        assert_same(base.choose(rows, SINGLE)[0], before[0])
        assert bob.history() == []
    with alone(bundle, tmp_path / "alice") as me:
        assert [version.verdict for version in me.history()][-1] == "loaded"


def test_what_another_program_changes_is_used_at_once(
    bundle: Path, tmp_path: Path, base: SharedBase
) -> None:
    user = base.user(tmp_path / "alice")
    for seed in (1, 2, 3):
        with alone(bundle, tmp_path / "alice") as other:
            other.use_adapter(adapter(bundle, seed))
            assert_same(user.choose("Rain", SINGLE), other.choose("Rain", SINGLE))
        assert_same(base.choose([(user, "Rain")], SINGLE)[0], user.choose("Rain", SINGLE))


def test_stores_and_adapters_in_memory_are_bounded(
    bundle: Path, stores: list[Path], base: SharedBase
) -> None:
    each = 4 * base.bundle.manifest.adapter_size
    small = SharedBase(base._engine, open_stores=2, adapters_mb=2.5 * each / 2**20)
    users = [small.user(store) for store in stores]
    files = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    for _ in range(2):
        for user, store in zip(users, stores, strict=True):
            assert len(small._pool) <= 2
            assert small._recent.bytes <= 2.5 * each
            with alone(bundle, store) as me:
                assert_same(user.choose("Rain", SINGLE), me.choose("Rain", SINGLE))
    if files:
        assert len(os.listdir("/proc/self/fd")) <= files + 3
    assert len(small._recent) == 2


def test_an_adapter_that_is_kept_opens_no_store(stores: list[Path], base: SharedBase) -> None:
    users = [base.user(store) for store in stores[:2]]
    expected = [user.adapter.vector.copy() for user in users]
    for user in users:
        user.store_bytes  # noqa: B018 (writes the log back)
        user.adapter  # noqa: B018
    asking = users[0]._store.database
    base._pool.close_idle(asking)  # type: ignore[arg-type]
    assert asking.suspend()  # type: ignore[attr-defined]
    base._pool.gone(asking)  # type: ignore[arg-type]
    for user, numbers in zip(users, expected, strict=True):
        np.testing.assert_array_equal(user.adapter.vector, numbers)
    assert len(base._pool) == 0
    with pytest.raises(ValueError, match="read-only"):
        users[0].adapter.vector[0] = 1


def test_closing_a_user_leaves_the_others_and_closing_the_base_closes_them(
    bundle: Path, stores: list[Path]
) -> None:
    base = SharedBase.open(bundle)
    first, second = base.user(stores[0]), base.user(stores[1])
    assert set(base.users) == {stores[0].resolve(), stores[1].resolve()}
    first.close()
    assert set(base.users) == {stores[1].resolve()}
    assert second.choose("Rain", SINGLE).text in SINGLE
    with pytest.raises(StoreError, match="was closed, expected an open one: open the user again"):
        first.choose("Rain", SINGLE)
    with pytest.raises(StoreError, match=r"row 1 \(.*/0\): the user of .*/0 was closed"):
        base.choose([(second, "Rain"), (first, "Rain")], SINGLE)
    again = base.user(stores[0])
    assert again.choose("Rain", SINGLE).text in SINGLE
    base.close()
    for user in (second, again):
        with pytest.raises(StoreError, match="was closed"):
            user.history()
    with pytest.raises(UsageError, match="base was closed, expected an open one: open the bundle"):
        base.user(stores[2])
    with pytest.raises(UsageError, match="base was closed"):
        base.choose([(second, "Rain")], SINGLE)
    with alone(bundle, stores[0]) as me:
        assert me.choose("Rain", SINGLE).text in SINGLE


def test_a_store_has_one_user_at_a_time(stores: list[Path], base: SharedBase) -> None:
    user = base.user(stores[0])
    with pytest.raises(UsageError, match="is open already, expected one user for each store: use"):
        base.user(stores[0].parent / "x" / ".." / "0")
    assert base.users[stores[0].resolve()] is user


def test_users_of_another_base_are_refused(
    bundle: Path, stores: list[Path], base: SharedBase
) -> None:
    with alone(bundle, stores[0]) as stranger, SharedBase.open(bundle) as other:
        for user in (stranger, other.user(stores[1])):
            with pytest.raises(UsageError, match="not of this base, expected one that its `user`"):
                base.choose([(user, "Rain")], SINGLE)
            with pytest.raises(UsageError, match="not of this base"):
                base.generate([(user, "Rain")])


def test_a_store_of_another_bundle_is_refused_by_its_name(
    bundle: Path, other_bundle: Path, tmp_path: Path
) -> None:
    with alone(bundle, tmp_path / "alice") as me:
        me.use_adapter(adapter(bundle, 1))
    with SharedBase.open(other_bundle) as other:
        bob = other.user(tmp_path / "bob")
        with pytest.raises(AdapterError, match="alice belongs to bundle .* open the bundle it"):
            other.user(tmp_path / "alice")
        assert bob.choose("Rain", SINGLE).text in SINGLE
        assert len(other._pool) == 1
    with alone(bundle, tmp_path / "alice") as me:
        assert me.version == 1


def test_a_damaged_store_is_named_and_the_others_go_on(bundle: Path, tmp_path: Path) -> None:
    for name in ("alice", "bob"):
        with alone(bundle, tmp_path / name) as me:
            me.use_adapter(adapter(bundle, 1))
    with SharedBase.open(bundle) as base:
        alice, bob = base.user(tmp_path / "alice"), base.user(tmp_path / "bob")
        expected = base.choose([(alice, "Rain")], SINGLE)
        base._pool.close_idle(None)  # type: ignore[arg-type]
        (tmp_path / "bob" / "user.db").write_bytes(b"no database at all" * 100)
        rows = [(alice, "Rain"), (bob, "Rain")]
        for ask in (lambda: base.choose(rows, SINGLE), lambda: base.generate(rows)):
            with pytest.raises(DamagedError, match=r"row 1 \(.*bob\): the store .*bob cannot be"):
                ask()
        assert_same(base.choose(rows[:1], SINGLE)[0], expected[0])
        assert alice.version == 1


def test_a_damaged_version_gives_way_to_the_one_before(bundle: Path, tmp_path: Path) -> None:
    with alone(bundle, tmp_path / "bob") as me:
        me.use_adapter(adapter(bundle, 1))
        expected = me.choose("Rain", SINGLE)
        me.use_adapter(adapter(bundle, 2))
    edit(tmp_path / "bob", "UPDATE versions SET adapter = x'00' WHERE id = 2")
    with SharedBase.open(bundle) as base:
        bob = base.user(tmp_path / "bob")
        assert_same(base.choose([(bob, "Rain")], SINGLE)[0], expected)
        assert bob.damaged == (2,)


def test_an_absurd_adapter_is_named_and_spoils_no_other_row(
    bundle: Path, tmp_path: Path, stores: list[Path], base: SharedBase
) -> None:
    wild = base.user(tmp_path / "wild")
    size = base.bundle.manifest.adapter_size
    wild.use_adapter(Adapter(np.full(size, 1e30, np.float32)))
    rows = [(base.user(stores[0]), "Rain"), (wild, "Rain")]
    with pytest.raises(EngineError, match=r"row 1 \(.*wild\): .* go back to an earlier version"):
        base.choose(rows, SINGLE)
    with pytest.raises(EngineError, match=r"row 1 \(.*wild\): .* go back to an earlier version"):
        base.generate(rows)
    with alone(bundle, stores[0]) as me:
        assert_same(base.choose(rows[:1], SINGLE)[0], me.choose("Rain", SINGLE))


def test_rows_that_cannot_be_run_are_named(stores: list[Path], base: SharedBase) -> None:
    user = base.user(stores[0])
    endless = "rain " * 10_000
    for ask in (
        lambda: base.choose([(user, "Rain"), (user, endless)], SINGLE),
        lambda: base.generate([(user, "Rain"), (user, endless)]),
    ):
        with pytest.raises(ExampleError, match=r"row 1 \(.*\): .*shorten"):
            ask()
    for wrong in (
        lambda: base.choose([(user, "Rain")], [" a"]),
        lambda: base.generate([(user, "Rain")], max_tokens=0),
        lambda: SharedBase(base._engine, open_stores=0),
        lambda: SharedBase(base._engine, adapters_mb=-1),
    ):
        with pytest.raises(UsageError, match="expected"):
            wrong()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files as Linux does")
def test_more_users_than_file_descriptors(bundle: Path, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with SharedBase.open(bundle, open_stores=10_000) as base:
        base.choose([(base.user(None), "Rain")], SINGLE)  # all that the engine opens is open
        files = len(os.listdir("/proc/self/fd"))
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files + 24, before[1]))
            users = [base.user(tmp_path / str(number)) for number in range(40)]
            for number, user in enumerate(users):
                user.use_adapter(adapter_like(base, number))
            held = [os.open(os.devnull, os.O_RDONLY) for _ in range(2)]
            base._pool.close_idle(None)  # type: ignore[arg-type]
            while True:
                try:
                    held.append(os.open(os.devnull, os.O_RDONLY))
                except OSError:
                    break
            with pytest.raises(StoreError, match=r"no file descriptor is left .*: raise the limit"):
                users[0].history()
            for descriptor in held:
                os.close(descriptor)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for number, user in enumerate(users):
            expected = adapter_like(base, number).vector
            np.testing.assert_array_equal(user.adapter.vector, expected)


def adapter_like(base: SharedBase, number: int) -> Adapter:
    return Adapter(np.full(base.bundle.manifest.adapter_size, number / 100, np.float32))


def test_two_threads_serve_two_users(bundle: Path, tmp_path: Path, stores: list[Path]) -> None:
    """One learns while the other answers, and both say what each says without the other."""
    examples = [Example(p, SINGLE[i % 2], SINGLE) for i, p in enumerate(PROMPTS * 4)]
    hyper = Hyperparameters(queries=2, batch=4)

    def learn(me: Personalizer) -> None:
        me.fit(examples, Budget(steps=6), None, hyper)

    with alone(bundle, tmp_path / "alone") as me:
        learn(me)
        expected = me.fits()[-1], me.replay([6])[0].vector
    with alone(bundle, stores[1]) as me:
        answers = [me.choose(prompt, SINGLE) for prompt in PROMPTS]
        texts = [me.generate(prompt, 4) for prompt in PROMPTS]
    with SharedBase.open(bundle, open_stores=1) as base:
        learner, other = base.user(tmp_path / "learner"), base.user(stores[1])
        failed: list[BaseException] = []

        def run(work: object) -> None:
            try:
                work()  # type: ignore[operator]
            except BaseException as error:
                failed.append(error)

        done = threading.Event()

        def answer() -> None:
            while not done.is_set():
                for prompt, choice, text in zip(PROMPTS, answers, texts, strict=True):
                    assert_same(other.choose(prompt, SINGLE), choice)
                    assert base.generate([(other, prompt)], 4) == [text]

        def learning() -> None:
            learn(learner)
            done.set()

        threads = [threading.Thread(target=run, args=(w,)) for w in (learning, answer)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        done.set()
        assert not failed, failed
        np.testing.assert_array_equal(learner.replay([6])[0].vector, expected[1])


def test_two_fits_of_one_user_at_once_are_refused(bundle: Path, tmp_path: Path) -> None:
    examples = [Example(p, SINGLE[i % 2], SINGLE) for i, p in enumerate(PROMPTS * 4)]
    with SharedBase.open(bundle) as base:
        user = base.user(tmp_path / "alice")
        refused: list[DsaEdgeError] = []

        def again(_: object) -> None:
            try:
                user.rollback(0)
            except DsaEdgeError as error:
                refused.append(error)

        def other(step: object) -> None:
            thread = threading.Thread(target=again, args=(step,))
            thread.start()
            thread.join()

        user.fit(examples, Budget(steps=2), other, Hyperparameters(queries=2, batch=4))
        assert refused
        assert "another program is changing the store" in str(refused[0])


def test_sealed_users_beside_others(bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    key = FileKey(tmp_path / "key")
    with SharedBase.open(bundle, open_stores=1) as base:
        sealed, plain = base.user(tmp_path / "sealed", key), base.user(tmp_path / "plain")
        sealed.use_adapter(adapter(bundle, 1))
        plain.use_adapter(adapter(bundle, 2))
        rows = [(sealed, "Rain"), (plain, "Rain")]
        found = base.choose(rows, SINGLE)  # opened anew by the key that it was told at first
        sealed.close()
        with pytest.raises(StoreError, match="is sealed, and no key was given"):
            base.user(tmp_path / "sealed")
    with Personalizer.open(bundle, tmp_path / "sealed", key=key) as me:
        assert_same(found[0], me.choose("Rain", SINGLE))


def test_users_in_memory_keep_what_they_learn_until_closed(bundle: Path, base: SharedBase) -> None:
    users = [base.user(None), base.user(None)]
    users[0].use_adapter(adapter(bundle, 1))
    found = base.choose([(user, "Rain") for user in users], SINGLE)
    assert found[0] != found[1]
    assert base.users == {}
    with pytest.raises(BudgetError, match="memory_mb"):
        users[0].choose("Rain", SINGLE, budget=Budget(memory_mb=1))
