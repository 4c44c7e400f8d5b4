"""The fast sum of directions: the bits of the plain one."""

from __future__ import annotations

import numpy as np
import pytest

from dsa_edge.runtime._random import signs
from dsa_edge.runtime._signed_sum import signed_sum


def plain(slopes: np.ndarray, seed: int, step: int, size: int) -> np.ndarray:
    total = np.zeros(size, np.float32)
    for query, slope in enumerate(slopes):
        total += slope * signs(seed, step, query, size)
    return total


@pytest.mark.parametrize("size", [1, 7, 8, 63, 64, 65, 100, 255, 256, 257, 1000, 27_001])
@pytest.mark.parametrize("queries", [1, 3, 16, 33])
def test_the_bits_are_those_of_the_plain_sum(size: int, queries: int) -> None:
    # scalars of very different size, so that another order of additions rounds differently
    random = np.random.default_rng(size + queries)
    slopes = (random.standard_normal(queries) * 10.0 ** random.integers(-6, 6, queries)).astype(
        "f4"
    )
    for seed, step in ((0, 0), (7, 123_456), (2**63 - 1, 2**40)):
        got, expected = signed_sum(slopes, seed, step, size), plain(slopes, seed, step, size)
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got.view(np.uint32), expected.view(np.uint32))


def test_zeros_subnormals_and_the_largest_numbers_keep_their_bits() -> None:
    slopes = np.array([0.0, -0.0, 1e-45, -1e-40, 1.5e38, -1.5e38, 0.0], dtype=np.float32)
    got, expected = signed_sum(slopes, 1, 2, 1000), plain(slopes, 1, 2, 1000)
    np.testing.assert_array_equal(got.view(np.uint32), expected.view(np.uint32))
    zeros = signed_sum(np.zeros(3, np.float32), 1, 2, 100)
    assert not zeros.view(np.uint32).any()  # no −0


def test_a_zero_leaves_a_pair_out() -> None:
    slopes = np.array([1.5, np.nan, -0.25, np.inf], dtype=np.float32)
    known = np.isfinite(slopes)
    got = signed_sum(np.where(known, slopes, np.float32(0)), 3, 4, 200)
    expected = np.zeros(200, np.float32)
    for query in np.flatnonzero(known):
        expected += slopes[query] * signs(3, 4, int(query), 200)
    np.testing.assert_array_equal(got.view(np.uint32), expected.view(np.uint32))


def test_no_queries_sum_to_zero() -> None:
    assert signed_sum(np.zeros(0, np.float32), 1, 2, 5).tolist() == [0, 0, 0, 0, 0]
