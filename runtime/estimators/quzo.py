"""`quzo`: a quantized adapter, quantized perturbations, quantized updates (QuZO, 2502.12346).

    u_j ~ N(0, Iₙ)    u_j1 = Q₁(u_j), u_j2 = Q₂(u_j) on a grid of Δ = ½ in 4 bits, |u| ≤ 7Δ
    μ_j = (L(θ̄ + εu_j1) − L(θ̄ − εu_j1)) / 2ε    g = (1/q) Σ_j μ_j u_j2
    θ̄ ← clip(θ̄ − Q₃(step))    on a grid of a power of two s, from −127 s to 127 s: int8

Q(x) = Δ(⌊x/Δ⌋ + Bernoulli(frac(x/Δ))) is stochastic rounding, E[Q(x)] = x. Given u, Q₁ and Q₂ are
independent, so E[u_2 u_1ᵀ] = E[u uᵀ] = I and g is unbiased; one shared rounding would give
(1 + Δ²/6) I. What 4 bits cut off is 0.1 % of I. With v = E[Q(u)²] ≈ 1 + Δ²/6, a linear loss has
E‖g − ∇‖² = ((n − 1)v² + E[u_1²u_2²] − 1)‖∇‖² / q for each number alike.
The paper rounds each query's share of an update; here their sum is rounded, once: the same for
q = 1, less noise otherwise. sgd is the paper's optimizer; adam and momentum keep moments of four
bytes a number beside the one byte of the adapter.

θ̄ is held as float32 for the engine. A version of the store takes 0.8 to 1.2 bytes a number, for it
packs planes of bytes, and those below the grid are zero. s is the least of `grid`, 2 grid, … on
which the start takes half the range at most; a start off it is rounded to the nearest.

A scalar is μ_j. u_j is `gaussians`, the roundings are `uniforms`, each of a purpose of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from dsa_edge.runtime._engine import Floats
from dsa_edge.runtime._random import (
    PERTURB,
    ROUND_BACK,
    ROUND_PROBE,
    ROUND_STATE,
    gaussians,
    uniforms,
)
from dsa_edge.runtime.estimators._base import Pairs

__all__ = ["DELTA", "MOST", "Quzo"]

DELTA, MOST = 0.5, 7  # grid of the perturbation, and its largest code: 4 bits with a sign
LIMIT = 127  # largest code of the adapter: 8 bits with a sign


class Quzo(Pairs):
    """Everything on grids."""

    @cached_property
    def grid(self) -> float:
        """The step s between the adapter's numbers."""
        step, largest = float(self.hyper.grid), float(np.abs(self.space.start).max(initial=0))
        while largest > step * LIMIT / 2 and np.isfinite(largest):
            step *= 2
        return step

    def _rows(self, theta: Floats, step: int) -> Iterator[Floats]:
        return super()._rows(self._nearest(theta), step)

    def probed(self, step: int, query: int) -> Floats:
        """The direction, rounded once."""
        return self._rounded(step, query, ROUND_PROBE)

    def returned(self, step: int, query: int) -> Floats:
        """The same direction, rounded anew."""
        return self._rounded(step, query, ROUND_BACK)

    def moved(self, theta: Floats, by: Floats, step: int) -> Floats:
        """On the grid again, by a step that is rounded to it."""
        codes = self._codes(by, self.grid, step, 0, ROUND_STATE)
        return self._nearest(self._nearest(theta) - np.float32(self.grid) * codes)

    def _rounded(self, step: int, query: int, purpose: int) -> Floats:
        u = gaussians(self.seed, step, query, PERTURB, self.space.size)
        codes = self._codes(u, DELTA, step, query, purpose)
        return np.float32(DELTA) * np.clip(codes, -MOST, MOST)

    def _codes(self, x: Floats, grid: float, step: int, query: int, purpose: int) -> Floats:
        """x (n,) in steps of a grid, rounded by chance."""
        chance = uniforms(self.seed, step, query, purpose, x.size)
        return np.floor(x.astype(np.float64) / grid + chance).astype(np.float32)

    def _nearest(self, theta: Floats) -> Floats:
        """The numbers of the grid next to θ (n,)."""
        grid = np.float32(self.grid)
        return grid * np.clip(np.rint(theta / grid), -LIMIT, LIMIT)
