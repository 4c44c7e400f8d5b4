"""`lowrank`: directions that are low-rank matrices (LOZO, 2410.07698).

    Z = U Vᵀ for each slot (rows, cols)    U (rows, r), V (cols, r) ~ N(0, 1)
    c_j = (L(θ + εZ_j) − L(θ − εZ_j)) / 2ε    g = (1/q) Σ_j c_j Z_j / r

U is new for each query, V stays for `refresh` steps (ν), so the steps of a period add up in one
subspace. E[Z ⟨Z, ∇⟩] / r = ∇ over U and V. For a linear loss, one slot and q = 1
E‖g − ∇‖² = (rows · cols + 2(rows + cols + 1)/r + 1)‖∇‖²; queries share V, so that more of them take
away less than 1/q. Released code leaves 1/r to the learning rate.
A vector is a column with V = 1: Gaussian numbers, not divided. Slots of several matrices count
their first axis as rows and all others as columns.
The paper keeps momentum in U's space to save memory, and carries it over at each new V; an adapter
is small, so moments are those of g and need no carrying.

A scalar is c_j. U of all slots, one after the other, is `gaussians` of (seed, step, j); V of
(seed, ⌊step/ν⌋, 0) in a stream of its own.
"""

from __future__ import annotations

import math

import numpy as np

from dsa_edge.errors import UsageError
from dsa_edge.runtime._engine import Floats
from dsa_edge.runtime._random import PERTURB, SUBSPACE, gaussians
from dsa_edge.runtime.estimators._base import Pairs

__all__ = ["LowRank"]


class LowRank(Pairs):
    """Products of two thin Gaussian matrices."""

    def __post_init__(self) -> None:
        """Refuse a rank that some slot cannot have."""
        matrices = [_sides(shape) for shape in self.space.shapes if len(shape) > 1]
        least = min(matrices, key=min, default=None)
        if least and self.hyper.rank > min(least):
            raise UsageError(
                f"rank is {self.hyper.rank}, and one slot here is {least[0]} × {least[1]}: "
                f"expected at most {min(least)}; lower the rank, or use estimator mezo."
            )

    def probed(self, step: int, query: int) -> Floats:
        """Z (n,) of all slots."""
        return self._products(step, query, np.float32(1))

    def returned(self, step: int, query: int) -> Floats:
        """Z / r, where a slot is a matrix."""
        return self._products(step, query, np.float32(self.hyper.rank))

    def _products(self, step: int, query: int, divisor: np.float32) -> Floats:
        sides = [_sides(shape) for shape in self.space.shapes]
        ranks = [self.hyper.rank if cols else 1 for _, cols in sides]
        tall = [rows * rank for (rows, _), rank in zip(sides, ranks, strict=True)]
        wide = [cols * rank for (_, cols), rank in zip(sides, ranks, strict=True)]
        us = _split(gaussians(self.seed, step, query, PERTURB, sum(tall)), tall)
        period = step // self.hyper.refresh
        vs = _split(gaussians(self.seed, period, 0, SUBSPACE, sum(wide)), wide)
        parts = [
            _product(u.reshape(-1, rank), v.reshape(-1, rank)) / divisor if v.size else u
            for u, v, rank in zip(us, vs, ranks, strict=True)
        ]
        return np.concatenate([part.reshape(-1) for part in parts])


def _sides(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of a slot; a vector has no columns."""
    return shape[0], math.prod(shape[1:]) if len(shape) > 1 else 0


def _split(numbers: Floats, sizes: list[int]) -> list[Floats]:
    return np.split(numbers, np.cumsum(sizes)[:-1])


def _product(u: Floats, v: Floats) -> Floats:
    """U Vᵀ, one term after the other: a library's product may fuse and reorder."""
    total = np.zeros((len(u), len(v)), dtype=np.float32)
    for k in range(u.shape[1]):
        total += u[:, k, None] * v[None, :, k]
    return total
