"""The sum of all directions of a step, each times its scalar, without making the directions.

A scalar times a sign is the scalar with its sign bit flipped or not, so each bit of the generator
is moved into a float's sign bit. The sums are those of `sum += scalar * signs(…)`, to the bit: the
same additions in the same order.
"""

from __future__ import annotations

import numpy as np

from dsa_edge.runtime._engine import Floats, Ints
from dsa_edge.runtime._random import PERTURB

__all__ = ["signed_sum"]

NEXT_QUERY = 2**128  # what a step of the query is worth in the generator's 256-bit counter


def signed_sum(
    slopes: Floats, seed: int, step: int, size: int, block: Ints | None = None
) -> Floats:  # fmt: skip
    """Σ_j slopes[j] · z_j (size,) in float32, query by query, z_j as `signs(seed, step, j, size)`.

    slopes: (q,) finite; or (q, N), and number i has the slope of its block, `block` (size,).
    A pair that is to be left out has 0, which changes no bit of the sum.
    """
    key = np.array([seed, 0], dtype=np.uint64)
    counter = np.array([0, step, 0, PERTURB], dtype=np.uint64)
    generator = np.random.Philox(key=key, counter=counter)
    count = -(-size // 64)
    total, term = np.zeros(size, np.float32), np.empty(size, np.uint32)
    for slope in np.asarray(slopes, dtype=np.float32).view(np.uint32):
        raw = np.asarray(generator.random_raw(count), dtype="<u8").view(np.uint8)
        bits = np.unpackbits(raw, count=size, bitorder="little")
        np.left_shift(bits, np.uint32(31), out=term, dtype=np.uint32)
        term ^= slope if block is None else slope[block]
        total += term.view(np.float32)
        generator.advance(NEXT_QUERY - -(-count // 4))  # four words for each count
    return total
