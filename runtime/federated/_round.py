"""What a server asks of its clients for one round, and what a client is willing to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from hashlib import blake2b
from math import isfinite

from dsa_edge.errors import FederationError, UsageError
from dsa_edge.runtime._hyperparameters import Hyperparameters
from dsa_edge.runtime._plan import Budget

__all__ = ["FORMAT", "KINDS", "Limits", "Round"]

FORMAT = 1  # of requests and replies
KINDS = {"sums": "sgd", "journals": "adam"}  # of updates, and the optimizer that makes them
PACE = {"sums": 0.3, "journals": 1.0}  # of the rate that suits a fit
MOST = 4096  # scalars of an update, 8 kB


@dataclass(frozen=True)
class Round:
    """One round: every client takes `steps` steps of `queries` directions from the same start.

    bundle: identity of the bundle that the start belongs to. number: of the round, from 1.
    seed: of the directions. kind: what is done with the clients' scalars.

        sums      every client has the same directions, and plain steps (sgd). What an update
                  says is then linear in its scalars, so the server needs no more than their sum
                  (accumulators of FedKSeed, 2312.06353, on shared directions).
        journals  every client has directions of its own, and Adam's steps, which the server
                  replays (DeComFL, 2405.15861).

    batch, epsilon, rate, smoothing: as `Hyperparameters` has them. clip: largest scalar, in nats
    for each unit along a direction; larger ones count as this.
    Raises UsageError for what no client could do.
    """

    bundle: str
    number: int = 1
    seed: int = 0
    kind: str = "sums"
    steps: int = 8
    queries: int = 8
    batch: int = 16
    epsilon: float = 0.1
    rate: float = 0.03
    smoothing: float = 0.2
    clip: float = 2.0
    format: int = FORMAT

    def __post_init__(self) -> None:
        """Refuse what cannot be meant; the hyper-parameters check what is theirs."""
        if self.kind not in KINDS:
            raise UsageError(f"kind is {self.kind!r}, expected one of {', '.join(KINDS)}.")
        if not (self.steps >= 1 and self.queries >= 1 and self.size <= MOST):
            raise UsageError(
                f"{self.steps} steps of {self.queries} directions were asked for, expected 1 to "
                f"{MOST} scalars in all."
            )
        if not (0 < self.clip < 1e6 and 0 <= self.seed < 2**63 and self.number >= 1):
            raise UsageError(
                f"clip is {self.clip}, seed {self.seed} and number {self.number}, expected a "
                "positive clip, 0 ≤ seed < 2^63 and a number from 1."
            )
        _ = self.hyper

    @classmethod
    def suited(cls, bundle: str, kind: str = "sums", choices: bool = True) -> Round:
        """Settings that suit examples with choices, or free responses, for a bundle's identity."""
        if kind not in KINDS:
            raise UsageError(f"kind is {kind!r}, expected one of {', '.join(KINDS)}.")
        own = Hyperparameters.suited(choices, optimizer=KINDS[kind])
        rate = PACE[kind] * own.rate
        return cls(bundle, kind=kind, epsilon=own.epsilon, rate=rate, smoothing=own.smoothing)

    @property
    def size(self) -> int:
        """Scalars of an update, K."""
        return self.steps * self.queries

    @property
    def hyper(self) -> Hyperparameters:
        """How a client steps: the rate stays the same, for the start is nobody's last adapter."""
        return Hyperparameters(
            queries=self.queries, batch=self.batch, epsilon=self.epsilon, rate=self.rate,
            smoothing=self.smoothing, cooldown=0.0, optimizer=KINDS[self.kind],
        )  # fmt: skip

    def at(self, number: int) -> Round:
        """The same for another round, with directions of its own."""
        return replace(self, number=number, seed=_seed(f"{self.seed}/{number}"))

    def seed_of(self, node: int) -> int:
        """The seed of one client's directions."""
        return self.seed if self.kind == "sums" else _seed(f"{self.seed}/of/{node}")

    def to_dict(self) -> dict[str, str | int | float]:
        """What a request says."""
        return asdict(self)

    @classmethod
    def from_dict(cls, told: Mapping[str, object]) -> Round:
        """The round of a request, which may be anyone's.

        Raises FederationError, which names what is missing or wrong.
        """
        if told.get("format") != FORMAT:
            raise FederationError(
                f"the request has format {told.get('format')!r}, this client speaks {FORMAT}: "
                "install the same dsa-edge on both."
            )
        kinds = {
            f.name: str if f.name in ("bundle", "kind") else type(f.default) for f in fields(cls)
        }
        wrong = [name for name, kind in kinds.items() if type(told.get(name)) is not kind]
        if wrong:
            raise FederationError(
                f"the request lacks {', '.join(wrong)}, or they are of another type: install the "
                "same dsa-edge on both."
            )
        values = {name: told[name] for name in kinds}
        if not all(isfinite(value) for value in values.values() if isinstance(value, float)):
            raise FederationError("the request holds numbers that are not finite: correct them.")
        try:
            return cls(**values)  # type: ignore[arg-type]
        except UsageError as error:
            raise FederationError(f"the request cannot be meant: {error}") from error


@dataclass(frozen=True)
class Limits:
    """What a client does for a server at most, whatever it asks for.

    rounds: in one run of the server; each tells it more (docs/federation.md). steps, queries,
    batch: of a round. budget: time and memory of one; steps are the round's own.
    """

    rounds: int = 50
    steps: int = 64
    queries: int = 16
    batch: int = 64
    budget: Budget = field(default_factory=Budget)

    def check(self, asked: Round, done: int) -> None:
        """Raises FederationError for a round that is more than this; done: rounds before it."""
        if done >= self.rounds:
            raise FederationError(
                f"this client has done {done} rounds, which is all it does: raise its limit, or "
                "ask others."
            )
        for name in ("steps", "queries", "batch"):
            if getattr(asked, name) > getattr(self, name):
                raise FederationError(
                    f"{getattr(asked, name)} {name} were asked for, this client does at most "
                    f"{getattr(self, name)}: ask for fewer, or raise its limit."
                )


def _seed(text: str) -> int:
    """A number of 63 bits that looks random."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
