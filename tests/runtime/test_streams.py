"""Normal and uniform numbers, and the golden vectors of estimators and optimizers."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsa_edge.runtime._hyperparameters import ESTIMATORS, OPTIMIZERS, Hyperparameters
from dsa_edge.runtime._optimizer import State, Step, lanes, replay
from dsa_edge.runtime._quantile import normal_quantile
from dsa_edge.runtime._random import gaussians, uniforms

GOLDEN = Path(__file__).parents[1] / "golden" / "estimators.json"


def test_normal_numbers_are_normal() -> None:
    """Quantiles as the standard library has them; moments of a million within 5 deviations."""
    normal = statistics.NormalDist()
    p = np.concatenate([np.geomspace(2.0**-33, 0.49, 200), 1 - np.geomspace(2.0**-33, 0.49, 200)])
    np.testing.assert_allclose(
        normal_quantile(p), [normal.inv_cdf(float(x)) for x in p], rtol=2e-12, atol=1e-15
    )
    x = gaussians(1, 2, 3, 0, 1_000_000).astype(np.float64)
    for power, mean, deviation in ((1, 0, 1), (2, 1, 2**0.5), (3, 0, 15**0.5), (4, 3, 96**0.5)):
        assert (x**power).mean() == pytest.approx(mean, abs=5e-3 * deviation)
    assert np.abs(np.corrcoef(x[1:], x[:-1])[0, 1]) < 5e-3


def test_uniform_numbers_are_half_words_inside_the_interval() -> None:
    u = uniforms(1, 2, 3, 4, 1001)
    assert 0 < u.min() < u.max() < 1
    np.testing.assert_array_equal(u, uniforms(1, 2, 3, 4, 2000)[:1001])
    np.testing.assert_array_equal(u * 2**32 % 1, np.full(1001, 0.5))


def floats(text: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(text), dtype="<f4").astype(np.float32)


def bits(numbers: np.ndarray) -> str:
    return numbers.astype("<f4").tobytes().hex()


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    """Vectors for other languages."""
    return dict(json.loads(GOLDEN.read_text()))


def test_golden_normal_numbers(golden: dict[str, Any]) -> None:
    for case in golden["gaussians"]:
        expected = case["numbers_hex"]
        stream = int(case["seed"]), case["step"], case["query"], case["purpose"]
        assert bits(gaussians(*stream, len(expected) // 8)) == expected


def test_golden_lanes_and_replays(golden: dict[str, Any]) -> None:
    """Of every estimator and optimizer, with lost scalars and a step that lost all."""
    used = {(case["estimator"], case["optimizer"]) for case in golden["replays"]}
    assert {e for e, _ in used} == set(ESTIMATORS) - {"exact"}  # which draws nothing
    assert {o for _, o in used} == set(OPTIMIZERS)
    for case in golden["replays"]:
        given = {k: v for k, v in case.items() if k in Hyperparameters.__dataclass_fields__}
        hyper, seed, theta = Hyperparameters(**given), int(case["seed"]), floats(case["theta_hex"])
        shapes = tuple(map(tuple, case["shapes"]))
        blocks = case.get("blocks", 1)
        copies = lanes(State(theta, shapes=shapes, blocks=blocks), seed, hyper)
        assert [bits(lane) for lane in copies[: len(case["lanes_hex"])]] == case["lanes_hex"]
        rows = [floats(row) for row in case["rows_hex"]]
        journal = [Step(float(row[0]), row[1:]) for row in rows]
        at = [int(count) for count in case["theta_after_hex"]]
        found = replay(theta, seed, hyper, journal, at, shapes, blocks)
        assert [bits(t) for t in found] == list(case["theta_after_hex"].values())
