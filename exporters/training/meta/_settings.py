"""What a meta-training is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dsa_edge.errors import UsageError

__all__ = ["METHODS", "MetaSettings"]

METHODS = ("reptile", "fomaml")
GATES = ("clusters", "learned")
RATES = {"reptile": 1.0, "fomaml": 0.005}


@dataclass(frozen=True)
class MetaSettings:
    """How a start is learned; `MetaSettings(rounds=20, users_per_round=4)`.

    method: `reptile` (1803.02999) or `fomaml` (1703.03400, first order).
    rounds, users_per_round: steps of the start, and users that each is made of.
    inner_steps, inner_rate: Adam's steps of each user, and their rate.
    rate: β at first, falling linearly to zero; 0 takes the method's own.
    batch, query: examples of an inner step, and of what a user's result is judged on.
    examples: of a user that are used at most.
    directions: M at most; 0 for none. adapt_steps, snapshots: steps from the learned start of every
    seen user, and points on that way that directions are made of.
    unseen: share of users that only judge, or their names. skip_small: leave out users with fewer
    examples than batch and query need.
    gate: of several blocks, `clusters` of the prompts as they are, or `learned` from there between
    the rounds. gate_rate: how fast at first, falling to zero as β does.
    seed: of everything; also the key of the users' hash.
    """

    method: str = "reptile"
    rounds: int = 40
    users_per_round: int = 4
    inner_steps: int = 5
    inner_rate: float = 0.006
    rate: float = 0.0
    batch: int = 16
    query: int = 16
    examples: int = 256
    directions: int = 64
    adapt_steps: int = 20
    snapshots: int = 4
    unseen: float | Sequence[str] = 0.2
    skip_small: bool = False
    gate: str = "clusters"
    gate_rate: float = 8.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot learn, and fill in the method's rate."""
        if isinstance(self.unseen, (str, int)):
            one = (self.unseen,) if isinstance(self.unseen, str) else float(self.unseen)
            object.__setattr__(self, "unseen", one)
        if self.method not in METHODS:
            raise UsageError(f"method is {self.method!r}, expected {' or '.join(METHODS)}.")
        counts = ("rounds", "users_per_round", "inner_steps", "batch", "query", "adapt_steps")
        for name in (*counts, "snapshots"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}, expected at least 1.")
        if self.gate not in GATES or not 0 < self.gate_rate < 1e3:
            raise UsageError(
                f"gate is {self.gate!r} and gate_rate {self.gate_rate}, expected "
                f"{' or '.join(GATES)}, and a positive number."
            )
        if self.directions < 0 or not 0 <= self.seed < 2**63:
            raise UsageError(
                f"directions is {self.directions} and seed {self.seed}, expected 0 or more, and "
                "0 ≤ seed < 2^63."
            )
        if not (0 < self.inner_rate < 1e3 and 0 <= self.rate < 1e3):
            raise UsageError(
                f"inner_rate is {self.inner_rate} and rate {self.rate}, expected positive numbers."
            )
        if self.examples < self.least:
            raise UsageError(
                f"examples is {self.examples}, expected at least batch + query, {self.least}."
            )
        object.__setattr__(self, "rate", self.rate or RATES[self.method])

    @property
    def least(self) -> int:
        """Examples that a user needs."""
        return self.batch + self.query

    def beta(self, round: int) -> float:
        """β of a round, from 0 on."""
        return self.rate * self._left(round)

    def gate_pace(self, round: int) -> float:
        """Rate of the gate in a round, from 0 on."""
        return self.gate_rate * self._left(round)

    def _left(self, round: int) -> float:
        return 1 - round / self.rounds
