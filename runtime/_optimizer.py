"""Zeroth-order steps: what an optimizer makes of an estimator's gradient, reproducibly.

A step is (seed, step, learning rate, scalars). An estimator (`estimators/`) makes the gradient g of
the scalars c; with the rate η, the decays β and t steps so far, the adapter moves by

    sgd          η g
    momentum     η m,  m ← β₁ m + (1 − β₁) g                    heavy ball, averaged (Polyak 1964)
    adam         η m̂ / (√v̂ + 1e-8), each number by itself       (1412.6980, algorithm 1)
    normalized   η g / (√v̂ + 1e-8),  v ← β₂ v + (1 − β₂) mean_j c_j²,  v̂ = v / (1 − β₂ᵗ)     MEAZO

The last one has one number of state. The update is float32, element by element, in a fixed order
and without fused multiply-add, so a replay of the scalars gives the same bits on any device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from dsa_edge.runtime._allocation import Allocation
from dsa_edge.runtime._engine import Floats
from dsa_edge.runtime._hyperparameters import Hyperparameters
from dsa_edge.runtime.estimators import Exact, Probing, Shapes, Space, make_estimator

__all__ = ["Hyperparameters", "State", "Step", "lanes", "move", "replay", "update"]

TINY = np.float32(1e-8)  # guards against division by zero
ONE = np.float32(1)


@dataclass(frozen=True)
class Step:
    """One line of the journal: the learning rate and the scalars c (width,) that were applied."""

    rate: float
    slopes: Floats


@dataclass
class State:
    """The adapter while it learns, where it started, and what its optimizer remembers.

    shapes: of the adapter's slots. blocks: of each target. first, second: moments of g (n,).
    square: that of the scalars. power1, power2: running powers of β₁ and β₂.
    """

    theta: Floats
    step: int = 0
    shapes: Shapes = ()
    blocks: int = 1
    first: Floats = field(init=False)
    second: Floats = field(init=False)
    square: np.float32 = field(init=False, default=np.float32(0))
    power1: float = 1.0
    power2: float = 1.0

    def __post_init__(self) -> None:
        """Start the moments at zero."""
        self.theta = self.theta.astype(np.float32).copy()
        self.first = np.zeros_like(self.theta)
        self.second = np.zeros_like(self.theta)
        self.allocation = Allocation(self.theta.size)
        self._space = Space(self.theta, self.shapes, self.blocks)
        self._made: tuple[int, Hyperparameters, Exact | Probing] | None = None

    def estimator(self, seed: int, hyper: Hyperparameters) -> Exact | Probing:
        """The estimator of a run from here on; it stays the same, for it may be costly to make."""
        if self._made is None or self._made[:2] != (seed, hyper):
            self._made = seed, hyper, make_estimator(hyper, seed, self._space)
        return self._made[2]


def lanes(state: State, seed: int, hyper: Hyperparameters) -> Floats:
    """All copies (L, n) of this step, perturbed but for exact gradients."""
    estimator = state.estimator(seed, hyper)
    if isinstance(estimator, Exact):
        return state.theta[None]
    return np.concatenate(list(estimator.blocks(state.theta, state.step)))


def update(state: State, seed: int, hyper: Hyperparameters, step: Step) -> None:
    """Apply one step's scalars to the state; those that are NaN are left out."""
    gradient = state.estimator(seed, hyper).direction(step.slopes, state.step)
    if gradient is not None:
        move(state, seed, hyper, gradient, step)
    state.step += 1


def move(state: State, seed: int, hyper: Hyperparameters, gradient: Floats, step: Step) -> None:
    """Move by a gradient (n,) that was made of a step's scalars."""
    # Products instead of pow(): multiplication is exact in IEEE 754, pow differs between libraries.
    state.power1 *= hyper.beta1
    state.power2 *= hyper.beta2
    if hyper.keep < 1:
        state.allocation.observe(state.theta, gradient)
    by = OPTIMIZERS[hyper.optimizer](state, gradient, hyper, step)
    state.theta = state.estimator(seed, hyper).moved(state.theta, by, state.step)
    if hyper.keep < 1:
        state.theta = state.allocation.kept(state.theta, state.step, hyper)


def replay(
    theta: Floats,
    seed: int,
    hyper: Hyperparameters,
    journal: Sequence[Step],
    at: Sequence[int],
    shapes: Shapes = (),
    blocks: int = 1,
) -> list[Floats]:
    """Rebuild θ (n,) after each number of steps in `at` from the recorded steps, to the bit.

    shapes: of the adapter's slots, which some estimators need. blocks: of each target.
    """
    state, wanted = State(theta, shapes=shapes, blocks=blocks), {}
    width = state.estimator(seed, hyper).width
    if wrong := [len(step.slopes) for step in journal if len(step.slopes) != width]:
        raise ValueError(f"{wrong[0]} scalars in a step of {width}")
    for count in range(max(at, default=0) + 1):
        if count in at:
            wanted[count] = state.theta
        if count < min(max(at, default=0), len(journal)):
            update(state, seed, hyper, journal[count])
    return [wanted[count] for count in at]


def _sgd(state: State, gradient: Floats, hyper: Hyperparameters, step: Step) -> Floats:
    return np.float32(step.rate) * gradient


def _momentum(state: State, gradient: Floats, hyper: Hyperparameters, step: Step) -> Floats:
    beta1 = np.float32(hyper.beta1)
    state.first = beta1 * state.first + (ONE - beta1) * gradient
    return np.float32(step.rate) * state.first


def _adam(state: State, gradient: Floats, hyper: Hyperparameters, step: Step) -> Floats:
    beta1, beta2 = np.float32(hyper.beta1), np.float32(hyper.beta2)
    state.first = beta1 * state.first + (ONE - beta1) * gradient
    state.second = beta2 * state.second + (ONE - beta2) * (gradient * gradient)
    mean = state.first / np.float32(1 - state.power1)
    spread = np.sqrt(state.second / np.float32(1 - state.power2)) + TINY
    return np.float32(step.rate) * (mean / spread)


def _normalized(state: State, gradient: Floats, hyper: Hyperparameters, step: Step) -> Floats:
    known = step.slopes[np.isfinite(step.slopes)]
    squares = np.add.accumulate(known * known, dtype=np.float32)  # one after the other, unlike sum
    beta2 = np.float32(hyper.beta2)
    mean = squares[-1] / np.float32(known.size)
    state.square = beta2 * state.square + (ONE - beta2) * mean
    spread = np.sqrt(state.square / np.float32(1 - state.power2)) + TINY
    return np.float32(step.rate) * (gradient / spread)


OPTIMIZERS: dict[str, Callable[[State, Floats, Hyperparameters, Step], Floats]] = {
    "adam": _adam,
    "momentum": _momentum,
    "normalized": _normalized,
    "sgd": _sgd,
}
