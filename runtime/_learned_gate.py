"""A gate that learns: how it moves, from the numbers of a journal alone.

All that a gate may become is where it starts and some directions, of which each block has its own
amounts:

    table_t = table_0 + Σ_f A_t[:, f] direction_f        A_t = A_{t−1} − η_t G_t,  A_0 = 0

G (N, F) is a step's gradient, journalled behind the step's scalars; η_t is `gate_rate`, falling as
the learning rate does. Directions are those in which the fit's prompts differ most, so that N F
numbers learn and not N (D + 1); they are kept with the fit. Float32, one operation at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from dsa_edge.gate import Gate
from dsa_edge.runtime._engine import Floats
from dsa_edge.runtime._gates import DIRECTIONS
from dsa_edge.runtime._hyperparameters import Hyperparameters
from dsa_edge.runtime._optimizer import Step

__all__ = ["FEATURES", "LearnedGate", "gate_width", "record_bytes", "replayed_gates"]

MOST_DIGITS = 26  # of a number of the table as JSON has it, with what is between two
FEATURES = DIRECTIONS + 1  # F: and what all prompts share


@dataclass
class LearnedGate:
    """A gate on its way. start: where it begins; directions: (F, D + 1); amounts: (N, F)."""

    start: Gate
    directions: Floats
    amounts: Floats = field(init=False)

    def __post_init__(self) -> None:
        """Nothing was learned yet."""
        self.amounts = np.zeros((self.start.blocks, len(self.directions)), dtype=np.float32)

    @property
    def gate(self) -> Gate:
        """The gate as it is now."""
        table = self.start.table
        for amount, direction in zip(self.amounts.T, self.directions, strict=True):
            table = table + amount[:, None] * direction
        return Gate.read(table)

    def move(self, gradient: Floats, hyper: Hyperparameters, rate: float) -> None:
        """Step by a gradient (N, F) or (N F,), where all of it is finite.

        rate: the step's learning rate, whose share of the first one the gate's follows.
        """
        if np.isfinite(gradient).all():
            pace = np.float32(hyper.gate_rate * (rate / hyper.rate))
            self.amounts = self.amounts - pace * gradient.reshape(self.amounts.shape)


def gate_width(hyper: Hyperparameters, blocks: int) -> int:
    """Numbers that a step's journal has of a gate."""
    return blocks * FEATURES if hyper.learns_gate else 0


def record_bytes(hyper: Hyperparameters, shape: tuple[int, int] | None) -> int:
    """Bytes that the record of a fit has of a gate of shape (N, D) at most; 0 without one."""
    if shape is None:
        return 0
    blocks, width = shape
    directions = 4 * FEATURES * (width + 1) * 4 // 3 + 4 if hyper.learns_gate else 0
    return directions + MOST_DIGITS * blocks * (width + 1)


def replayed_gates(
    learned: LearnedGate, hyper: Hyperparameters, journal: Sequence[Step], at: Sequence[int]
) -> list[Gate]:
    """The gate after each number of steps in `at`, from the end of each step's scalars."""
    wanted = {0: learned.gate}
    for count, step in enumerate(journal[: max(at, default=0)], start=1):
        learned.move(step.slopes[-learned.amounts.size :], hyper, step.rate)
        if count in at:
            wanted[count] = learned.gate
    last = min(len(journal), max(at, default=0))
    return [wanted[min(count, last)] if count else wanted[0] for count in at]
