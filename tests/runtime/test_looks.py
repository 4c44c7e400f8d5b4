"""What a fit keeps, and by which examples it judges."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from dsa_edge.runtime._calibration import ABSENT, fit_bias, left_out
from dsa_edge.runtime._looks import Look, Looks
from dsa_edge.runtime._objective import Scores

NOTHING = np.empty(0, np.float32)  # gains of training examples by biases


def look(losses: Sequence[float], kept: int) -> Look:
    values = np.array([losses], dtype=np.float32)
    return Look(Scores(values, np.ones_like(values)), np.zeros(1, np.float32), kept, None)


def test_the_latest_look_that_is_no_worse_than_the_best_is_kept() -> None:
    start = look([1.0, 1.2, 0.8, 1.0], 0)
    looks = Looks(start.scores, start, NOTHING)
    for kept, losses in ((8, [0.5, 0.6, 0.4, 0.5]), (16, [0.2, 0.8, 0.5, 0.7]), (24, [2.0] * 4)):
        looks.add(look(losses, kept))
    # 8 is the best, 16 within its standard error of it, 24 clearly worse
    found = looks.verdict()
    assert found is not None
    assert found.kept == 16
    assert looks.worse == 1


def test_nothing_is_kept_that_does_not_beat_the_start_and_what_was_there() -> None:
    start, good = look([1.0, 1.2, 0.8, 1.0], 0), look([0.5, 0.6, 0.4, 0.5], 8)
    for before, learned in (([1.0] * 4, start), ([0.1] * 4, good), ([1.0] * 4, good)):
        looks = Looks(look(before, 0).scores, start, NOTHING)
        looks.add(learned)
        assert (looks.verdict() is not None) == (learned is good and before[0] == 1.0)


def test_batches_seen_before_they_taught_anything_outvote_a_few_held_out_examples() -> None:
    start = look([1.0, 1.2, 0.8, 1.0], 0)
    looks = Looks(start.scores, start, NOTHING)
    looks.add(look([1.1, 1.1, 0.9, 1.0], 8))  # a little worse, by bad luck
    assert looks.verdict() is None
    ones = np.ones(16, np.float32)
    looks.see(0.7 * ones, ones)
    assert looks.verdict() is not None
    looks.see(1.6 * ones, ones)
    assert looks.verdict() is None


def test_label_biases_are_judged_by_all_examples_and_steps_by_those_that_can_tell() -> None:
    before, start = look([0.2, 0.3], 0), look([0.4, 0.6], 0)  # two held out, of bad luck
    for gains, wanted in (([0.3] * 14, 0), ([-0.1] * 14, None)):
        looks = Looks(before.scores, start, np.array(gains, np.float32))
        looks.add(look([0.5, 0.7], 8))
        found = looks.verdict()
        assert (found and found.kept) == wanted
    looks = Looks(before.scores, start, np.full(14, -0.1, np.float32))
    looks.add(look([0.1, 0.1], 8))  # steps gain more than biases cost
    found = looks.verdict()
    assert found is not None
    assert found.kept == 8


def test_losses_without_an_example_are_those_of_a_bias_fitted_without_it() -> None:
    random = np.random.default_rng(0)
    scores = random.normal(0, 1, (14, 3)).astype(np.float32) + np.float32([1, 0, -1])
    scores[:5, 2] = ABSENT  # not offered
    answers = random.integers(0, 2, 14)
    scores[9, 1] = np.nan
    known = np.isfinite(scores).all(1)
    found = left_out(scores, answers, fit_bias(scores[known], answers[known]))
    assert np.isnan(found[9])
    for i in np.flatnonzero(known):
        rest = known & (np.arange(14) != i)
        biased = scores[i] + fit_bias(scores[rest], answers[rest]).astype(np.float64)
        loss = np.log(np.exp(biased - biased.max()).sum()) - (biased[answers[i]] - biased.max())
        assert found[i] == pytest.approx(loss, abs=0.02)  # one step of Newton's method, not many
