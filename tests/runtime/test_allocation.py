"""A budget that shrinks: what is taken away matters least, and a replay takes the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from users import examples, personalizer

from dsa_edge.errors import UsageError
from dsa_edge.runtime import Budget, Hyperparameters
from dsa_edge.runtime._allocation import Allocation, budget_at

TENTH = Hyperparameters(keep=0.1, keep_from=5, keep_until=20, keep_every=5)


def test_the_budget_falls_by_the_cubic_schedule() -> None:
    budgets = [budget_at(step, 1000, TENTH) for step in range(30)]
    assert budgets[:6] == [1000] * 6
    assert budgets[20:] == [100] * 10
    assert budgets[10] == 100 + round(900 * (2 / 3) ** 3)
    assert budgets == sorted(budgets, reverse=True)
    assert budget_at(99, 7, replace(TENTH, keep=0.01)) == 1


def test_importance_is_the_products_of_the_paper() -> None:
    """Equations 9 and 10 in float64, number by number."""
    random, allocation = np.random.default_rng(0), Allocation(50)
    mean, spread = np.zeros(50), np.zeros(50)
    for _ in range(8):
        theta, gradient = random.standard_normal((2, 50)).astype(np.float32)
        allocation.observe(theta, gradient)
        importance = np.abs(theta.astype(float) * gradient)
        mean = 0.85 * mean + 0.15 * importance
        spread = 0.85 * spread + 0.15 * np.abs(importance - mean)
    theta = np.ones(50, np.float32)
    assert allocation.kept(theta, 13, TENTH) is theta  # between looks all may move
    assert np.count_nonzero(allocation.kept(theta, 14, TENTH)) == budget_at(14, 50, TENTH)
    best = set(np.argsort(-(mean * spread))[:5])
    assert set(np.flatnonzero(allocation.kept(theta, 24, TENTH))) == best
    allocation.observe(theta * 0, theta)
    allocation.observe(np.arange(50, dtype=np.float32), 100 * theta)  # others matter now: too late
    assert set(np.flatnonzero(allocation.kept(theta, 25, TENTH))) == best


def test_a_fit_keeps_its_share_replays_and_says_where(bundle: Path, tmp_path: Path) -> None:
    with personalizer(bundle, tmp_path) as me:
        hyper = replace(Hyperparameters(), keep=0.2, keep_from=4, keep_until=30, keep_every=2)
        report = me.fit(examples(), Budget(steps=40), hyperparameters=hyper)
        assert report.verdict == "improved"
        size, kept = report.adapter_size, me.history()[-1].steps
        assert kept > 30  # from there on what is left stays
        assert np.count_nonzero(me.adapter.vector) == round(0.2 * size)
        assert f"{round(0.2 * size)} of {size} numbers are left" in report.notes[0]
        np.testing.assert_array_equal(me.replay([kept])[0].vector, me.adapter.vector)


@pytest.mark.parametrize(
    "wrong", [{"keep": 0.0}, {"keep": 1.5}, {"keep_from": 140}, {"keep_every": 0}]
)
def test_budgets_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="expected"):
        Hyperparameters(**wrong)  # type: ignore[arg-type]


def test_a_budget_below_one_number_is_refused_before_anything_is_cached(bundle: Path) -> None:
    with personalizer(bundle, None) as me:
        with pytest.raises(UsageError, match=r"keep is 1e-09 of an adapter of \d+ numbers"):
            me.fit(examples(), hyperparameters=Hyperparameters(keep=1e-9))
        with pytest.raises(UsageError, match="until step 140 of at most 50: allow more steps"):
            me.fit(examples(), Budget(steps=50), hyperparameters=Hyperparameters(keep=0.5))
        assert me.fits() == []
