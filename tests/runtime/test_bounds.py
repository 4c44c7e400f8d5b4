"""Budgets are obeyed, and what a plan says comes true."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsa_edge.cli import main
from dsa_edge.errors import BudgetError, ExampleError
from dsa_edge.runtime import Budget, Example, Hyperparameters, Personalizer, _cache
from dsa_edge.runtime._memory import resident_mb
from dsa_edge.runtime._plan import MB, store_growth
from dsa_edge.runtime._rehearsal import Fitted, perform, rehearse
from dsa_edge.runtime._store import Store

CHOICES = (" a", " b")
WORDS = ["the", "quiet", "baker", "opens", "early", "and", "sells", "warm", "bread", "to", "whole"]
FEW = [Example(f"say {word}", CHOICES[i % 2], CHOICES) for i, word in enumerate(WORDS)]
LONG = [Example(f"{i} {w * 6}", CHOICES[len(w) % 2], CHOICES) for i, w in enumerate(WORDS * 200)]
SPILLS = 48  # MB more than there are, which have no room for the prompts of LONG


@contextmanager
def watched(folder: Path) -> Iterator[list[int]]:
    """Bytes in a folder, again and again, less those at the start."""
    ended, seen, start = threading.Event(), [0], bytes_in(folder)

    def watch() -> None:
        while not ended.wait(0.001):
            seen.append(bytes_in(folder) - start)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()
    seen.append(bytes_in(folder) - start)


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.name[0] != ".")


def state_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "user.db-shm"}


@pytest.fixture
def spilled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of each file of prompts that is made."""
    made, real = list[int](), _cache._reserved_file

    def reserved(size: int, folder: Path | None) -> Any:
        made.append(size)
        return real(size, folder)

    monkeypatch.setattr(_cache, "_reserved_file", reserved)
    return made


@pytest.mark.parametrize("steps", [1, 7])
def test_steps_are_obeyed_to_the_step(bundle: Path, steps: int) -> None:
    with Personalizer.open(bundle) as me:
        assert me.fit(FEW, Budget(steps=steps)).steps == steps


def test_seconds_end_a_fit_that_would_take_many_steps(bundle: Path) -> None:
    told: list[float] = []
    with Personalizer.open(bundle) as me:
        me.fit(FEW, Budget(steps=1))  # what is loaded once is loaded
        report = me.fit(
            FEW, Budget(seconds=3, steps=10**6), lambda event: told.append(event.seconds)
        )
    longest = max(np.diff([0.0, *told]))  # a step that was begun is ended
    assert report.fit_seconds < 3 + 2 * longest + 0.5
    assert 0 < report.steps < 10**6


def test_disk_that_has_no_room_is_refused_and_the_store_unchanged(
    bundle: Path, tmp_path: Path, spilled: list[int]
) -> None:
    steps: list[Any] = []
    with Personalizer.open(bundle, tmp_path) as me:
        before = state_of(tmp_path)
        budget = Budget(steps=2, memory_mb=resident_mb() + SPILLS, disk_mb=2)
        for call in (lambda: me.fit(LONG, budget, steps.append), lambda: me.plan(LONG, budget)):
            with pytest.raises(BudgetError, match=r"prompt cache needs \d+ MB.*disk_mb [012]:"):
                call()
        for call in (
            lambda: me.fit(FEW, Budget(disk_mb=0.1), steps.append),
            lambda: me.plan(FEW, Budget(disk_mb=0.1)),
        ):
            with pytest.raises(BudgetError, match=r"disk_mb is 0\.1, .*run fewer steps"):
                call()
        assert (steps, spilled) == ([], [])
        assert state_of(tmp_path) == before
        assert (me.version, me.fits()) == (0, [])


def test_prompts_stay_in_memory_when_only_the_disk_is_bounded(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, spilled: list[int]
) -> None:
    monkeypatch.setattr("dsa_edge.runtime._plan.DEFAULT_CACHE", 2**20)
    with Personalizer.open(bundle) as me:
        assert me.fit(LONG[:400], Budget(steps=1, disk_mb=0.5)).steps == 1
        assert spilled == []
        assert me.fit(LONG[:400], Budget(steps=1)).steps == 1
        assert len(spilled) == 1


@pytest.mark.parametrize("remember", [False, True])
def test_a_fit_adds_no_more_to_the_disk_than_allowed(
    bundle: Path, tmp_path: Path, remember: bool, spilled: list[int]
) -> None:
    """The least that is accepted is enough."""
    many = LONG[:1500] if remember else LONG
    budget = {"steps": 5, "memory_mb": resident_mb() + SPILLS}
    with Personalizer.open(bundle, tmp_path) as me:
        need = me.plan(many, Budget(**budget)).disk_bound_mb + 4 * remember
        with watched(tmp_path) as seen:
            me.fit(many, Budget(**budget, disk_mb=need + 0.01), remember=remember)
    assert max(seen) + max(spilled, default=0) <= need * MB
    assert max(seen) > 0.05 * MB


def test_examples_that_are_kept_count_as_disk(bundle: Path, tmp_path: Path) -> None:
    with Personalizer.open(bundle, tmp_path) as me:
        need = me.plan(LONG, Budget(steps=1)).disk_bound_mb + 0.01
        with pytest.raises(BudgetError, match="disk_mb is"):
            me.fit(LONG, Budget(steps=1, disk_mb=need), remember=True)


SIZES = [(1, 16, 10), (40, 16, 500), (200, 4, 10), (700, 140, 2000), (1500, 16, 10), (30, 600, 10)]


@pytest.mark.parametrize(("steps", "queries", "examples"), SIZES)
def test_what_a_store_adds_is_told_and_below_its_bound(
    tmp_path: Path, steps: int, queries: int, examples: int
) -> None:
    """In a new store, and once more, where the first fit has left the write-ahead log."""
    fit = Fitted(steps, 7000, examples, Hyperparameters(queries=queries), CHOICES)
    bound = store_growth(steps, 7000, queries, examples)
    store = Store(tmp_path, "0" * 64)
    store._db.rows("PRAGMA synchronous = OFF")
    for _ in range(2):
        told, start, most = rehearse(fit, store, bound), bytes_in(tmp_path), 0
        for _ in perform(store, fit):
            most = max(most, bytes_in(tmp_path) - start)
        assert told == pytest.approx(most, rel=0.05, abs=3 * 1048)
        assert most <= bound
    store.close()


def test_a_plan_tells_memory_disk_and_the_shape_of_the_fit(bundle: Path, tmp_path: Path) -> None:
    """A tiny model is hardly more than Python itself, and a fit of it takes a few MB."""
    with Personalizer.open(bundle, tmp_path / "planned") as me:
        plan = me.plan(LONG, Budget(steps=12))
    learned = tmp_path / "learned"
    with Personalizer.open(bundle, learned) as me, watched(learned) as seen:
        report = me.fit(LONG, Budget(steps=12))
    assert report.verdict == "improved"
    assert plan.peak_mb == pytest.approx(report.peak_mb, rel=0.1)
    assert plan.disk_mb == pytest.approx(max(seen) / MB, rel=0.1)
    assert plan.disk_mb <= plan.disk_bound_mb
    assert (plan.steps, plan.examples, plan.notes) == (12, len(LONG), ())


def test_a_plan_for_a_deadline_has_fewer_steps_and_examples(bundle: Path) -> None:
    with Personalizer.open(bundle) as me:
        free = me.plan(LONG, Budget(steps=10**4))
        half = me.plan(LONG, Budget(steps=10**4, seconds=free.prefill_seconds + 3))
        short = me.plan(LONG, Budget(steps=10**4, seconds=free.prefill_seconds / 4))
    assert free.steps == 10**4
    assert 0 < half.steps < 10**4
    assert half.seconds <= free.prefill_seconds + 3
    assert short.examples < len(LONG)
    assert f"enough for {short.examples} of {len(LONG)}" in short.notes[0]


REFUSED: dict[str, tuple[list[Example], Budget, type[Exception]]] = {
    "no examples": ([], Budget(), ExampleError),
    "one label": (FEW[::2], Budget(), ExampleError),
    "too long": ([Example("the " * 500, " a"), *FEW], Budget(), ExampleError),
    "too little memory": (FEW, Budget(memory_mb=1), BudgetError),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_a_fit_refuses_a_plan_refuses_in_the_same_words(bundle: Path, why: str) -> None:
    examples, budget, error = REFUSED[why]
    said = []
    with Personalizer.open(bundle) as me:
        for call in (me.fit, me.plan):
            with pytest.raises(error) as told:
                call(examples, budget)
            said.append(str(told.value).split(" MB before")[0])
    assert said[0].rstrip("0123456789") == said[1].rstrip("0123456789")


def test_a_full_disk_is_told_before_the_fit(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda _: full)
    with Personalizer.open(bundle, tmp_path) as me:
        me.plan(FEW)
        with pytest.raises(BudgetError, match="needs .* MB of disk, and"):
            me.plan(LONG, Budget(memory_mb=resident_mb() + SPILLS))


def test_a_plan_accepts_the_memory_that_a_fit_accepts(bundle: Path) -> None:
    """What the trial has loaded must not count against the bound a second time."""
    with Personalizer.open(bundle) as me:
        budget = Budget(steps=1, memory_mb=resident_mb() + SPILLS)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(type(me._engine), "loaded_mb", 30.0, raising=False)
            assert me.plan(FEW, budget).steps == 1


def test_examples_that_begin_alike_are_tried_as_they_are_learned_from(bundle: Path) -> None:
    """One short odd example among long ones shares nothing, so nothing is shared in the trial."""
    from dsa_edge.runtime._cache import cache_size
    from dsa_edge.runtime._objective import items_of
    from dsa_edge.runtime._planner import trial_set

    alike = [
        Example(f"{'the quiet baker ' * 4}{w}", CHOICES[i % 2], CHOICES)
        for i, w in enumerate(WORDS * 30)
    ]
    with Personalizer.open(bundle) as me:
        encoded = me._encoder.encode_all([*alike, Example("rain fell on it", " a", CHOICES)])
        manifest = me.bundle.manifest
        some = trial_set(encoded, 0, manifest, sys.maxsize)
        few = trial_set(encoded, 0, manifest, 1)
    for chosen in (some, few):
        assert len(chosen[1].items[0].prompt) < len(chosen[0].items[0].prompt) / 2
        own = sum(len(item.prompt) + len(item.tail) for item in items_of(chosen))
        assert cache_size(manifest, items_of(chosen))[1] == own
    assert len(few) == 2


def test_a_plan_changes_neither_the_store_nor_a_later_fit(bundle: Path, tmp_path: Path) -> None:
    made = []
    for planned in (False, True):
        folder = tmp_path / str(planned)
        with Personalizer.open(bundle, folder) as me:
            if planned:
                before = state_of(folder)
                me.plan(LONG[:300], Budget(steps=5, memory_mb=resident_mb() + SPILLS))
                me.plan(FEW, Budget(steps=9), seed=1)
                assert state_of(folder) == before
                assert me._engine._sessions == {}
            report = me.fit(FEW, Budget(steps=12), seed=3)
            made.append((report, me.replay([12])[0].vector, me._store.journal(me._store.run())))
    (one, first, steps), (two, second, again) = made
    np.testing.assert_array_equal(first, second)
    assert one.after == two.after
    assert [step.rate for step in steps] == [step.rate for step in again]
    for a, b in zip(steps, again, strict=True):
        np.testing.assert_array_equal(a.slopes, b.slopes)


def test_the_verb_tells_the_plan(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text(
        "\n".join(json.dumps({"prompt": e.prompt, "response": e.response}) for e in FEW)
    )
    given = ["plan", str(bundle), "--store", str(tmp_path / "me"), "--data", str(data)]
    assert main([*given, "--steps", "3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["steps"], told["examples"], told["backend"]) == (3, len(FEW), "onnx")
    assert 0 < told["disk_mb"] < told["disk_bound_mb"]
    assert told["peak_mb"] > 20
    assert main([*given, "--seconds", "0.001"]) == 0
    assert "note" in capsys.readouterr().out
    assert main([*given, "--disk-mb", "0.01", "--json"]) == 1
    assert "disk_mb" in json.loads(capsys.readouterr().out)["error"]
