"""`antithetic`: pairs of lanes along random signs. The default.

    z_j ∈ {±1}ⁿ    c_j = (L(θ + εz_j) − L(θ − εz_j)) / 2ε    g = (1/q) Σ_j c_j z_j

Simultaneous perturbation (Spall 1992) with the lanes of P-RGE (2409.15520): all pairs of a step in
one batched forward. E[z zᵀ] = I, so g is unbiased up to O(ε²). For a linear loss
E‖g − ∇‖² = (n − 1)‖∇‖² / q, the least of all directions with independent entries.

A scalar is c_j. z_j is `signs` of (seed, step, j); a replay needs no more.
"""

from __future__ import annotations

from dsa_edge.runtime._engine import Floats
from dsa_edge.runtime._random import signs
from dsa_edge.runtime._signed_sum import signed_sum
from dsa_edge.runtime.estimators._base import Pairs

__all__ = ["Antithetic"]


class Antithetic(Pairs):
    """Random signs, all lanes at once."""

    def probed(self, step: int, query: int) -> Floats:
        """Signs (n,)."""
        return signs(self.seed, step, query, self.space.size)

    def total(self, scalars: Floats, step: int) -> Floats:
        """The sum without making the signs; to the bit the same."""
        if self.parts == 1:
            return signed_sum(scalars[:, 0], self.seed, step, self.space.size)
        return signed_sum(scalars, self.seed, step, self.space.size, self.space.block)
