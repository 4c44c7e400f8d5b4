"""Randomness, steps and calibration: exact, reproducible, and right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsa_edge.runtime._calibration import (
    ABSENT,
    Calibration,
    centred_slopes,
    fit_bias,
    residuals,
    softmax,
)
from dsa_edge.runtime._optimizer import Hyperparameters, State, Step, lanes, replay, update
from dsa_edge.runtime._random import order, signs, words

GOLDEN = Path(__file__).parents[1] / "golden"
MASK = 2**64 - 1


def philox(key: list[int], counter: list[int]) -> list[int]:
    """Philox4x64-10, written from the paper (Salmon et al., SC'11) to check numpy's use of it."""
    c, k = list(counter), list(key)
    for _ in range(10):
        high0, low0 = divmod(0xD2E7470EE14C6C93 * c[0], 2**64)
        high1, low1 = divmod(0xCA5A826395121157 * c[2], 2**64)
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0]
        k = [(k[0] + 0x9E3779B97F4A7C15) & MASK, (k[1] + 0xBB67AE8584CAA73B) & MASK]
    return c


def test_words_are_philox_blocks_with_the_counter_incremented_first() -> None:
    expected = [*philox([7, 0], [1, 11, 3, 2]), *philox([7, 0], [2, 11, 3, 2])]
    assert words(seed=7, step=11, query=3, purpose=2, count=8).tolist() == expected


def floats(text: str) -> np.ndarray:
    """Float32 numbers from the hex of their little-endian bytes."""
    return np.frombuffer(bytes.fromhex(text), dtype="<f4").astype(np.float32)


def bits(numbers: np.ndarray) -> str:
    return numbers.astype("<f4").tobytes().hex()


def strict(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    """Vectors for other languages; JSON that every parser reads."""
    text = (GOLDEN / "steps.json").read_text()
    return dict(json.loads(text, parse_constant=strict))


def test_every_golden_vector_has_a_test_and_a_word_in_the_readme(golden: dict[str, Any]) -> None:
    assert set(golden) == {"about", "words", "signs", "order", "lanes", "adam", "replay"}
    readme = (GOLDEN / "README.md").read_text()
    assert [name for name in golden if name != "about" and f"`{name}`" not in readme] == []


def test_golden_words_signs_and_orders(golden: dict[str, Any]) -> None:
    for case in golden["words"]:
        expected = [int(word, 16) for word in case["words"]]
        stream = (int(case["seed"]), case["step"], case["query"], case["purpose"])
        assert words(*stream, len(expected)).tolist() == expected
        blocks = range(1, 1 + -(-len(expected) // 4))
        own = [word for b in blocks for word in philox([stream[0], 0], [b, *stream[1:]])]
        assert own[: len(expected)] == expected
    for case in golden["signs"]:
        z = signs(int(case["seed"]), case["step"], case["query"], case["size"])
        assert "".join("+" if v > 0 else "-" for v in z) == case["signs"]
    for case in golden["order"]:
        assert order(int(case["seed"]), case["epoch"], case["count"]).tolist() == case["order"]


def test_golden_lanes(golden: dict[str, Any]) -> None:
    case = golden["lanes"]
    state = State(floats(case["theta_hex"]), step=case["step"])
    hyper = Hyperparameters(queries=case["queries"], epsilon=case["epsilon"])
    assert [bits(lane) for lane in lanes(state, int(case["seed"]), hyper)] == case["lanes_hex"]


def test_golden_adam_steps(golden: dict[str, Any]) -> None:
    case = golden["adam"]
    state = State(np.array(case["theta"], dtype=np.float32))
    hyper = Hyperparameters(case["queries"], beta1=case["beta1"], beta2=case["beta2"])
    for rate, *slopes in case["steps"]:
        known = [np.nan if slope is None else slope for slope in slopes]
        update(state, int(case["seed"]), hyper, Step(rate, np.array(known, dtype=np.float32)))
    assert bits(state.theta) == case["theta_after_hex"]


def test_golden_replay_of_journal_rows(golden: dict[str, Any]) -> None:
    """Lost pairs, a step that lost them all, and rates that change."""
    case = golden["replay"]
    hyper = Hyperparameters(case["queries"], beta1=case["beta1"], beta2=case["beta2"])
    rows = [floats(row) for row in case["rows_hex"]]
    assert {len(row) for row in rows} == {1 + hyper.queries}
    lost = np.isnan(rows)[:, 1:].sum(1)
    assert {0, 1, hyper.queries} <= set(lost.tolist())
    assert len({float(row[0]) for row in rows}) > 3
    journal = [Step(float(row[0]), row[1:]) for row in rows]
    at = [int(count) for count in case["theta_after_hex"]]
    found = replay(floats(case["theta_hex"]), int(case["seed"]), hyper, journal, at)
    assert [bits(theta) for theta in found] == list(case["theta_after_hex"].values())


def test_signs_are_fair_and_directions_differ() -> None:
    z = np.stack([signs(1, step, query, 4096) for step in range(4) for query in range(4)])
    assert set(np.unique(z)) == {-1.0, 1.0}
    overlap = z @ z.T / 4096 - np.eye(16)
    # correlations of independent signs have deviation 1/64; 120 pairs stay within 5 of them
    assert np.abs(overlap).max() < 5 / 64


def test_lanes_are_pairs_around_theta() -> None:
    state = State(np.arange(5, dtype=np.float32))
    copies = lanes(state, 3, Hyperparameters(queries=2, epsilon=0.5))
    np.testing.assert_array_equal((copies[0::2] + copies[1::2]) / 2, [state.theta] * 2)
    np.testing.assert_array_equal(copies[0] - state.theta, 0.5 * signs(3, 0, 0, 5))


def test_scalars_are_directional_derivatives_and_nan_drops_a_pair() -> None:
    hyper = Hyperparameters(queries=2, epsilon=0.1)
    losses = np.array([[1.0, 2.0], [0.0, 1.0], [np.nan, 1.0], [1.0, 1.0]], dtype=np.float32)
    state, same = State(np.zeros(6, np.float32)), State(np.zeros(6, np.float32))
    first, second = state.estimator(0, hyper).from_losses(losses)
    assert first == pytest.approx(5.0)
    assert np.isnan(second)
    update(state, 0, hyper, Step(0.1, np.array([first, second])))
    update(same, 0, Hyperparameters(queries=1), Step(0.1, np.array([first])))
    np.testing.assert_array_equal(state.theta, same.theta)


def test_a_step_without_a_usable_pair_moves_nothing_but_counts() -> None:
    state = State(np.ones(4, np.float32))
    update(state, 0, Hyperparameters(queries=1), Step(0.1, np.array([np.nan], np.float32)))
    assert state.theta.tolist() == [1, 1, 1, 1]
    assert state.step == 1


def test_adam_follows_its_paper() -> None:
    """Two steps against the textbook recursion in float64 (1412.6980, algorithm 1)."""
    hyper, seed = Hyperparameters(queries=1), 4
    state = State(np.zeros(32, np.float32))
    theta, m, v = np.zeros(32), np.zeros(32), np.zeros(32)
    for t, slope in enumerate((0.7, -0.2)):
        g = slope * signs(seed, t, 0, 32).astype(np.float64)
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
        theta -= 0.05 * (m / (1 - 0.9 ** (t + 1))) / (np.sqrt(v / (1 - 0.99 ** (t + 1))) + 1e-8)
        update(state, seed, hyper, Step(0.05, np.array([slope], np.float32)))
    np.testing.assert_allclose(state.theta, theta, rtol=2e-5)  # float32 against float64


def test_the_fitted_bias_makes_mean_predictions_match_the_labels() -> None:
    random = np.random.default_rng(0)
    scores = (random.standard_normal((400, 3)) + np.array([4, 0, -2])).astype(np.float32)
    answers = random.integers(0, 3, 400)
    bias = fit_bias(scores, answers)
    shares = softmax(scores + bias).mean(0)
    # the ridge of one example keeps them apart by at most its weight over the examples
    np.testing.assert_allclose(shares, np.bincount(answers) / 400, atol=0.02)
    assert bias.sum() == pytest.approx(0, abs=1e-5)


def test_one_label_and_no_examples_give_a_finite_bias() -> None:
    bias = fit_bias(np.zeros((3, 2), np.float32), np.zeros(3, np.int64))
    assert np.isfinite(bias).all()
    assert bias[0] > 0
    assert fit_bias(np.zeros((0, 2), np.float32), np.zeros(0, np.int64)).tolist() == [0, 0]


def test_calibration_leaves_out_scores_that_are_not_finite() -> None:
    calibration = Calibration(2)
    calibration.observe(np.array([[np.nan, 0.0], [0.0, 1.0]]), np.array([0, 0]))
    assert np.isfinite(calibration.bias).all()


def test_centred_slopes_ignore_what_moves_all_examples_alike() -> None:
    """A direction that only shifts the label bias has slope 0, one that separates labels not."""
    random = np.random.default_rng(1)
    base, answers = random.standard_normal((16, 2)), np.arange(16) % 2
    shift = np.broadcast_to([1.0, -1.0], (16, 2))
    apart = np.where(np.arange(2) == answers[:, None], 1.0, -1.0)
    scores = np.stack([base + 0.1 * d * s for d in (shift, apart) for s in (1, -1)])
    common, useful = centred_slopes(scores.astype(np.float32), answers, epsilon=0.1)
    assert common == pytest.approx(0, abs=1e-5)
    assert useful < -0.1  # the loss falls along it


def test_smoothing_pulls_back_what_is_already_certain() -> None:
    """Right answers at 99.9 %: without smoothing more certainty lowers the loss, with it less."""
    answers = np.arange(16) % 2
    apart = np.where(np.arange(2) == answers[:, None], 1.0, -1.0)
    scores = np.stack([(3.5 + 0.1 * sign) * apart for sign in (1, -1)]).astype(np.float32)
    (plain,) = centred_slopes(scores, answers, epsilon=0.1)
    (smoothed,) = centred_slopes(scores, answers, epsilon=0.1, smoothing=0.2)
    certain = 1 / (1 + np.exp(-7.0))
    assert plain == pytest.approx(-2 * (1 - certain), rel=0.05)  # the curvature within ± 0.1
    assert smoothed == pytest.approx(2 * (certain - 0.9), rel=0.05)  # targets 0.9 and 0.1


def test_centred_slopes_mark_broken_lanes() -> None:
    scores = np.zeros((4, 3, 2), np.float32)
    scores[2, 1, 0] = np.nan
    slopes = centred_slopes(scores, np.array([0, 1, 0]), 0.1)
    assert np.isnan(slopes).tolist() == [False, True]
    scores[:] = np.nan
    assert np.isnan(centred_slopes(scores, np.array([0, 1, 0]), 0.1)).all()


def test_centred_slopes_ignore_what_moves_one_set_of_choices_or_one_block_alike() -> None:
    """Two tasks with choices of their own and two blocks: shifts of any of them have slope 0."""
    random = np.random.default_rng(2)
    task, block = np.arange(24) % 2, np.arange(24) // 2 % 2
    answers = 2 * task + np.arange(24) // 4 % 2
    offered = np.arange(4) // 2 == task[:, None]
    base = np.where(offered, random.standard_normal((24, 4)), ABSENT)
    shift = np.where(offered, [1.0, -1.0, 1.0, -1.0], 0.0)
    apart = np.where(offered, np.where(np.arange(4) == answers[:, None], 1.0, -1.0), 0.0)
    moves = shift * (task == 1)[:, None], shift * (block == 1)[:, None], apart
    scores = np.stack([base + 0.1 * d * s for d in moves for s in (1, -1)]).astype(np.float32)
    served = np.eye(2, dtype=bool)[block]
    of_task, of_block, useful = centred_slopes(scores, answers, 0.1, 0.2, served=served)
    assert of_task == pytest.approx(0, abs=1e-4)  # float32 scores over steps of 0.1
    assert of_block == pytest.approx(0, abs=1e-4)
    assert useful < -0.1
    (_, whole, _) = centred_slopes(scores, answers, 0.1, 0.2)
    assert abs(whole) > 1e-3  # what a block shifts is told from learning by its own examples alone


def test_a_lone_example_of_a_block_is_centred_with_its_choices() -> None:
    """Its own mean is itself: it would teach nothing."""
    scores = np.random.default_rng(3).standard_normal((2, 4, 2))
    served = np.eye(2, dtype=bool)[[0, 0, 0, 1]]
    found = residuals(scores, np.array([0, 1, 0, 1]), 0.0, served)
    np.testing.assert_allclose(found[:3].sum(0), 0, atol=1e-12)
    plain = residuals(scores, np.array([0, 1, 0, 1]), 0.0)
    np.testing.assert_array_equal(found[3], plain[3])
    assert np.abs(found[3]).min() > 0.01


def test_biases_of_two_sets_of_choices_are_those_of_each_alone() -> None:
    random = np.random.default_rng(4)
    own = random.normal([1, -1], size=(40, 2)), random.standard_normal((60, 3))
    answers = random.integers(0, 2, 40), random.integers(0, 3, 60)
    both = np.full((100, 5), ABSENT)
    both[:40, :2], both[40:, 2:] = own
    found = fit_bias(both.astype(np.float32), np.concatenate([answers[0], answers[1] + 2]))
    for part, scores, right in zip((found[:2], found[2:]), own, answers, strict=True):
        np.testing.assert_allclose(part, fit_bias(scores.astype(np.float32), right), atol=1e-5)
