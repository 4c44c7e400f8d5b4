"""Many users over one base: rows of several in one batch answer as each user alone."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sharing import EXAMPLES, HYPER, LONG, PROMPTS, SINGLE, adapter, alone, assert_same

from dsa_edge.adapter import Adapter
from dsa_edge.bundle import Bundle
from dsa_edge.errors import EngineError, ExampleError, UsageError
from dsa_edge.runtime import Budget, Sampling, SharedBase, _learner
from dsa_edge.runtime._engine import Context
from dsa_edge.runtime._onnx_engine import OnnxEngine
from dsa_edge.runtime._prompts import no_prefix


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
    from dsa_edge.runtime.shared import _choices, _decoding

    users = [base.user(store) for store in stores]
    rows = [(users[i % 5], PROMPTS[i % 4]) for i in range(11)]
    whole, texts = base.choose(rows, SINGLE), base.generate(rows, 4)
    monkeypatch.setattr(_choices, "MOST_ROWS", 3)
    monkeypatch.setattr(_decoding, "CACHES", 3000)  # bytes: one or two rows
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


def test_the_page_about_many_users_works_as_it_stands(
    bundle_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "many-users.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    bundle_copy.rename(tmp_path / "smol.dsa")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_learner, "usual_steps", lambda *_: 2)
    exec(compile(code, "many-users.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) >= 3
    assert (tmp_path / "store" / "alice" / "user.db").exists()


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
    with SharedBase.open(bundle) as base:
        alice, bob = base.user(tmp_path / "alice"), base.user(tmp_path / "bob")
        rows = [(alice, "Rain"), (bob, "Rain")]
        before = base.choose(rows, SINGLE)
        assert before[0] == before[1]
        alice.fit(EXAMPLES, Budget(steps=3), hyperparameters=HYPER)
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
