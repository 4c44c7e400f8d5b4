"""The data gate: a law on a learning curve, and what it may and may not say."""

from __future__ import annotations

import numpy as np
import pytest

from dsa_edge.errors import UsageError
from dsa_edge.runtime import DataGate

SIZES = (32, 64, 128, 256, 512)


def curve(floor: float, size: float, power: float, noise: float = 0.0, seed: int = 0) -> list:
    random = np.random.default_rng(seed)
    return [
        (n, floor + size * n**-power + noise * random.standard_normal())
        for n in SIZES
        for _ in range(3)
    ]


def test_an_exact_law_is_found() -> None:
    gate = DataGate(curve(0.4, 1.5, 0.5))
    for n in (32, 512, 2048):
        assert gate.loss(n) == pytest.approx(0.4 + 1.5 * n**-0.5, abs=2e-3)
    gain = gate.gain(512, 512)
    assert gain.expected == pytest.approx(1.5 * (512**-0.5 - 1024**-0.5), abs=1e-3)
    assert gain.low <= gain.expected <= gain.high


@pytest.mark.parametrize(
    ("floor", "size", "power", "verdict"),
    [(0.4, 2.0, 0.5, "collect"), (0.5, 3.0, 1.2, "enough"), (0.6, 0.0, 1.0, "enough")],
)
def test_the_verdict_follows_the_gain(
    floor: float, size: float, power: float, verdict: str
) -> None:
    gate = DataGate(curve(floor, size, power, noise=0.002))
    assert gate.verdict(512) == verdict
    words = {"collect": "collect more", "enough": "not worth collecting"}
    assert words[verdict] in gate.advice(512)


def test_noise_makes_it_unsure() -> None:
    gate = DataGate(curve(0.5, 0.5, 0.4, noise=0.05))
    assert gate.verdict(512) == "unclear"
    assert "may or may not" in gate.advice(512)
    assert gate.gain(512, 512).high - gate.gain(512, 512).low > 0.01


def test_the_interval_holds_what_it_claims() -> None:
    """80 % of the draws; over 100 curves the truth is within for 65 to 95."""
    true = 512**-0.4 - 1024**-0.4
    gains = [DataGate(curve(0.5, 1.0, 0.4, 0.01, seed)).gain(512, 512) for seed in range(100)]
    assert 65 <= sum(gain.low <= true <= gain.high for gain in gains) <= 95


def test_losses_that_rise_promise_nothing() -> None:
    gate = DataGate([(32, 0.5), (64, 0.52), (128, 0.53), (256, 0.55)])
    assert gate.gain(256, 256).expected == 0
    assert gate.verdict(256) in ("enough", "unclear")


def test_below_two_hundred_examples_nothing_is_said() -> None:
    gate = DataGate(curve(0.4, 2.0, 0.5))
    assert gate.verdict(199) == "too early"
    assert "200 examples and 3 sizes" in gate.advice(100)
    assert DataGate([(256, 0.5), (512, 0.4)]).verdict(512) == "too early"


@pytest.mark.parametrize(
    "points", [[], [(0, 0.5)], [(-3, 0.5)], [(32, float("nan"))], [(32, float("inf"))]]
)
def test_what_is_no_curve_is_refused(points: list[tuple[int, float]]) -> None:
    with pytest.raises(UsageError, match="tune --curve"):
        DataGate(points)
    with pytest.raises(UsageError):
        DataGate(curve(0.4, 1.0, 0.5), worth=0.0)
