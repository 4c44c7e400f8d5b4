"""Every estimator with every optimizer: learned, journalled, replayed to the bit, and refused."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stub import StubEngine

from dsa_edge.bundle import Bundle
from dsa_edge.cli._fit import add_budget, add_trust, hyperparameters_of
from dsa_edge.defaults import Defaults
from dsa_edge.errors import DamagedError, PrivacyError, UsageError
from dsa_edge.runtime import Budget, Example, Hyperparameters, Personalizer, Privacy
from dsa_edge.runtime._defaults import settled, usual_steps
from dsa_edge.runtime._engine import Context, Floats, Ints
from dsa_edge.runtime._hyperparameters import ESTIMATORS, OPTIMIZERS
from dsa_edge.runtime._optimizer import State, Step, replay, update
from dsa_edge.runtime._store import Store
from dsa_edge.runtime.estimators import Space, make_estimator, mask_of

PROBING = [name for name in ESTIMATORS if name != "exact"]  # which needs graphs of gradients

PAIRS = [
    (estimator, optimizer)
    for estimator in PROBING
    for optimizer in OPTIMIZERS
    if (estimator, optimizer) != ("one-sided", "normalized")
]
CHOICES = (" a", " b")
WORDS = ["the", "quiet", "baker", "opens", "early", "and", "sells", "warm", "bread", "to", "whole"]
EXAMPLES = [Example(f"say {w}", CHOICES[i % 2], CHOICES) for i, w in enumerate(WORDS)] * 8


class Watched(StubEngine):
    """Remembers the last adapter that was run alone: what a fit looked at after its last step."""

    last: Floats

    def choose(self, context: Context, adapter: Floats, candidates: Ints) -> Floats:
        if len(adapter) == 1:
            self.last = adapter[0].copy()
        return super().choose(context, adapter, candidates)


def user(engine: StubEngine, folder: Path | None = None) -> Personalizer:
    return Personalizer(engine, Store(folder, engine.bundle.identity))


def suited(estimator: str, optimizer: str) -> Hyperparameters:
    return Hyperparameters.suited(True, estimator, optimizer)


@pytest.mark.parametrize(("estimator", "optimizer"), PAIRS)
def test_each_pair_learns_and_its_journal_gives_the_same_bits(
    bundle: Path, tmp_path: Path, estimator: str, optimizer: str
) -> None:
    """The stub's loss is 0.693 at the start; with its defaults every pair ends below 0.6."""
    engine = Watched(bundle)
    me = user(engine, tmp_path)
    report = me.fit(EXAMPLES, Budget(steps=30), hyperparameters=suited(estimator, optimizer))
    me.close()
    assert report.verdict == "improved"
    assert report.after.loss < 0.6
    assert report.hyperparameters["estimator"] == estimator
    assert report.hyperparameters["optimizer"] == optimizer
    usual = (estimator, optimizer) == ("antithetic", "adam")
    told = f"estimator {estimator}, optimizer {optimizer}"
    assert [note for note in report.notes if note.startswith("estimator")] == [told] * (not usual)
    again = user(StubEngine(bundle), tmp_path)
    run = again._store.run()
    steps = again._store.journal(run)
    assert {len(step.slopes) for step in steps} == {run.width}
    last, kept = again.replay([report.steps, run.kept or 0])
    np.testing.assert_array_equal(last.vector, engine.last)
    np.testing.assert_array_equal(kept.vector, again.adapter.vector)


@pytest.mark.parametrize("estimator", PROBING)
def test_a_second_fit_goes_on_from_the_first_one_and_replays(
    bundle: Path, tmp_path: Path, estimator: str
) -> None:
    """Masks and grids come from where a run started, which is no longer zero."""
    engine = Watched(bundle)
    with user(engine, tmp_path) as me:
        me.fit(EXAMPLES, Budget(steps=20))
        assert np.abs(me.adapter.vector).max() > 0
        hyper = replace(suited(estimator, "adam"), queries=5)
        report = me.fit(EXAMPLES, Budget(steps=7), hyperparameters=hyper, seed=4)
        (last,) = me.replay([report.steps])
        np.testing.assert_array_equal(last.vector, engine.last)


def test_a_mask_that_was_given_is_journalled(bundle: Path) -> None:
    engine = StubEngine(bundle)
    me, size = user(engine), engine.bundle.manifest.adapter_size
    sensitivity = np.random.default_rng(0).random(size).astype(np.float32)
    hyper = replace(suited("sparse", "adam"), mask=mask_of(sensitivity, 0.1))
    me.fit(EXAMPLES, Budget(steps=6), hyperparameters=hyper)
    (learned,) = me.replay([6])
    moved = np.flatnonzero(learned.vector)
    assert len(moved) == np.ceil(0.1 * size)
    assert sensitivity[moved].min() > np.delete(sensitivity, moved).max()


def test_quzo_takes_little_more_than_a_byte_a_number_in_the_store(bundle: Path) -> None:
    """A version is on the grid, and the planes of bytes below it are zero: no packing of its own.

    Numbers that use half the range at random take 1.21 bytes each, others 3.7.
    """
    engine = StubEngine(bundle)
    me = user(engine)
    report = me.fit(EXAMPLES, Budget(steps=10), hyperparameters=suited("quzo", "sgd"))
    codes = me.replay([report.steps])[0].vector * 2**7
    np.testing.assert_array_equal(codes, np.rint(codes))
    assert np.abs(codes).max() <= 127
    numbers = np.random.default_rng(0).integers(-63, 64, 4000).astype(np.float32) / 2**7
    assert len(me._store._vault.pack_floats(numbers, "x")) < 1.25 * 4000


@pytest.mark.parametrize("estimator", PROBING)
def test_a_plan_runs_the_lanes_of_its_estimator(bundle: Path, estimator: str) -> None:
    engine = StubEngine(bundle)
    me, hyper = user(engine), replace(suited(estimator, "adam"), queries=6)
    plan = me.plan(EXAMPLES, Budget(steps=5), hyper)
    assert plan.steps == 5
    most = {"mezo": 2, "one-sided": 7}.get(estimator, 12)
    assert engine.runs.count(most * hyper.batch) >= 4  # the steps of a trial


@pytest.mark.parametrize("estimator", PROBING)
def test_radius_and_rate_are_tried_with_each_estimator(bundle: Path, estimator: str) -> None:
    """Along the exact gradient of `axes` no step is too long for a batch that can be separated."""
    far = () if estimator == "axes" else (({"rate": 1e4}, "worse at once"),)
    for wrong, told in ({"epsilon": 1e-10}, "not at all"), *far:
        hyper = replace(suited(estimator, "sgd"), **wrong)
        report = user(StubEngine(bundle)).fit(EXAMPLES, Budget(steps=2), hyperparameters=hyper)
        assert any(told in note for note in report.notes)
        for name, value in wrong.items():
            assert report.hyperparameters[name] != value


class Broken(StubEngine):
    """Lane 1 of a step is never finite."""

    def choose(self, context: Context, adapter: Floats, candidates: Ints) -> Floats:
        scores = super().choose(context, adapter, candidates)
        if len(adapter) > 1:
            scores[1] = np.nan
        return scores


@pytest.mark.parametrize("estimator", PROBING)
@pytest.mark.parametrize("engine", ["nothing", "one lane"])
def test_engines_that_break_do_no_harm(bundle: Path, estimator: str, engine: str) -> None:
    made = StubEngine(bundle, broken=True) if engine == "nothing" else Broken(bundle)
    me = user(made)
    report = me.fit(EXAMPLES, Budget(steps=12), hyperparameters=suited(estimator, "sgd"))
    assert np.isfinite(me.adapter.vector).all()
    (last,) = me.replay([report.steps])
    assert np.isfinite(last.vector).all()
    if engine == "nothing":
        assert report.version == 0
    if engine == "nothing" or estimator == "mezo":  # all pairs of MeZO have a lane 1
        assert not me.adapter.vector.any()  # label biases follow scores that are numbers


def test_free_responses_have_estimators_too(bundle: Path) -> None:
    """Through the real engine, whose losses are not those of choices."""
    task = [Example("She wrote", " warm bread"), Example("He did", " not like the film")]
    for estimator in ("mezo", "one-sided", "lowrank"):
        with Personalizer.open(bundle) as me:
            hyper = Hyperparameters.suited(False, estimator, "adam")
            report = me.fit(task, Budget(steps=4), hyperparameters=hyper)
            assert report.steps == 4
            assert np.isfinite(me.replay([4])[0].vector).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"estimator": "magic"}, "estimator is 'magic', expected one of antithetic, axes"),
        ({"optimizer": "lion"}, "optimizer is 'lion', expected one of adam, momentum"),
        ({"estimator": "one-sided", "optimizer": "normalized"}, "got normalized: use sgd"),
        ({"estimator": "one-sided", "queries": 1}, "at least 2 queries, got 1: raise"),
        ({"estimator": "sparse", "share": 0.0}, "share is 0.0, expected 0 < share"),
        ({"estimator": "sparse", "share": float("nan")}, "share is nan"),
        ({"mask": "ff"}, "belongs to estimator sparse, got antithetic"),
        ({"estimator": "lowrank", "rank": 0}, "rank is 0, expected at least 1"),
        ({"estimator": "lowrank", "refresh": 0}, "refresh is 0"),
        ({"estimator": "quzo", "grid": 0.01}, "grid is 0.01, expected a power of two"),
        ({"estimator": "quzo", "grid": 0.0}, "grid is 0.0"),
        ({"estimator": "quzo", "grid": float("inf")}, "grid is inf"),
    ],
)
def test_choices_that_cannot_be_meant_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        Hyperparameters(**wrong)


def test_suited_refuses_unknown_names_and_pairs() -> None:
    for names in (("magic", "adam"), ("mezo", "magic"), ("one-sided", "normalized")):
        with pytest.raises(UsageError, match="expected"):
            Hyperparameters.suited(True, *names)


def test_axes_that_are_too_many_are_refused_before_anything_is_cached(bundle: Path) -> None:
    engine = StubEngine(bundle)
    me, cached = user(engine), list[int]()
    hyper = replace(suited("axes", "adam"), queries=100_000)
    for run in (me.fit, me.plan):
        with pytest.raises(UsageError, match=r"expected at most 1024: take 512 queries"):
            run(EXAMPLES, Budget(steps=2), hyperparameters=hyper)
    with pytest.raises(UsageError):
        me.fit(EXAMPLES, Budget(steps=2), None, hyper, on_prefill=cached.append)
    assert cached == []
    assert engine.runs == []


@pytest.mark.parametrize("estimator", [name for name in ESTIMATORS if name != "antithetic"])
def test_privacy_covers_antithetic_pairs_alone(bundle: Path, estimator: str) -> None:
    me, hyper = user(StubEngine(bundle)), suited(estimator, "adam")
    with pytest.raises(PrivacyError, match=f"antithetic, got {estimator}: leave out"):
        me.fit(EXAMPLES, Budget(steps=2), hyperparameters=hyper, privacy=Privacy(8.0))
    assert me.fits() == []


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_privacy_takes_any_optimizer(bundle: Path, optimizer: str) -> None:
    """An optimizer reads nothing but scalars that are noised already."""
    pytest.importorskip("dp_accounting", reason="the package dp-accounting is not installed")
    me = user(StubEngine(bundle))
    many = [Example(f"{i} doors {WORDS[i % 11]}", CHOICES[i % 2], CHOICES) for i in range(160)]
    hyper = suited("antithetic", optimizer)
    report = me.fit(many, Budget(steps=3), hyperparameters=hyper, privacy=Privacy(8.0, 1e-3))
    assert report.steps == 3
    assert report.hyperparameters["optimizer"] == optimizer


def test_a_guarantee_keeps_the_settings_that_it_was_measured_with(bundle: Path) -> None:
    """Whatever the bundle proposes to other fits."""
    manifest = Bundle.open(bundle).manifest
    proposing = replace(manifest, defaults={"choices": Defaults(queries=4, steps=7)})
    private = settled(proposing, True, None, private=True)
    assert private.queries == 16
    assert usual_steps(proposing, True, None, private=True) == 100
    made = argparse.ArgumentParser()
    add_budget(made)
    add_trust(made)
    given = made.parse_args(["--privacy", "8", "--rate", "0.5"])
    told = hyperparameters_of(given, EXAMPLES, proposing)
    assert told is not None
    assert (told.queries, told.rate) == (16, 0.5)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_fit_costs_the_same_lanes_whatever_a_step_costs(estimator: str) -> None:
    hyper = replace(suited(estimator, "adam"), queries=6)
    space = Space(np.zeros(64, np.float32), ((8, 8),))
    assert make_estimator(hyper, 0, space).lanes == hyper.lanes
    if estimator != "exact":
        assert abs(hyper.usual_steps * hyper.lanes / 3200 - 1) < 0.01


def test_the_command_line_sets_what_a_method_has_besides(bundle: Path) -> None:
    made = argparse.ArgumentParser()
    add_budget(made)
    manifest = Bundle.open(bundle).manifest

    def told(*words: str) -> Hyperparameters | None:
        return hyperparameters_of(made.parse_args(words), EXAMPLES, manifest)

    words = "--estimator", "lowrank", "--set", "rank=2", "--set", "refresh=9"
    assert told(*words) == replace(suited("lowrank", "adam"), rank=2, refresh=9)
    masked = told("--estimator", "sparse", "--set", "mask=ff")
    assert masked is not None
    assert masked.mask == "ff"
    for wrong in ("rank", "rank=two", "rank=1.5", "ranks=2", "queries=4", "grid="):
        with pytest.raises(UsageError, match=f"--set has '{wrong}', expected NAME=VALUE"):
            told("--set", wrong)
    with pytest.raises(UsageError, match="grid is 0.01, expected a power of two"):
        told("--estimator", "quzo", "--set", "grid=0.01")


def test_what_is_taken_away_is_taken_within_the_steps_there_are(bundle: Path) -> None:
    made = argparse.ArgumentParser()
    add_budget(made)
    manifest = Bundle.open(bundle).manifest
    for words, until in ((("--steps", "50"), 35), ((), 140), (("--queries", "32"), 35)):
        given = hyperparameters_of(made.parse_args(["--keep", "0.5", *words]), EXAMPLES, manifest)
        assert given is not None
        assert given.keep_until == until


def test_journals_from_before_there_was_a_choice_still_replay() -> None:
    old = {k: v for k, v in asdict(Hyperparameters(queries=3)).items() if k in vars_of_old()}
    read = Hyperparameters.from_dict({k: float(v) for k, v in old.items()})
    assert read == Hyperparameters(queries=3, slopes="batch")  # one for all blocks
    assert type(read.queries) is int


def vars_of_old() -> tuple[str, ...]:
    """What a journal of version 2 held before estimators had names."""
    names = "queries batch epsilon rate smoothing beta1 beta2 cooldown"
    return tuple(names.split())


@pytest.mark.parametrize(
    "wrong", [{"estimator": "magic"}, {"later": 1.0}, {"queries": "x"}, {"grid": None}]
)
def test_journals_of_other_programs_are_no_replay(bundle: Path, wrong: dict[str, Any]) -> None:
    me = user(StubEngine(bundle))
    run = me._store.start_run(0, 1, {**asdict(Hyperparameters(queries=2)), **wrong}, width=2)
    me._store.append(run, Step(0.1, np.ones(2, np.float32)))
    with pytest.raises((DamagedError, UsageError)):
        me.replay([1])


def test_rows_of_another_width_are_no_replay() -> None:
    theta, step = np.zeros(6, np.float32), Step(0.1, np.ones(3, np.float32))
    for estimator in PROBING:
        hyper = Hyperparameters(queries=2, estimator=estimator)
        with pytest.raises(ValueError, match="3 scalars in a step of 2"):
            replay(theta, 1, hyper, [step], [1])


def test_the_command_line_names_every_method_and_takes_it(bundle: Path) -> None:
    made = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter)
    add_budget(made)
    told = [line.split()[0] for line in made.format_help().splitlines() if line.startswith("    ")]
    assert [name for name in told if name in (*ESTIMATORS, *OPTIMIZERS)] == [
        *ESTIMATORS,
        *OPTIMIZERS,
    ]
    given = made.parse_args(["--estimator", "one-sided", "--optimizer", "sgd", "--rate", "0.5"])
    expected = replace(suited("one-sided", "sgd"), rate=0.5)
    manifest = Bundle.open(bundle).manifest
    assert hyperparameters_of(given, EXAMPLES, manifest) == expected
    assert hyperparameters_of(made.parse_args([]), EXAMPLES, manifest) is None  # the bundle's own


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers_follow_their_formulas(optimizer: str) -> None:
    """Three steps in float64 beside ours in float32."""
    hyper = Hyperparameters(queries=2, optimizer=optimizer)
    state, seed, rate = State(np.zeros(16, np.float32)), 5, 0.05
    theta, m, v, square = np.zeros(16), np.zeros(16), np.zeros(16), 0.0
    for t, c in enumerate(([0.7, -0.2], [0.1, 0.4], [-0.5, 0.3])):
        step = Step(rate, np.array(c, np.float32))
        g = state.estimator(seed, hyper).direction(step.slopes, t)
        assert g is not None
        g = g.astype(np.float64)
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
        square = 0.99 * square + 0.01 * (c[0] ** 2 + c[1] ** 2) / 2
        left1, left2 = 1 - 0.9 ** (t + 1), 1 - 0.99 ** (t + 1)
        theta = (
            theta
            - rate
            * {
                "sgd": g,
                "momentum": m,
                "adam": (m / left1) / (np.sqrt(v / left2) + 1e-8),
                "normalized": g / (np.sqrt(square / left2) + 1e-8),
            }[optimizer]
        )
        update(state, seed, hyper, step)
    np.testing.assert_allclose(state.theta, theta, rtol=5e-5, atol=1e-7)
