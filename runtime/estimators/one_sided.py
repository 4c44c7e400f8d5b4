"""`one-sided`: lanes on one side of the centre, over the spread of their losses (FZOO, 2506.09034).

    u_i ∈ {±1}ⁿ    l_i = L(θ + εu_i)    l_0 = L(θ)    σ² = Σ_i (l_i − mean l)² / (N − 1)
    c_i = (l_i − l_0) / σ    g = (1/N) Σ_i c_i u_i

The paper's step is η g'/σ with g' = (1/εN) Σ (l_i − l_0) u_i, which is η/ε times this g: its η/ε is
our rate, so the rate need not follow ε. N + 1 lanes for N directions. u is symmetric, so g σ/ε has
no bias of order ε; curvature adds variance instead. For a linear loss
E‖g σ/ε − ∇‖² = (n − 1)‖∇‖² / N. Along a flat stretch σ is rounding alone; a floor keeps noise from
becoming a full step.
Blocks share the scalars of a direction, for l_i and σ are the whole batch's.

A scalar is c_i, already divided. u_i is `signs` of (seed, step, i).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dsa_edge.runtime._calibration import forward
from dsa_edge.runtime._engine import Floats
from dsa_edge.runtime.estimators._base import Doubles
from dsa_edge.runtime.estimators.antithetic import Antithetic

__all__ = ["OneSided"]

FLOOR = 1e-5  # nats: below it losses in float32 cannot be told apart


class OneSided(Antithetic):
    """Random signs, the centre and one side."""

    by_block = False

    @property
    def lanes(self) -> int:
        """One for a direction, and the centre."""
        return self.width + 1

    def _rows(self, theta: Floats, step: int) -> Iterator[Floats]:
        yield theta
        for query in range(self.width):
            yield theta + np.float32(self.hyper.epsilon) * self.probed(step, query)

    def slopes(self, values: Doubles, epsilon: float) -> Doubles:
        """Differences from the centre."""
        return forward(values, epsilon)

    def scalars(self, slopes: Doubles | Floats) -> Floats:
        """Differences (N,) over their standard deviation; lost ones count in neither."""
        changes = slopes.astype(np.float64) * self.hyper.epsilon
        known = changes[np.isfinite(changes)]
        spread = float(known.std(ddof=1)) if known.size > 1 else 0.0
        return (changes / max(spread, FLOOR)).astype(np.float32)
