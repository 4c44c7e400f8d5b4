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

from dsa_edge.clusters import FEATURES
from dsa_edge.gate import Gate
from dsa_edge.policy import LearnedGate
from dsa_edge.runtime._hyperparameters import Hyperparameters
from dsa_edge.runtime._optimizer import Step

__all__ = ["gate_pace", "gate_width", "record_bytes", "replayed_gates"]

MOST_DIGITS = 26  # of a number of the table as JSON has it, with what is between two


def gate_pace(hyper: Hyperparameters, rate: float) -> float:
    """What a step at a learning rate takes of the gate's gradient: it falls as the rate does."""
    return hyper.gate_rate * (rate / hyper.rate)


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
        learned.move(step.slopes[-learned.amounts.size :], gate_pace(hyper, step.rate))
        if count in at:
            wanted[count] = learned.gate
    last = min(len(journal), max(at, default=0))
    return [wanted[min(count, last)] if count else wanted[0] for count in at]
