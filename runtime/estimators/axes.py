"""`axes`: every coordinate axis of a small adapter, or a block of them a step.

    c_i = (L(θ + εe_i) − L(θ − εe_i)) / 2ε for i in the step's axes    g = Σ_i c_i e_i

Finite differences (Kiefer and Wolfowitz 1952). The directions are orthonormal, so they are summed:
g is the exact gradient up to O(ε²) on the axes probed, without any noise of directions, and zero on
the others. For some hundred numbers this costs what that many random directions cost.
With fewer `queries` than numbers a step probes a block of that many, and the next step the next
one: all axes in an order that the seed decides, over and over (block coordinate descent).

A scalar is c_i. Step t has the axes order[(t k + i) mod n], i < k: the indices sorted by the words
of (seed, 0, 0) in a stream of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from dsa_edge.errors import UsageError
from dsa_edge.runtime._engine import Floats, Ints
from dsa_edge.runtime._random import AXES, ranks, words
from dsa_edge.runtime.estimators._base import Pairs

__all__ = ["MOST_LANES", "Axes"]

MOST_LANES = 1024  # of a step; the default runs 32


class Axes(Pairs):
    """Coordinate axes, some a step."""

    by_block = False  # an axis is one block's, and other blocks' examples do not move along it

    def __post_init__(self) -> None:
        """Refuse steps that would take as long as a whole fit."""
        if self.lanes > MOST_LANES:
            raise UsageError(
                f"axes would run {self.lanes} lanes a step for {self.width} of {self.space.size} "
                f"numbers, expected at most {MOST_LANES}: take {MOST_LANES // 2} queries or fewer, "
                "or export a smaller adapter."
            )

    @property
    def width(self) -> int:
        """One scalar an axis."""
        return min(self.hyper.queries, self.space.size)

    @property
    def lanes(self) -> int:
        """Two for an axis."""
        return 2 * self.width

    def _rows(self, theta: Floats, step: int) -> Iterator[Floats]:
        epsilon = np.float32(self.hyper.epsilon)
        for axis in self._axes(step):
            for shift in (epsilon, -epsilon):
                lane = theta.copy()
                lane[axis] += shift
                yield lane

    def direction(self, scalars: Floats, step: int) -> Floats | None:
        """The sum over the axes that were not lost."""
        usable = np.isfinite(scalars)
        if not usable.any():
            return None
        total = np.zeros(self.space.size, dtype=np.float32)
        total[self._axes(step)[usable]] = scalars[usable]
        return total

    def _axes(self, step: int) -> Ints:
        return self._order[(step * self.width + np.arange(self.width)) % self.space.size]

    @cached_property
    def _order(self) -> Ints:
        return ranks(words(self.seed, 0, 0, AXES, self.space.size))
