"""`Personalizer.fit`: it learns, it gives a verdict, and it never loses the good adapter."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stub import StubEngine

from dsa_edge.errors import BudgetError, ExampleError
from dsa_edge.runtime import Adapter, Budget, Example, Hyperparameters, Labels, Personalizer
from dsa_edge.runtime._shots import pick_shots
from dsa_edge.runtime._store import Store

CHOICES = (" a", " b")
WORDS = [
    "the",
    "quiet",
    "baker",
    "opens",
    "early",
    "and",
    "sells",
    "warm",
    "bread",
    "to",
    "whole",
    "street",
    "rain",
    "fell",
    "on",
    "roof",
]


def labelled(count: int, shuffled: bool = False) -> list[Example]:
    """Examples whose label is a function of their last word, or of nothing."""
    random = np.random.default_rng(3)
    label_of = {word: CHOICES[i % 2] for i, word in enumerate(WORDS)}
    words = [WORDS[i] for i in random.integers(0, len(WORDS), count)]
    labels = [label_of[word] for word in words]
    if shuffled:
        labels = [CHOICES[i] for i in random.integers(0, 2, count)]
    return [Example(f"say {w}", label, CHOICES) for w, label in zip(words, labels, strict=True)]


def personalizer(bundle: Path, store: Path | None = None, broken: bool = False) -> Personalizer:
    engine = StubEngine(bundle, broken)
    return Personalizer(engine, Store(store, engine.bundle.identity))


def test_it_learns_and_the_new_version_is_the_one_in_use(bundle: Path) -> None:
    me = personalizer(bundle)
    report = me.fit(labelled(256), Budget(steps=60))
    assert report.verdict == "improved"
    assert report.after.accuracy is not None
    assert report.before.accuracy is not None
    assert report.after.accuracy > 0.9 > report.before.accuracy
    assert me.version == report.version == 1
    (before,), (after,) = (me.evaluate(labelled(64), (v,)) for v in (0, 1))
    assert after.loss < before.loss


def test_labels_without_meaning_change_nothing(bundle: Path) -> None:
    me = personalizer(bundle)
    report = me.fit(labelled(256, shuffled=True), Budget(steps=40))
    assert report.verdict == "no improvement"
    assert me.version == 0
    assert report.after == report.before
    assert not me.adapter.vector.any()
    assert me.history() == []


def test_losses_that_are_nan_leave_the_old_adapter(bundle: Path, tmp_path: Path) -> None:
    good = personalizer(bundle, tmp_path)
    good.fit(labelled(256), Budget(steps=40))
    vector = good.adapter.vector
    good.close()
    bad = personalizer(bundle, tmp_path, broken=True)
    report = bad.fit(labelled(64), Budget(steps=5))
    assert report.verdict != "improved"
    assert bad.version == 1
    np.testing.assert_array_equal(bad.adapter.vector, vector)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(bundle: Path) -> None:
    vectors = []
    for seed in (5, 5, 6):
        me = personalizer(bundle)
        me.fit(labelled(128), Budget(steps=20), seed=seed)
        vectors.append(me.adapter.vector)
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert np.abs(vectors[0] - vectors[2]).max() > 0


def test_the_journal_alone_rebuilds_the_version(bundle: Path, tmp_path: Path) -> None:
    me = personalizer(bundle, tmp_path)
    me.fit(labelled(128), Budget(steps=30))
    me.close()
    again = personalizer(bundle, tmp_path)
    (run,) = again._store.runs()
    assert run.kept is not None
    assert len(again._store.journal(run)) == 30
    (rebuilt,) = again.replay([run.kept])
    np.testing.assert_array_equal(rebuilt.vector, again.adapter.vector)
    assert rebuilt.labels == again.adapter.labels


def test_a_second_fit_goes_on_from_the_first_and_rollback_goes_back(bundle: Path) -> None:
    me = personalizer(bundle)
    me.fit(labelled(128), Budget(steps=15))
    first = me.adapter.vector
    second = me.fit(labelled(256), Budget(steps=40), seed=1)
    if second.verdict == "improved":
        assert [v.parent for v in me.history()] == [0, 1]
    me.rollback(1)
    np.testing.assert_array_equal(me.adapter.vector, first)
    me.rollback(0)
    assert not me.adapter.vector.any()
    me.forget()
    assert me.history() == []


@pytest.mark.parametrize("count", [1, 2, 5, 15])
def test_fewer_examples_than_a_batch_are_a_handled_case(bundle: Path, count: int) -> None:
    examples = [Example(f"say {WORDS[i]}", CHOICES[i % 2], CHOICES) for i in range(count)]
    report = personalizer(bundle).fit(examples, Budget(steps=3))
    assert report.steps == 3
    assert (report.held_out == 0) == bool(report.notes)


def test_examples_that_teach_nothing_are_refused(bundle: Path) -> None:
    me = personalizer(bundle)
    with pytest.raises(ExampleError, match="no examples"):
        me.fit([])
    with pytest.raises(ExampleError, match="have the label 'a'"):
        me.fit([Example(f"say {w}", " a", CHOICES) for w in WORDS])


def test_time_and_steps_are_obeyed(bundle: Path) -> None:
    me = personalizer(bundle)
    assert me.fit(labelled(64), Budget(steps=7)).steps == 7
    report = me.fit(labelled(64), Budget(seconds=0.5, steps=10_000))
    assert 0 < report.steps < 10_000
    assert report.fit_seconds < 5  # the budget, and the held-out look that ends every run


def test_a_memory_budget_that_cannot_work_says_what_is_needed(bundle: Path) -> None:
    with pytest.raises(BudgetError, match="needs about"):
        personalizer(bundle).fit(labelled(64), Budget(memory_mb=5))


def test_smaller_chunks_give_the_same_adapter(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = []
    for most in (10**9, 200_000):
        monkeypatch.setattr("dsa_edge.runtime._plan.DEFAULT_ACTIVATIONS", most)
        me = personalizer(bundle)
        me.fit(labelled(64), Budget(steps=4))
        vectors.append(me.adapter.vector)
        largest = max(me._engine.runs)  # type: ignore[attr-defined]
    assert largest < 32 * 16
    np.testing.assert_array_equal(*vectors)


def test_an_adapter_file_carries_vector_and_label_biases(bundle: Path, tmp_path: Path) -> None:
    me = personalizer(bundle)
    me.fit(labelled(128), Budget(steps=30))
    me.save_adapter(tmp_path / "me.safetensors")
    other = personalizer(bundle)
    assert other.load_adapter(tmp_path / "me.safetensors") == 1
    np.testing.assert_array_equal(other.adapter.vector, me.adapter.vector)
    assert other.adapter.labels == me.adapter.labels
    assert other.choose("say the", CHOICES) == me.choose("say the", CHOICES)


def test_every_step_is_told_and_the_curve_has_held_out_points(bundle: Path) -> None:
    told: list[Any] = []
    report = personalizer(bundle).fit(labelled(128), Budget(steps=24), told.append)
    assert [event.step for event in told] == list(range(1, report.steps + 1))
    assert tuple(told) == report.curve
    assert report.curve[-1].held_out_loss is not None


def test_label_biases_apply_only_to_the_choices_they_were_fitted_for(bundle: Path) -> None:
    me = personalizer(bundle)
    vector = me.adapter.vector
    biased = Adapter(vector, {" a": 3.0, " b": -3.0})
    (plain, moved) = me.evaluate(labelled(64), [0, biased])
    assert plain.loss != moved.loss
    others = [Example("say the", " b", (" b", " t")), Example("say rain", " t", (" b", " t"))]
    (plain, same) = me.evaluate(others, [0, biased])
    assert plain == same


def test_shots_come_from_the_rows_take_turns_and_are_not_learned_again(bundle: Path) -> None:
    me = personalizer(bundle)
    labels = Labels("say {text}", ("a", "b"))
    rows: list[tuple[str, object]] = [(f"{w} x{i}", i % 2) for i, w in enumerate(WORDS * 4)]
    shown, rest = me.pick_shots(labels, rows, shots=4, tries=3, judges=8)
    prompt = shown.example("rain", 0).prompt
    assert prompt.endswith("say rain")
    used = [row for row in rows if row not in rest]
    assert len(used) == 4
    assert sorted(label for _, label in used) == [0, 0, 1, 1]
    assert all(f"say {text} {'ab'[int(str(label))]}" in prompt for text, label in used)
    with pytest.raises(ExampleError, match="some of each label"):
        me.pick_shots(labels, [(w, 0) for w in WORDS], judges=4)


def test_judges_are_short_rows_and_fewer_rows_than_judges_are_enough() -> None:
    labels = Labels("say {text}", ("a", "b"))
    rows: list[tuple[str, object]] = [("x" * (1 + 7 * i % 31), i % 2) for i in range(30)]
    judged: set[str] = set()

    def score(examples: Sequence[Example]) -> tuple[Any, Any]:
        judged.update(example.prompt.rsplit("say ", 1)[1] for example in examples)
        answers = np.array([e.choices.index(e.response) for e in examples])
        return np.zeros((len(examples), 2), np.float32), answers

    _, rest = pick_shots(labels, rows, score, 4, 3, 96, 0, lambda *_: None)
    assert len(rest) == 26
    others = [text for text, _ in rows if text not in judged]
    assert len(judged) == 15  # half of the rows, the shorter ones
    assert max(map(len, judged)) < min(map(len, others))


def test_the_best_of_many_sets_is_found_with_a_part_of_the_work() -> None:
    """A scorer that knows which text helps: sets with it answer right, others guess."""
    labels = Labels("say {text}", ("a", "b"))
    rows: list[tuple[str, object]] = [(f"text {i:02}", i % 2) for i in range(40)]
    prompts, told = [], []

    def score(examples: Sequence[Example]) -> tuple[Any, Any]:
        prompts.extend(example.prompt for example in examples)
        answers = np.array([e.choices.index(e.response) for e in examples])
        sure = np.array(["text 07 " in e.prompt for e in examples]) * 4.0
        noise = np.random.default_rng(len(prompts)).standard_normal((len(examples), 2))
        return (np.eye(2)[answers] * sure[:, None] + noise).astype(np.float32), answers

    shown, rest = pick_shots(labels, rows, score, 4, 18, 16, 1, lambda *done: told.append(done))
    assert "text 07 " in shown.template
    assert len(rest) == 36
    assert told[-1][0] == told[-1][1] == len(prompts) == 18 * 4 + 6 * 4 + 2 * 8
    judged = {prompt.rsplit("say ", 1)[1] for prompt in prompts}
    assert len(judged) == 16
    assert not any(f"{text} " in shown.template for text in judged)


class SlowPrefill(StubEngine):
    """Takes as long for prompts as a small board."""

    def prefill(self, *given: Any) -> Any:
        time.sleep(0.03)
        return super().prefill(*given)


def test_a_time_bound_holds_though_the_prompts_alone_would_take_longer(bundle: Path) -> None:
    engine = SlowPrefill(bundle)
    me = Personalizer(engine, Store(None, engine.bundle.identity))
    many = [Example(f"{i} {e.prompt}", e.response, CHOICES) for i, e in enumerate(labelled(2000))]
    cached: list[int] = []
    began = time.perf_counter()
    report = me.fit(many, Budget(seconds=2), on_prefill=cached.append)
    assert time.perf_counter() - began < 4
    assert 32 <= report.examples == sum(cached) < 2000
    assert report.steps > 0
    (note,) = report.notes
    assert f"{report.examples} of 2000" in note
    rates = [step.rate for step in me._store.journal(me._store.run())]
    assert rates[0] == pytest.approx(report.hyperparameters["rate"], rel=0.1)  # not cooled already
    assert rates[-1] < 0.5 * rates[0]


def test_hyperparameters_refuse_nonsense() -> None:
    from dsa_edge.errors import UsageError

    for wrong in (
        {"queries": 0},
        {"rate": 0.0},
        {"epsilon": -1.0},
        {"beta1": 1.0},
        {"smoothing": 1.0},
    ):
        with pytest.raises(UsageError):
            Hyperparameters(**wrong)  # type: ignore[arg-type]
