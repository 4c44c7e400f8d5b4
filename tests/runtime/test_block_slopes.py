"""Slopes of each block alone: unbiased, less noisy, and replayed from their journal."""

from __future__ import annotations

import numpy as np
import pytest

from dsa_edge.runtime._engine import Floats, Ints
from dsa_edge.runtime._hyperparameters import Hyperparameters
from dsa_edge.runtime._random import signs
from dsa_edge.runtime._signed_sum import signed_sum
from dsa_edge.runtime.estimators import Space, make_estimator
from dsa_edge.runtime.estimators._base import Pairs

BLOCKS, BATCH, QUERIES = 4, 16, 6
SHAPES = ((5, 5),) * BLOCKS + ((7,),) * BLOCKS
SPACE = Space(np.zeros(BLOCKS * 32, np.float32), SHAPES, BLOCKS)
BY_BLOCK = ("antithetic", "lowrank", "mezo", "quzo", "sparse")


def served_by(active: int) -> np.ndarray:
    """(B, N): example i is served by block i mod N and the ones after it."""
    first = np.arange(BATCH)[:, None] - np.arange(BLOCKS)
    return first % BLOCKS >= BLOCKS - active


def gradients(served: np.ndarray) -> Floats:
    """Each example's own gradient (B, n) of a loss that is linear in its blocks' numbers."""
    random = np.random.default_rng(3)
    full = random.standard_normal((BATCH, SPACE.size))
    return np.asarray(full * served[:, SPACE.block], dtype=np.float64)


def estimated(name: str, slopes: str, own: Floats, served: np.ndarray, steps: int) -> Floats:
    """Gradients (steps, n) that an estimator makes of the losses of its lanes."""
    hyper = Hyperparameters(queries=QUERIES, estimator=name, slopes=slopes, share=1.0, refresh=1)
    made = make_estimator(hyper, 1, SPACE)
    assert isinstance(made, Pairs)
    found = []
    for step in range(steps):
        lanes = np.concatenate(list(made.blocks(SPACE.start, step))).astype(np.float64)
        scalars = made.from_losses((lanes @ own.T).astype(np.float32), served)
        assert len(scalars) == made.width
        found.append(made.direction(scalars, step))
    return np.array(found, dtype=np.float64)


@pytest.mark.parametrize("name", BY_BLOCK)
@pytest.mark.parametrize("active", [1, 2])
def test_the_estimate_is_as_right_and_less_noisy(name: str, active: int) -> None:
    """Noise falls to k/N of what it was; of matrices of rank 1 much of it is a block's own."""
    served = served_by(active)
    own, steps = gradients(served), 400
    true = own.mean(0)
    noise = {}
    for slopes in ("batch", "blocks"):
        errors = estimated(name, slopes, own, served, steps) - true
        noise[slopes] = (errors**2).sum(1).mean()
        # the mean of so many steps is as far off as its own noise, within four deviations
        assert (errors.mean(0) ** 2).sum() < 2 * noise[slopes] / steps
    allowed = 2.0 if name == "lowrank" else 1.35
    assert noise["blocks"] < allowed * active / BLOCKS * noise["batch"]


def test_scores_of_choices_are_told_apart_as_losses_are() -> None:
    """A block that serves nothing has slopes 0; of all blocks together they are the batch's."""
    random, served = np.random.default_rng(5), served_by(1)
    served[served[:, 3], 2] = True  # block 3's examples go to block 2
    served[:, 3] = False
    scores = random.standard_normal((2 * QUERIES, BATCH, 3)).astype(np.float32)
    answers: Ints = random.integers(0, 3, BATCH)
    scalars = {
        slopes: make_estimator(Hyperparameters(queries=QUERIES, slopes=slopes), 1, SPACE)
        .from_scores(scores, answers, served)  # type: ignore[union-attr]
        for slopes in ("batch", "blocks")
    }  # fmt: skip
    table = scalars["blocks"].reshape(QUERIES, BLOCKS)
    assert not table[:, 3].any()
    assert table[:, :3].all()
    np.testing.assert_allclose(table.sum(1), scalars["batch"], atol=1e-6)


def test_a_pair_with_a_lost_example_is_lost_for_all_blocks() -> None:
    made = make_estimator(Hyperparameters(queries=3), 1, SPACE)
    assert isinstance(made, Pairs)
    losses = np.random.default_rng(0).random((6, BATCH)).astype(np.float32)
    losses[2, 7] = np.inf
    table = made.from_losses(losses, served_by(1)).reshape(3, BLOCKS)
    assert np.isnan(table[1]).all()
    assert np.isfinite(table[[0, 2]]).all()
    assert made.direction(table.ravel(), 0) is not None
    assert made.direction(np.full(12, np.nan, np.float32), 0) is None


def test_without_a_route_nothing_is_guessed() -> None:
    made = make_estimator(Hyperparameters(queries=3), 1, SPACE)
    assert isinstance(made, Pairs)
    with pytest.raises(ValueError, match="slopes of 4 blocks without a route"):
        made.from_losses(np.zeros((6, BATCH), np.float32))


def test_the_fast_sum_has_the_bits_of_the_plain_one() -> None:
    random = np.random.default_rng(9)
    sizes = random.normal(size=(QUERIES, BLOCKS)) * 10.0 ** random.integers(-6, 6, (QUERIES, 1))
    slopes = sizes.astype(np.float32)
    got = signed_sum(slopes, 7, 3, SPACE.size, SPACE.block)
    plain = np.zeros(SPACE.size, np.float32)
    for query, own in enumerate(slopes):
        plain += own[SPACE.block] * signs(7, 3, query, SPACE.size)
    np.testing.assert_array_equal(got.view(np.uint32), plain.view(np.uint32))


def test_where_scalars_cannot_be_told_apart_there_is_one_for_all() -> None:
    for name in ("axes", "one-sided"):
        made = make_estimator(Hyperparameters(queries=QUERIES, estimator=name), 1, SPACE)
        assert made.width == QUERIES
