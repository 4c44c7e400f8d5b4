"""When more examples stop helping, told from the held-out losses of fits on fewer.

Losses of small language models fall with the number of examples n as a power law onto a floor,

    L(n) = c + a n^−b          c, a ≥ 0,  0.05 ≤ b ≤ 2        (1712.00409, 2407.13906)

fitted by least squares. What it says of n examples comes with the spread of 400 fits to losses
drawn anew (parametric bootstrap): the noise is that between seeds of one size, or what the law
leaves unexplained where that is more. Below 200 examples nothing is said: curves bend late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsa_edge.errors import UsageError

__all__ = ["DataGate", "Gain"]

START = 200  # examples from which a verdict is given (2407.13906: 70 → 88 % with 200)
LEAST_SIZES = 3  # the law has three numbers
DRAWS = 400
EXPONENTS = np.geomspace(0.05, 2.0, 40)
SHARES = (0.1, 0.5, 0.9)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Gain:
    """Nats by which the held-out loss is expected to fall; low and high hold 80 % of the draws."""

    expected: float
    low: float
    high: float


class DataGate:
    """The law of one learning curve.

        gate = DataGate([(32, 0.66), (64, 0.62), (128, 0.58), (256, 0.57)])
        print(gate.advice(256))

    points: (examples, held-out loss in nats), several of one size for several seeds.
    worth: nats that twice the examples must bring to be worth collecting.
    Raises UsageError for sizes or losses that are none.
    """

    def __init__(self, points: Sequence[tuple[int, float]], worth: float = 0.01) -> None:
        sizes = np.array([size for size, _ in points], dtype=np.float64)
        losses = np.array([loss for _, loss in points], dtype=np.float64)
        if not len(points) or (sizes < 1).any() or not np.isfinite(losses).all() or not worth > 0:
            raise UsageError(
                f"a learning curve of {len(points)} points and {worth} nats were given, expected "
                "sizes of at least 1, finite losses and a positive number of nats: measure it "
                "with `dsa-edge tune --curve`."
            )
        self.worth, self._sizes = worth, sizes
        self._law = _fit(sizes, losses[None])
        spread = _noise(sizes, losses, _losses(self._law, sizes)[0])
        noise = np.random.default_rng(0).standard_normal((DRAWS, len(sizes))) * spread
        self._draws = _fit(sizes, _losses(self._law, sizes) + noise)

    def loss(self, examples: int) -> float:
        """The expected held-out loss after learning from so many examples."""
        return float(_losses(self._law, np.array([examples]))[0, 0])

    def gain(self, examples: int, more: int) -> Gain:
        """What `more` examples beside these bring."""
        at = np.array([examples, examples + more], dtype=np.float64)
        falls = -np.diff(_losses(self._draws, at), axis=1)[:, 0]
        low, _, high = np.quantile(falls, SHARES)
        (expected,) = -np.diff(_losses(self._law, at)[0])
        return Gain(float(expected), float(low), float(high))

    def verdict(self, examples: int) -> str:
        """`too early`, `unclear`, `collect` or `enough`, about doubling so many examples."""
        if examples < START or len(np.unique(self._sizes)) < LEAST_SIZES:
            return "too early"
        gain = self.gain(examples, examples)
        if gain.high < self.worth:
            return "enough"
        return "collect" if gain.low > self.worth else "unclear"

    def advice(self, examples: int) -> str:
        """The verdict as one sentence, with its numbers."""
        verdict = self.verdict(examples)
        if verdict == "too early":
            return (
                f"{examples} examples, losses at {len(np.unique(self._sizes))} sizes: too early to "
                f"tell; {START} examples and {LEAST_SIZES} sizes are the least"
            )
        gain = self.gain(examples, examples)
        what = {
            "enough": "more examples of this kind are not worth collecting",
            "collect": "collect more",
            "unclear": f"more may or may not bring the {self.worth:g} that would be worth it",
        }[verdict]
        return (
            f"twice the {examples} examples are expected to lower the held-out loss by "
            f"{gain.expected:.3f} nats ({gain.low:.3f} to {gain.high:.3f}): {what}"
        )


def _fit(sizes: Floats, losses: Floats) -> tuple[Floats, Floats, Floats]:
    """The law c, a, b (D,) each of every row of losses (D, N)."""
    best = np.full(len(losses), np.inf)
    law = np.zeros((3, len(losses)))
    for exponent in EXPONENTS:
        x = sizes**-exponent
        c, a = _line(x, losses)
        left = ((losses - c[:, None] - a[:, None] * x) ** 2).sum(1)
        better = left < best - 1e-15
        best[better] = left[better]
        law[:, better] = np.stack([c, a, np.full_like(c, exponent)])[:, better]
    return law[0], law[1], law[2]


def _line(x: Floats, losses: Floats) -> tuple[Floats, Floats]:
    """Least squares of c + a x with c, a ≥ 0, for every row of losses (D, N)."""
    spread = ((x - x.mean()) ** 2).sum()
    covered = (losses * (x - x.mean())).sum(1)
    a = np.maximum(covered / spread, 0) if spread > 0 else np.zeros(len(losses))
    c = losses.mean(1) - a * x.mean()
    through_zero = np.maximum((losses * x).sum(1) / (x * x).sum(), 0)
    return np.where(c < 0, 0, c), np.where(c < 0, through_zero, a)


def _losses(law: tuple[Floats, Floats, Floats], sizes: Floats) -> Floats:
    """(D, N) of laws (D,) at sizes (N,)."""
    c, a, b = (part[:, None] for part in law)
    return c + a * sizes[None].astype(np.float64) ** -b


def _noise(sizes: Floats, losses: Floats, fitted: Floats) -> float:
    """Standard deviation of a loss: between seeds, or of what the law leaves, the larger."""
    groups = [losses[sizes == size] for size in np.unique(sizes)]
    within, free = sum(((g - g.mean()) ** 2).sum() for g in groups), len(losses) - len(groups)
    left, unfitted = ((losses - fitted) ** 2).sum(), max(1, len(losses) - LEAST_SIZES)
    return float(np.sqrt(max(within / free if free else 0.0, left / unfitted)))
