"""`mezo`: Gaussian directions, one after the other (MeZO, 2305.17333, algorithm 1).

    z_j ~ N(0, Iₙ)    c_j = (L(θ + εz_j) − L(θ − εz_j)) / 2ε    g = (1/q) Σ_j c_j z_j

The paper has q = 1 and walks one copy of the weights to θ + εz, θ − εz and back; here a query is
two lanes of a forward of their own: memory is that of two lanes whatever q is, nothing is walked,
and no rounding is left behind. For a linear loss E‖g − ∇‖² = (n + 1)‖∇‖² / q.

A scalar is c_j. z_j is `gaussians` of (seed, step, j), which unlike a framework's are the same on
every machine.
"""

from __future__ import annotations

from collections.abc import Iterator

from dsa_edge.runtime._engine import Floats
from dsa_edge.runtime._random import PERTURB, gaussians
from dsa_edge.runtime.estimators._base import Pairs, batched

__all__ = ["Mezo"]


class Mezo(Pairs):
    """Gaussian directions, two lanes at a time."""

    def blocks(self, theta: Floats, step: int) -> Iterator[Floats]:
        """One pair, then the next."""
        return batched(self._rows(theta, step), theta.size, most=2)

    def probed(self, step: int, query: int) -> Floats:
        """Standard normal numbers (n,)."""
        return gaussians(self.seed, step, query, PERTURB, self.space.size)
