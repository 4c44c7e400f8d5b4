"""An update: the scalars of a client's journal as clipped int16, and the way back to an adapter.

A step moved the start by −rate · mean_j c_j z_j. On the way a scalar c is c / clip, at most 1, as
int16: 256 of them are 512 bytes. Scalars of a pair that was lost are 0, and those of the step's
other pairs weigh more for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dsa_edge.errors import FederationError
from dsa_edge.runtime._engine import Floats
from dsa_edge.runtime._optimizer import Step, replay
from dsa_edge.runtime._signed_sum import signed_sum
from dsa_edge.runtime.estimators import Shapes
from dsa_edge.runtime.federated._round import FORMAT, Round

__all__ = ["Update", "journal_move", "packed", "read_update", "sum_move", "update_of"]

LARGEST = 32767  # int16 of a scalar that was clipped


@dataclass(frozen=True)
class Update:
    """What a client sends.

    values: (K,) in −1 … 1, scalars over the clip, step by step. share: of the round's rate that
    the client's journal has; 1 for sums, whose values hold it. steps: how many it took.
    """

    values: Floats
    share: float = 1.0
    steps: int = 1


def update_of(journal: Sequence[Step], asked: Round) -> Update:
    """The update of a fit's journal.

    Raises FederationError when every loss was lost.
    """
    rows = np.zeros((asked.steps, asked.queries), dtype=np.float32)
    for row, step in zip(rows, journal, strict=False):
        usable = np.isfinite(step.slopes)
        if usable.any():
            row[usable] = step.slopes[usable] * np.float32(asked.queries / usable.sum())
    if not rows.any():
        raise FederationError("no loss of this client was a finite one: it has nothing to send.")
    share = min(1.0, journal[0].rate / asked.rate)
    if asked.kind == "sums":
        rows, share = rows * np.float32(share), 1.0
    values = np.clip(rows.ravel() / np.float32(asked.clip), -1, 1)
    return Update(values, share, len(journal))


def packed(values: Floats) -> bytes:
    """Values (K,) as little-endian int16; those beyond ±1 become ±1."""
    return np.rint(np.clip(values, -1, 1) * LARGEST).astype("<i2").tobytes()


def read_update(told: Mapping[str, object], asked: Round) -> Update:
    """The update of a reply, which may be anything.

    Raises FederationError, which says what was expected and what came.
    """
    if told.get("format") != FORMAT:
        raise FederationError(
            f"its format is {told.get('format')!r}, expected {FORMAT}: install the same dsa-edge"
        )
    if told.get("bundle") != asked.bundle[:16]:
        raise FederationError(
            f"it is of bundle {str(told.get('bundle'))[:16]}, expected {asked.bundle[:16]}: "
            "give it this bundle"
        )
    values, share, steps = told.get("values"), told.get("share"), told.get("steps")
    if not isinstance(values, bytes) or len(values) != 2 * asked.size:
        size = f"{len(values)} bytes" if isinstance(values, bytes) else type(values).__name__
        raise FederationError(f"its values are {size}, expected {2 * asked.size} bytes")
    if not (isinstance(share, float) and 0 < share <= 1):
        raise FederationError(f"its share of the rate is {share!r}, expected 0 to 1")
    if not (isinstance(steps, int) and 1 <= steps <= asked.steps):
        raise FederationError(f"it took {steps!r} steps, expected 1 to {asked.steps}")
    numbers = np.frombuffer(values, dtype="<i2")
    if (numbers < -LARGEST).any():
        raise FederationError("its values hold −32768, which no scalar becomes")
    if not numbers.any():
        raise FederationError("its values are all zero, which says nothing")
    return Update(numbers.astype(np.float32) / np.float32(LARGEST), share, steps)


def sum_move(values: Floats, asked: Round, size: int) -> Floats:
    """By what values (K,) move an adapter of `size` numbers; linear in the values."""
    scale = np.float32(-asked.rate * asked.clip / asked.queries)
    rows = values.astype(np.float32).reshape(asked.steps, asked.queries) * scale
    move = np.zeros(size, dtype=np.float32)
    for step, row in enumerate(rows):
        move += signed_sum(row, asked.seed, step, size)
    return move


def journal_move(
    update: Update, start: Floats, asked: Round, node: int, shapes: Shapes
) -> Floats:  # fmt: skip
    """By what a client's journal, replayed, moves the start (n,)."""
    rate = asked.rate * update.share
    rows = update.values.reshape(asked.steps, asked.queries)[: update.steps]
    journal = [Step(float(np.float32(rate)), row * np.float32(asked.clip)) for row in rows]
    hyper = replace(asked.hyper, rate=rate)
    return replay(start, asked.seed_of(node), hyper, journal, [len(journal)], shapes)[0] - start
