"""Zeroth-order steps: antithetic sign directions, scalars, and Adam in reproducible arithmetic.

A step is (seed, step, learning rate, q scalars). For query j, z_j ∈ {±1}^n and, over the batch,

    c_j = (loss(θ + ε z_j) − loss(θ − ε z_j)) / 2ε          SPSA (Spall 1992), MeZO (2305.17333)
    g   = mean_j c_j z_j,   θ ← Adam(θ, g)                   (1412.6980, algorithm 1)

The update is float32, element by element, in a fixed order and without fused multiply-add, so a
replay of the scalars gives the same bits on any device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from dsa_edge.errors import UsageError
from dsa_edge.runtime._engine import Floats
from dsa_edge.runtime._random import signs
from dsa_edge.runtime._signed_sum import signed_sum

__all__ = ["Hyperparameters", "State", "Step", "lanes", "replay", "scalars", "update"]

TINY = np.float32(1e-8)  # Adam's guard against division by zero


@dataclass(frozen=True)
class Hyperparameters:
    """What a run is made of, besides its seed and its examples; the defaults suit choices.

    queries: antithetic pairs a step, q; a step runs 2q lanes.
    batch: examples a step. epsilon: radius of the perturbation. rate: Adam's learning rate.
    smoothing: share of each choice's target that all choices share (1512.00567, section 7); a few
    hundred examples otherwise make the adapter overconfident long before it is accurate.
    beta1, beta2: decay of Adam's moments.
    cooldown: last part of the run over which the rate falls linearly to zero; 0 keeps it.
    """

    queries: int = 16
    batch: int = 16
    epsilon: float = 0.1
    rate: float = 0.01
    smoothing: float = 0.2
    beta1: float = 0.9
    beta2: float = 0.99
    cooldown: float = 1.0

    def __post_init__(self) -> None:
        """Refuse values that cannot learn."""
        if self.queries < 1 or self.batch < 1:
            raise UsageError(
                f"queries is {self.queries} and batch is {self.batch}, expected at least 1 each."
            )
        if not (
            self.epsilon > 0 and self.rate > 0 and np.isfinite([self.epsilon, self.rate]).all()
        ):
            raise UsageError(
                f"epsilon is {self.epsilon} and rate is {self.rate}, expected positive numbers."
            )
        shares = {name: getattr(self, name) for name in ("beta1", "beta2", "smoothing")}
        for name, value in shares.items():
            if not 0 <= value < 1:
                raise UsageError(f"{name} is {value}, expected 0 ≤ {name} < 1.")
        if not 0 <= self.cooldown <= 1:
            raise UsageError(f"cooldown is {self.cooldown}, expected 0 ≤ cooldown ≤ 1.")

    @classmethod
    def suited(cls, choices: bool) -> Hyperparameters:
        """Defaults for examples with choices, or for free responses, which want smaller steps."""
        return cls() if choices else cls(epsilon=0.03, rate=3e-3, smoothing=0.0)

    @classmethod
    def from_dict(cls, values: Mapping[str, float]) -> Hyperparameters:
        """What the journal recorded: whole numbers are whole again."""
        numbers = {k: float(v) for k, v in values.items() if k not in ("queries", "batch")}
        return cls(int(values["queries"]), int(values["batch"]), **numbers)

    def rate_at(self, progress: float) -> float:
        """Learning rate when a share `progress` (0 … 1) of the run is over."""
        left = 1.0 - progress
        return self.rate * min(1.0, left / self.cooldown) if self.cooldown else self.rate


@dataclass(frozen=True)
class Step:
    """One line of the journal: the learning rate and the scalars c (q,) that were applied."""

    rate: float
    slopes: Floats


@dataclass
class State:
    """The adapter while it learns: θ, Adam's moments (n,) and the running powers of its betas."""

    theta: Floats
    step: int = 0
    first: Floats = field(init=False)
    second: Floats = field(init=False)
    power1: float = 1.0
    power2: float = 1.0

    def __post_init__(self) -> None:
        """Start the moments at zero."""
        self.theta = self.theta.astype(np.float32).copy()
        self.first = np.zeros_like(self.theta)
        self.second = np.zeros_like(self.theta)


def lanes(state: State, seed: int, hyper: Hyperparameters) -> Floats:
    """The 2q perturbed copies (2q, n) of this step: θ + εz_0, θ − εz_0, θ + εz_1, …"""
    out = np.empty((2 * hyper.queries, state.theta.size), dtype=np.float32)
    for query in range(hyper.queries):
        shift = np.float32(hyper.epsilon) * signs(seed, state.step, query, state.theta.size)
        np.add(state.theta, shift, out=out[2 * query])
        np.subtract(state.theta, shift, out=out[2 * query + 1])
    return out


def scalars(losses: Floats, hyper: Hyperparameters) -> Floats:
    """Directional derivatives c (q,) from losses (2q, B); NaN where a lane was not finite."""
    means = losses.astype(np.float64).mean(1).reshape(-1, 2)
    with np.errstate(invalid="ignore"):
        slopes = (means[:, 0] - means[:, 1]) / (2 * hyper.epsilon)
    return np.where(np.isfinite(slopes), slopes, np.nan).astype(np.float32)


def update(state: State, seed: int, hyper: Hyperparameters, step: Step) -> None:
    """Apply one step's scalars to the state; pairs that are NaN are left out."""
    usable = np.isfinite(step.slopes)
    if usable.any():
        slopes = np.where(usable, step.slopes, np.float32(0))  # a 0 changes no bit of the sum
        gradient = signed_sum(slopes, seed, state.step, state.theta.size)
        _adam(state, gradient / np.float32(usable.sum()), hyper, np.float32(step.rate))
    state.step += 1


def replay(
    theta: Floats, seed: int, hyper: Hyperparameters, journal: Sequence[Step], at: Sequence[int]
) -> list[Floats]:
    """Rebuild θ (n,) after each number of steps in `at` from the recorded steps, to the bit."""
    state, wanted = State(theta), {}
    for count in range(max(at, default=0) + 1):
        if count in at:
            wanted[count] = state.theta
        if count < min(max(at, default=0), len(journal)):
            update(state, seed, hyper, journal[count])
    return [wanted[count] for count in at]


def _adam(state: State, gradient: Floats, hyper: Hyperparameters, rate: np.float32) -> None:
    beta1, beta2 = np.float32(hyper.beta1), np.float32(hyper.beta2)
    one = np.float32(1)
    state.first = beta1 * state.first + (one - beta1) * gradient
    state.second = beta2 * state.second + (one - beta2) * (gradient * gradient)
    # Products instead of pow(): multiplication is exact in IEEE 754, pow differs between libraries.
    state.power1 *= hyper.beta1
    state.power2 *= hyper.beta2
    mean = state.first / np.float32(1 - state.power1)
    spread = np.sqrt(state.second / np.float32(1 - state.power2)) + TINY
    state.theta = state.theta - rate * (mean / spread)
