"""Defaults of a bundle, the search for them, and the learning curve, on engines without a model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from manifests import edit_manifest
from stub import EXAMPLES, StubEngine

from dsa_edge.bundle import Bundle
from dsa_edge.defaults import Defaults
from dsa_edge.errors import BundleError, ExampleError, MissingDependencyError, UsageError
from dsa_edge.examples import Example
from dsa_edge.runtime import Budget, Hyperparameters, Personalizer
from dsa_edge.runtime._again import Again, parted
from dsa_edge.runtime._curve import learning_curve, sizes_up_to
from dsa_edge.runtime._defaults import save_defaults
from dsa_edge.runtime._store import Store
from dsa_edge.runtime._tune import Trial, tune

# The four examples of the stub, told apart by what comes before them.
MANY = [replace(e, prompt=f"{n} {e.prompt}") for n in range(24) for e in EXAMPLES]
FREE = [Example(e.prompt, e.response) for e in EXAMPLES]
FOUND = Defaults(rate=0.02, epsilon=0.05, queries=4, batch=8, steps=7)
Open = Callable[[Path], Again]


@pytest.fixture
def again(bundle: Path) -> Again:
    engine = StubEngine(bundle)
    return Again(engine, Store(None, engine.bundle.identity))


# ---- what a bundle proposes


def test_defaults_survive_the_manifest_and_leave_the_identity(bundle_copy: Path) -> None:
    opened = Bundle.open(bundle_copy)
    assert opened.manifest.defaults == {}
    assert "defaults" not in json.loads((bundle_copy / "manifest.json").read_text())
    with_curve = replace(FOUND, curve=((32, 0.5), (64, 0.25)))
    save_defaults(opened, True, with_curve)
    again = Bundle.open(bundle_copy)
    assert again.manifest.defaults == {"choices": with_curve}
    assert again.identity == opened.identity
    save_defaults(again, False, Defaults(rate=0.1))
    assert set(Bundle.open(bundle_copy).manifest.defaults) == {"choices", "responses"}
    assert not list(bundle_copy.glob("*.partial"))


@pytest.mark.parametrize(
    "entry",
    [
        {"choices": {"rate": -1.0}},
        {"choices": {"rate": float("nan")}},
        {"choices": {"rate": 1}},
        {"choices": {"rate": "0.1"}},
        {"choices": {"queries": 0}},
        {"choices": {"queries": 4.0}},
        {"choices": {"queries": True}},
        {"choices": {"batch": 10**9}},
        {"choices": {"steps": 10**12}},
        {"choices": {"curve": [[0, 0.5]]}},
        {"choices": {"curve": [[32, float("inf")]]}},
        {"choices": {"curve": [[32]]}},
        {"choices": {"curve": 5}},
        {"choices": {"curve": [[32, 0.5]] * 1001}},
        {"choices": 3},
        {"other": {}},
        [],
        3,
    ],
)
def test_defaults_that_no_fit_could_take_are_refused(bundle_copy: Path, entry: Any) -> None:
    if entry == []:
        entry = [1]
    edit_manifest(bundle_copy / "manifest.json", lambda content: content.update(defaults=entry))
    with pytest.raises(BundleError, match="not a valid manifest"):
        Bundle.open(bundle_copy, check_hashes=False)


def test_what_a_later_version_proposes_besides_is_left_alone(bundle_copy: Path) -> None:
    entry = {"choices": {"rate": 0.5, "warmth": 3}}
    edit_manifest(bundle_copy / "manifest.json", lambda content: content.update(defaults=entry))
    assert Bundle.open(bundle_copy).manifest.defaults == {"choices": Defaults(rate=0.5)}


def fit(bundle: Path, hyper: Hyperparameters | None = None, steps: int | None = None) -> Any:
    engine = StubEngine(bundle)
    me = Personalizer(engine, Store(None, engine.bundle.identity))
    return me.fit(EXAMPLES, Budget(steps=steps), hyperparameters=hyper)


def test_a_fit_takes_what_the_bundle_proposes_unless_told(bundle_copy: Path) -> None:
    save_defaults(Bundle.open(bundle_copy), True, FOUND)
    own = fit(bundle_copy)
    used = own.hyperparameters
    assert own.steps == 7
    assert (used["queries"], used["batch"], used["rate"]) == (4, 8, 0.02)
    assert used["smoothing"] == 0.2  # what is not proposed is what suits
    assert fit(bundle_copy, steps=3).steps == 3
    told = fit(bundle_copy, Hyperparameters(queries=2), steps=3)
    assert (told.hyperparameters["queries"], told.hyperparameters["rate"]) == (2, 0.01)


def test_what_choices_learn_best_with_is_not_for_free_responses(bundle_copy: Path) -> None:
    from dsa_edge.runtime._defaults import settled, usual_steps

    save_defaults(Bundle.open(bundle_copy), True, FOUND)
    manifest = Bundle.open(bundle_copy).manifest
    assert settled(manifest, False, None) == Hyperparameters.suited(False)
    assert usual_steps(manifest, False, None) == 200
    assert usual_steps(manifest, True, None) == 7
    assert usual_steps(manifest, True, Hyperparameters()) == 200


# ---- the search


def test_a_search_finds_settings_and_confirms_them(again: Again) -> None:
    told: list[Trial] = []
    tuned = tune(again, MANY, trials=8, steps=24, seed=3, on_trial=told.append)
    assert [t.number for t in tuned.trials] == list(range(8))
    assert told == list(tuned.trials)
    first = tuned.trials[0]
    assert first.settings == Defaults(0.01, 0.1, 8, 16, 24)  # what fits do now
    assert first.percent == 100
    assert any(t.percent < 100 for t in tuned.trials)  # given up early
    assert all(20 <= t.percent <= 100 for t in tuned.trials)
    for t in tuned.trials:
        queries, batch, steps = (getattr(t.settings, n) for n in ("queries", "batch", "steps"))
        assert steps == 10 or abs(queries * batch * steps / (8 * 16 * 24) - 1) < 0.1
    assert tuned.better == (tuned.found < tuned.present)
    assert tuned.present < tuned.base.loss
    best = min((t for t in tuned.trials if t.percent == 100), key=lambda t: t.loss)
    assert tuned.defaults == (best.settings if tuned.better else Defaults())


def test_the_same_seed_searches_the_same_way(bundle: Path) -> None:
    def once() -> Any:
        engine = StubEngine(bundle)
        me = Again(engine, Store(None, engine.bundle.identity))
        return tune(me, MANY, trials=3, steps=10, seed=1).trials

    assert once() == once()


def test_a_search_goes_on_where_it_was_stopped(again: Again, tmp_path: Path) -> None:
    file = tmp_path / "tune.db"

    def stop(trial: Trial) -> None:
        if trial.number == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(again, MANY, trials=5, steps=10, study=file, on_trial=stop)
    told: list[Trial] = []
    tuned = tune(again, MANY, trials=5, steps=10, study=file, on_trial=told.append)
    assert len(tuned.trials) == 5
    assert len(told) == 3
    assert not tune(again, MANY, trials=5, steps=10, study=file, on_trial=stop).trials[5:]
    with pytest.raises(UsageError, match="another bundle, data, seed"):
        tune(again, MANY, trials=5, steps=11, study=file)
    with pytest.raises(UsageError, match="another bundle, data, seed"):
        tune(again, MANY[:40], trials=5, steps=10, study=file)


def test_a_file_that_is_no_study_is_refused(again: Again, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Dear diary" * 400)
    with pytest.raises(UsageError, match="no study that can be gone on with"):
        tune(again, MANY, trials=2, steps=10, study=tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "Dear diary" * 400


@pytest.mark.parametrize("wrong", [{"trials": 1}, {"seconds": 0.0}, {"steps": 0}])
def test_wrong_numbers_are_refused(again: Again, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected at least 2 trials"):
        tune(again, MANY, **wrong)
    with pytest.raises(ExampleError, match="at least 16"):
        tune(again, MANY[:15])


def test_without_optuna_it_says_what_to_install(
    again: Again, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingDependencyError, match=r"dsa-edge\[tune\]"):
        tune(again, MANY, trials=2, steps=10)


def test_fits_begin_anew_on_prompts_that_are_run_once(again: Again) -> None:
    part = parted(MANY, 0)
    assert len(part.judged) == len(MANY) // 4
    assert {e.prompt for e in part.judged}.isdisjoint(e.prompt for e in part.learned)
    hyper = Hyperparameters()
    first = again.judge(part, 10, hyper, 0)
    assert again.judge(part, 10, hyper, 5) != first
    assert again.judge(part, 10, hyper, 0) == first
    assert len(again.__dict__["_kept"]) == 2


# ---- the learning curve


def test_more_examples_are_learned_from_by_every_seed(again: Again) -> None:
    points = learning_curve(again, MANY, (8, 16, 48), seeds=2, steps=10)
    assert [(p.examples, p.seed) for p in points] == [
        (8, 0), (8, 1), (16, 0), (16, 1), (48, 0), (48, 1)
    ]  # fmt: skip
    assert {p.result.examples for p in points} == {24}
    for wrong in ((1, 8), (8, 500)):
        with pytest.raises(UsageError, match="from 2 to 72"):
            learning_curve(again, MANY, wrong)


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(12, [12]), (32, [32]), (40, [32]), (50, [32, 50]), (300, [32, 64, 128, 256])],
)
def test_sizes_double(count: int, sizes: list[int]) -> None:
    assert sizes_up_to(count) == sizes


def test_plan_tells_what_the_curve_says(bundle_copy: Path) -> None:
    from dsa_edge.runtime._defaults import of_curve

    curve = tuple((n, 0.4 + 2.0 * n**-0.5) for n in (32, 64, 128, 256))
    save_defaults(Bundle.open(bundle_copy), True, Defaults(curve=curve))
    manifest = Bundle.open(bundle_copy).manifest
    (note,) = of_curve(manifest, True, 256)
    assert "collect more" in note
    assert of_curve(manifest, False, 256) == ()
    engine = StubEngine(bundle_copy)
    plan = Personalizer(engine, Store(None, engine.bundle.identity)).plan(EXAMPLES)
    assert any("4 examples, losses at 4 sizes: too early to tell" in n for n in plan.notes)
