"""Learning through the real engine: it learns, repeats itself to the bit, and keeps its budget."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stub import StubEngine

from dsa_edge.errors import BudgetError
from dsa_edge.runtime import Budget, Example, Personalizer, Report, _cache
from dsa_edge.runtime._engine import Context, Floats, Ints
from dsa_edge.runtime._memory import resident_mb
from dsa_edge.runtime._store import Store

CHOICES = (" a", " b")
SEQUENCES = (" warm bread", " the film")
WORDS = ["the", "quiet", "baker", "opens", "early", "and", "sells", "warm", "bread", "to", "whole"]
TASKS = {
    "single tokens": [Example(f"say {w}", CHOICES[i % 2], CHOICES) for i, w in enumerate(WORDS)],
    "sequences": [Example(f"say {w}", SEQUENCES[i % 2], SEQUENCES) for i, w in enumerate(WORDS)],
    "free": [Example("She wrote", " warm bread"), Example("He did", " not like the film")],
}


@pytest.mark.parametrize("task", TASKS)
def test_the_tiny_model_learns_its_examples(bundle: Path, task: str) -> None:
    """A random model knows nothing, so the loss on the examples themselves is what can fall."""
    with Personalizer.open(bundle) as me:
        report = me.fit(TASKS[task], Budget(steps=40))
        assert report.verdict == "improved"
        assert report.held_out == 0
        before, after = me.evaluate(TASKS[task], (0, me.version))
        # free responses take smaller steps: 0.91 measured, choices 0.3
        assert after.loss < (0.95 if task == "free" else 0.7) * before.loss
        # an evaluation caches prompts in other batches
        assert after.loss == pytest.approx(report.after.loss, abs=1e-3)
        assert before.loss == pytest.approx(report.before.loss, abs=1e-3)
        if task != "free":
            assert after.accuracy is not None
            assert before.accuracy is not None
            assert after.accuracy > before.accuracy


@pytest.mark.parametrize("which", ["bundle", "other_bundle"])
def test_the_same_seed_gives_the_same_bits(request: pytest.FixtureRequest, which: str) -> None:
    made = []
    for seed in (3, 3, 4):
        with Personalizer.open(request.getfixturevalue(which)) as me:
            report = me.fit(TASKS["single tokens"], Budget(steps=12), seed=seed)
            made.append((report, me.replay([12])[0].vector, me._store.journal(me._store.run())))
    (one, first, steps), (two, second, again), (_, third, _) = made
    np.testing.assert_array_equal(first, second)
    assert len(steps) == len(again) == 12
    for a, b in zip(steps, again, strict=True):
        np.testing.assert_array_equal(a.slopes, b.slopes)
    assert one.after == two.after
    assert np.abs(first - third).max() > 0.01


def test_what_was_saved_is_what_the_journal_rebuilds(bundle: Path, tmp_path: Path) -> None:
    with Personalizer.open(bundle, tmp_path) as me:
        assert me.fit(TASKS["single tokens"], Budget(steps=30)).version == 1
    with Personalizer.open(bundle, tmp_path) as again:
        run = again._store.run()
        assert run.kept
        (rebuilt,) = again.replay([run.kept])
        np.testing.assert_array_equal(rebuilt.vector, again.adapter.vector)


def many(length: int) -> list[Example]:
    """Enough prompts that their caches exceed the share of 48 MB that may stay in memory."""
    words = enumerate(WORDS * 200)
    return [Example(f"{w} " * length, CHOICES[i % 2], CHOICES) for i, w in words]


def test_prompts_beyond_the_memory_go_to_disk_and_none_stays_there(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk, real = [], _cache._reserved_file

    def watched(size: int, folder: Path | None) -> Any:
        on_disk.append((size, folder))
        return real(size, folder)

    monkeypatch.setattr(_cache, "_reserved_file", watched)
    with Personalizer.open(bundle, tmp_path) as me:
        me.fit(many(8)[:20], Budget(steps=1, memory_mb=resident_mb() + 48))
        assert on_disk == []
        report = me.fit(many(8), Budget(steps=2, memory_mb=resident_mb() + 48))
        assert report.steps == 2
        ((size, folder),) = on_disk
        assert size > 0.15 * 48 * 2**20
        assert folder == tmp_path
        assert {path.name.split("-")[0] for path in tmp_path.iterdir()} <= {
            "user.db",
            "writer.lock",
        }


@pytest.mark.parametrize("length", [8, 24])
def test_a_memory_budget_bounds_the_peak_of_the_process(bundle: Path, length: int) -> None:
    """In a process of its own: what other tests left behind grows and shrinks by megabytes."""
    with ProcessPoolExecutor(1, get_context("spawn")) as own:
        allowed, peak = own.submit(allowed_and_peak, bundle, length).result()
    assert peak <= allowed


def allowed_and_peak(bundle: Path, length: int) -> tuple[float, float]:
    """Of a fit that may have 48 MB more than the process has."""
    with Personalizer.open(bundle) as me:
        me.fit(many(8)[:20], Budget(steps=1))  # what is loaded once is loaded
        allowed = resident_mb() + 48
        report = me.fit(many(length), Budget(steps=2, memory_mb=allowed))
    return allowed, report.peak_mb


def test_a_budget_below_what_is_loaded_says_how_much_is_needed(bundle: Path) -> None:
    with Personalizer.open(bundle) as me:
        wanted = r"memory_mb is 1, but this model needs about \d+ MB: raise memory_mb"
        with pytest.raises(BudgetError, match=wanted):
            me.fit(TASKS["free"], Budget(steps=1, memory_mb=1))
        assert me.fit(TASKS["free"], Budget(steps=1)).steps == 1


class OneBadLane(StubEngine):
    """The lanes of one direction are never finite."""

    def choose(self, context: Context, adapter: Floats, candidates: Ints) -> Floats:
        scores = super().choose(context, adapter, candidates)
        if len(adapter) > 1:
            scores[2] = np.nan
        return scores


class BrokenLater(StubEngine):
    """Everything is NaN from the tenth run of lanes on."""

    count = 0

    def choose(self, context: Context, adapter: Floats, candidates: Ints) -> Floats:
        scores = super().choose(context, adapter, candidates)
        self.count += len(adapter) > 1
        return np.full_like(scores, np.nan) if self.count >= 10 else scores


def fitted(engine: StubEngine, steps: int) -> tuple[Personalizer, Report]:
    me = Personalizer(engine, Store(None, engine.bundle.identity))
    return me, me.fit(TASKS["single tokens"] * 16, Budget(steps=steps))


def test_a_pair_that_is_not_finite_is_dropped_and_the_others_teach(bundle: Path) -> None:
    me, report = fitted(OneBadLane(bundle), 40)
    assert report.verdict == "improved"
    run = me._store.run()
    slopes = np.stack([step.slopes for step in me._store.journal(run)])
    assert np.isnan(slopes[:, 1]).all()  # lanes 2 and 3 are direction 1
    assert np.isfinite(np.delete(slopes, 1, 1)).all()
    assert run.kept
    (rebuilt,) = me.replay([run.kept])
    np.testing.assert_array_equal(rebuilt.vector, me.adapter.vector)


def test_an_engine_that_breaks_in_the_middle_does_no_harm(bundle: Path) -> None:
    me, report = fitted(BrokenLater(bundle), 40)
    assert np.isfinite(me.adapter.vector).all()
    assert np.isfinite(report.after.loss)
    assert report.verdict == "diverged"
    assert report.version == me.version == 0
    assert report.after == report.before
    assert report.steps < 40  # it stops instead of going on with nothing


def test_progress_is_told_in_time_and_tokens_that_only_grow(bundle: Path) -> None:
    told: list[Any] = []
    cached: list[int] = []
    with Personalizer.open(bundle) as me:
        report = me.fit(
            TASKS["single tokens"], Budget(steps=6), told.append, on_prefill=cached.append
        )
    assert sum(cached) == len(TASKS["single tokens"])
    assert [event.step for event in told] == [1, 2, 3, 4, 5, 6]
    for name in ("seconds", "tokens"):
        values = [getattr(event, name) for event in told]
        assert values == sorted(values)
        assert values[0] > 0
    assert report.tokens >= told[-1].tokens
    assert report.to_dict()["curve"][0]["step"] == 1
