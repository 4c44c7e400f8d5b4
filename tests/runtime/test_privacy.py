"""Differential privacy: sensitivity, noise, accounting, and what a fit under it says."""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import pytest
from stub import StubEngine

from dsa_edge.errors import PrivacyError, UsageError
from dsa_edge.runtime import Budget, Example, Personalizer, Privacy, Spent
from dsa_edge.runtime._accounting import noise_for, spent
from dsa_edge.runtime._privacy import Mechanism, noisy_sums
from dsa_edge.runtime._store import Store

pytest.importorskip("dp_accounting", reason="the package dp-accounting is not installed")

WORDS = [
    *("red", "green", "blue", "warm", "cold", "quick", "slow", "old"),
    *("new", "wide", "thin", "deep", "flat", "loud", "calm", "bright"),
]


class NoNoise(random.Random):
    """What is released without noise."""

    def gauss(self, mu: float = 0.0, sigma: float = 1.0) -> float:
        return 0.0


def examples(count: int = 160) -> list[Example]:
    """The label is a function of the last word."""
    choices = (" a", " b")
    return [Example(f"{i} doors {WORDS[i % 16]}", choices[i % 2], choices) for i in range(count)]


def user(bundle: Path, folder: Path | None = None) -> Personalizer:
    engine = StubEngine(bundle)
    return Personalizer(engine, Store(folder, engine.bundle.identity))


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e6])
def test_one_example_moves_a_release_by_no_more_than_its_sensitivity(size: float) -> None:
    """Clipping bounds it whatever the example says, so noise of that size can hide it."""
    rng = np.random.default_rng(0)
    rows = size * rng.standard_normal((9, 16))
    for one in range(9):
        released = []
        for kept in (rows, np.delete(rows, one, axis=0)):
            mechanism = Mechanism(1.0, 8, bound=2.0, source=NoNoise())
            released.append(np.append(mechanism.slopes(kept, True), math.log(mechanism.bound)))
        moved = np.abs(released[0] - released[1])
        assert np.linalg.norm(moved[:-1]) <= 2.0 / 8 * (1 + 1e-6)
        assert moved[-1] <= 0.5 * 0.5 / 8 + 1e-9  # half a count, at the bound's own rate


def test_noise_is_as_large_as_the_multiplier_says() -> None:
    source = random.Random(0)
    draws = [
        Mechanism(0.7, 8, bound=3.0, source=source).slopes(np.zeros((0, 4)), False)
        for _ in range(4000)
    ]
    # 16,000 draws: their spread is known to 0.6 %; 3 % more for the count of clipped examples
    assert np.std(draws) == pytest.approx(0.7 * 3 / 8 * math.hypot(1, 0.25), rel=0.03)
    centres = [Mechanism(0.7, 8, source=source).centre(np.zeros((0, 2))) for _ in range(4000)]
    assert np.std(centres) == pytest.approx(0.7 / math.sqrt(0.2) / 8, rel=0.03)


def test_a_step_of_two_releases_costs_what_its_noise_says() -> None:
    """1/σ² of the centre and of the slopes add up to 1/σ² of the step (Gaussian composition)."""
    source = random.Random(1)
    centre = np.std([Mechanism(1, 1, source=source).centre(np.zeros((0, 1))) for _ in range(9000)])
    slopes = np.std(
        [Mechanism(1, 1, source=source).slopes(np.zeros((0, 1)), True) for _ in range(9000)]
    )
    slopes /= math.hypot(1, 0.25)  # the norm that a row with its count may have
    assert 1 / centre**2 + 1 / slopes**2 == pytest.approx(1, rel=0.05)


def test_examples_of_a_step_are_drawn_each_on_its_own() -> None:
    mechanism = Mechanism(1, 10, source=random.Random(0))
    counts = [len(mechanism.sample(50)) for _ in range(2000)]
    assert np.mean(counts) == pytest.approx(10, rel=0.03)
    assert np.var(counts) == pytest.approx(50 * 0.2 * 0.8, rel=0.1)  # binomial, no fixed size


def test_the_bound_follows_the_median_norm() -> None:
    rng = np.random.default_rng(0)
    mechanism = Mechanism(0.5, 64, bound=1.0, source=random.Random(0))
    for _ in range(60):
        mechanism.slopes(40 * rng.standard_normal((64, 16)), True)
    assert mechanism.bound == pytest.approx(40 * 4, rel=0.25)  # √16 is the norm of such a row


def test_sums_of_the_verdict_are_clipped_and_noised() -> None:
    values = np.array([[5.0, 0.2], [-0.5, 0.1]])
    bounds = np.array([1.0, 2.0])
    draws = [noisy_sums(values, bounds, 4.0, random.Random(i)) for i in range(4000)]
    np.testing.assert_allclose(np.mean(draws, 0), [0.5, 0.3], atol=0.06)
    # Laplace noise of scale bound · columns / ε has √2 times it as its spread.
    np.testing.assert_allclose(np.std(draws, 0), np.sqrt(2) * bounds * 2 / 4, rtol=0.06)


@pytest.mark.parametrize("epsilon", [0.5, 2.0, 8.0])
def test_noise_is_the_least_that_keeps_epsilon(epsilon: float) -> None:
    noise = noise_for(Privacy(epsilon), 0.05, 100, [])
    used = spent([Spent(noise, 0.05, 100, 0, 0, 1e-5)], 1e-5)
    assert 0.98 * epsilon <= used <= epsilon


def test_accounting_agrees_with_the_gaussian_mechanism() -> None:
    """Without sampling it has a closed form (Balle and Wang 2018, theorem 8)."""

    def delta(epsilon: float, sigma: float) -> float:
        def cdf(x: float) -> float:
            return 0.5 * (1 + math.erf(x / math.sqrt(2)))

        a, b = 1 / (2 * sigma), epsilon * sigma
        return cdf(a - b) - math.exp(epsilon) * cdf(-a - b)

    used = spent([Spent(3.0, 1.0, 9, 0, 0, 1e-5)], 1e-5)  # nine of noise 3 are one of noise 1
    assert delta(used, 1.0) <= 1e-5
    assert delta(0.98 * used, 1.0) > 1e-5


def test_more_fits_take_more_and_the_last_drop_is_refused() -> None:
    privacy = Privacy(2.0)
    first = Spent(noise_for(privacy, 0.05, 50, []), 0.05, 50, 1.0, 2.0, 1e-5)
    wider = noise_for(Privacy(3.0), 0.05, 50, [first])
    assert spent([first, Spent(wider, 0.05, 50, 1.0, 3.0, 1e-5)], 1e-5) <= 3.0
    with pytest.raises(PrivacyError, match=r"already spent"):
        noise_for(Privacy(1.5), 0.05, 50, [first])


def test_a_private_fit_learns_and_tells_what_it_spent(bundle: Path) -> None:
    with user(bundle) as me:
        report = me.fit(examples(), Budget(steps=60), privacy=Privacy(50.0, 1e-4))
        assert report.privacy is not None
        assert report.privacy.epsilon <= 50
        assert me.fits()[-1].privacy == report.privacy
        before, after = me.evaluate(examples(), (0, me.version))
        assert after.loss < 0.95 * before.loss
        assert all(math.isnan(event.loss) for event in report.curve)  # losses are not noised
        assert all(event.held_out_loss is None for event in report.curve)


def test_the_journal_rebuilds_a_private_adapter_but_its_seed_does_not(bundle: Path) -> None:
    vectors = []
    for _ in range(2):
        with user(bundle) as me:
            me.fit(examples(), Budget(steps=8), privacy=Privacy(50.0, 1e-4), seed=5)
            vectors.append(me.replay([8])[0].vector)
            if me.version:
                np.testing.assert_array_equal(me.adapter.vector, vectors[-1])
    assert np.abs(vectors[0] - vectors[1]).max() > 0  # noise is never the journal's


def test_a_second_fit_gets_what_the_first_left(bundle: Path) -> None:
    with user(bundle) as me:
        me.fit(examples(), Budget(steps=5), privacy=Privacy(4.0, 1e-4))
        with pytest.raises(PrivacyError, match="earlier fits"):
            me.fit(examples(), Budget(steps=5), privacy=Privacy(4.0, 1e-4))
        report = me.fit(examples(), Budget(steps=5), privacy=Privacy(9.0, 1e-4))
        assert report.privacy is not None
        assert 4 < report.privacy.epsilon <= 9


def test_a_fit_that_was_interrupted_counts_in_full(bundle: Path, tmp_path: Path) -> None:
    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with user(bundle, tmp_path) as me, pytest.raises(KeyboardInterrupt):
        me.fit(examples(), Budget(steps=20), stop, privacy=Privacy(4.0, 1e-4))
    with user(bundle, tmp_path) as me:
        (run,) = me.fits()
        assert run.verdict is None
        assert run.privacy is not None
        assert run.privacy.steps == 20
        assert run.privacy.epsilon == pytest.approx(4, rel=0.03)


def test_examples_learned_from_openly_before_are_refused(bundle: Path) -> None:
    with user(bundle) as me:
        me.fit(examples()[:20], Budget(steps=2))
        with pytest.raises(PrivacyError, match=r"20 of these examples.*without privacy"):
            me.fit(examples(), Budget(steps=2), privacy=Privacy(4.0, 1e-4))


def test_too_few_examples_and_too_large_a_delta_are_refused(bundle: Path) -> None:
    with user(bundle) as me:
        with pytest.raises(PrivacyError, match=r"delta is 0.01 for 160"):
            me.fit(examples(), privacy=Privacy(4.0, 0.01))
        with pytest.raises(PrivacyError, match="too few"):
            me.fit(examples(3), privacy=Privacy(4.0))  # chance could hold 4 of 8 out


@pytest.mark.parametrize(
    "wrong",
    [{"epsilon": 0}, {"epsilon": float("nan")}, {"epsilon": 1, "delta": 0},
     {"epsilon": 1, "delta": 1.5}, {"epsilon": 1, "batch": 0}],
)  # fmt: skip
def test_what_is_no_guarantee_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Privacy(**wrong)  # type: ignore[arg-type]


def test_losses_that_are_no_numbers_do_not_show(bundle: Path) -> None:
    """A NaN would pass through any noise, and tell that its example was there."""
    engine = StubEngine(bundle, broken=True)
    with Personalizer(engine, Store(None, engine.bundle.identity)) as me:
        report = me.fit(examples(), Budget(steps=3), privacy=Privacy(8.0, 1e-4))
        assert all(np.isfinite(step.slopes).all() for step in me._store.journal(me.fits()[-1]))
        assert report.verdict in ("improved", "no improvement")
