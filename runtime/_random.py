"""Counter-based randomness: the same numbers on every device, in any order.

Philox4x64-10 (Salmon et al., SC'11) in numpy's convention: key = (seed, 0), counter =
(0, step, query, purpose), incremented before each block of four words. Bit i of the words, lowest
first, is sign i: 0 is +1, 1 is −1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["ORDER", "PERTURB", "order", "signs", "words"]

# Purposes keep the streams apart.
PERTURB = 0
ORDER = 1


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


def order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """A permutation of `count` items: the ranks of random words, ties by index."""
    return np.argsort(words(seed, epoch, 0, ORDER, count), kind="stable").astype(np.int64)
