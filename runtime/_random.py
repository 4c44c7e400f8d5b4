"""Counter-based randomness: the same numbers on every device, in any order.

Philox4x64-10 (Salmon et al., SC'11) in numpy's convention: key = (seed, 0), counter =
(0, step, query, purpose), incremented before each block of four words. Bit i of the words, lowest
first, is sign i: 0 is +1, 1 is −1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dsa_edge.runtime._quantile import normal_quantile

__all__ = [
    "AXES",
    "MASK",
    "ORDER",
    "PERTURB",
    "ROUND_BACK",
    "ROUND_PROBE",
    "ROUND_STATE",
    "ROUTE",
    "SUBSPACE",
    "gaussians",
    "order",
    "ranks",
    "signs",
    "uniforms",
    "words",
]

# Purposes keep the streams apart.
PERTURB = 0
ORDER = 1
ROUND_PROBE, ROUND_BACK, ROUND_STATE = 2, 3, 4  # of what is probed, gone back by, and kept
SUBSPACE = 5
MASK = 6
AXES = 7
ROUTE = 8


def words(seed: int, step: int, query: int, purpose: int, count: int) -> NDArray[np.uint64]:
    """`count` 64-bit words of one stream."""
    key = np.array([seed, 0], dtype=np.uint64)
    counter = np.array([0, step, query, purpose], dtype=np.uint64)
    raw = np.random.Philox(key=key, counter=counter).random_raw(count)
    return np.asarray(raw, dtype=np.uint64)


def signs(seed: int, step: int, query: int, size: int) -> NDArray[np.float32]:
    """The direction z of one query: (size,) of ±1."""
    raw = words(seed, step, query, PERTURB, -(-size // 64))
    bits = np.unpackbits(raw.astype("<u8").view(np.uint8), count=size, bitorder="little")
    return (1 - 2 * bits.astype(np.float32)).astype(np.float32)


def uniforms(seed: int, step: int, query: int, purpose: int, size: int) -> NDArray[np.float64]:
    """Numbers (size,) in (0, 1): (h + ½) / 2³² of the half words h, the lower half first."""
    halves = words(seed, step, query, purpose, -(-size // 2)).astype("<u8").view("<u4")[:size]
    return (halves + 0.5) / 2.0**32


def gaussians(seed: int, step: int, query: int, purpose: int, size: int) -> NDArray[np.float32]:
    """Standard normal numbers (size,): the inverse distribution function of `uniforms`.

    float64 until the last rounding, and of its operations only those that IEEE 754 defines to the
    bit; so these are the same everywhere, as signs are.
    """
    return normal_quantile(uniforms(seed, step, query, purpose, size)).astype(np.float32)


def order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """A permutation of `count` items, new in every epoch."""
    return ranks(words(seed, epoch, 0, ORDER, count))


def ranks(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Indices of random words, the smallest first, ties by index."""
    return np.argsort(keys, kind="stable").astype(np.int64)
