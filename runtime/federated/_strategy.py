"""`MetaStep`: what a round's updates make of the start, on top of any of Flower's strategies.

    φ ← φ + β · aggregate_u(θ_u − φ)                    Reptile (1803.02999), θ_u after a few steps

The aggregate is the inner strategy's: `FedTrimmedAvg` or `FedMedian` against poison, `FedAvg` in
one of Flower's wrappers for differential privacy. What cannot be an update never reaches it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from logging import INFO, WARNING

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from dsa_edge.errors import FederationError
from dsa_edge.manifest import Manifest
from dsa_edge.runtime._engine import Floats
from dsa_edge.runtime.estimators import slot_shapes
from dsa_edge.runtime.federated._local import packed_start
from dsa_edge.runtime.federated._records import ADAPTER, REQUEST, UPDATE, reply_fields
from dsa_edge.runtime.federated._round import Round
from dsa_edge.runtime.federated._update import Update, journal_move, read_update, sum_move

__all__ = ["MetaStep"]

FARTHEST = 65504  # from 0 that a number can be and be sent as float16
LEAST_COMPARED = 4  # updates; of fewer, none can be told to be out of the ordinary


class MetaStep(Strategy):
    """Moves a start by what an inner strategy makes of the clients' updates.

    manifest: of the bundle. asked: what every round asks for, but for its number and seed.
    pace: gives the share of the aggregate that the start moves by in a round, from 1 on.
    far: an update whose norm is so many times the median of its round's is refused.
    least: updates that a round needs; the aggregate of one is that client's own.
    on_start: called with the round and the start (n,) after each meta-step.
    """

    def __init__(
        self,
        inner: Strategy,
        manifest: Manifest,
        asked: Round,
        pace: Callable[[int], float] = lambda server_round: 1.0,
        far: float = 3.0,
        least: int = 2,
        on_start: Callable[[int, Floats], object] | None = None,
    ) -> None:
        self.inner, self.manifest, self.pace, self.far = inner, manifest, pace, far
        self.least = least
        self._asked = self._round = asked
        self._on_start = on_start or (lambda number, start: None)
        self._start = np.zeros(manifest.adapter_size, dtype=np.float32)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask the clients that the inner strategy samples; it sees an update of nothing so far."""
        self._start = arrays[ADAPTER].numpy()
        self._round = self._asked.at(server_round)
        width = self._round.size if self._round.kind == "sums" else self._start.size
        nothing = _array(UPDATE, np.zeros(width, dtype=np.float32))
        told = {**self._round.to_dict(), "start": packed_start(self._start)}
        messages = list(self.inner.configure_train(server_round, nothing, config, grid))
        for message in messages:
            known = next(iter(message.content.config_records.values()), ConfigRecord())
            message.content = RecordDict({REQUEST: ConfigRecord({**known, **told})})
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The start after this round, or None where no update could be used."""
        replies = list(replies)
        kept = self._near(self._read(replies))
        told = MetricRecord({"clients": len(kept), "refused": len(replies) - len(kept)})
        if len(kept) < max(self.least, 1):
            log(
                WARNING,
                "round %d: %d updates are too few, the start stays: %d or more are expected, so "
                "see to the clients that are left out, or ask more (sample).",
                server_round, len(kept), max(self.least, 1),
            )  # fmt: skip
            return None, told
        found, _ = self.inner.aggregate_train(server_round, [message for message, _ in kept])
        if found is None:
            return None, told
        move = next(iter(found.values())).numpy()
        if self._round.kind == "sums":
            move = sum_move(move, self._round, self._start.size)
        start = (self._start + np.float32(self.pace(server_round)) * move).astype(np.float32)
        if not np.abs(start).max() < FARTHEST:  # NaN is not, either
            log(WARNING, "round %d: the aggregate is out of range, the start stays.", server_round)
            return None, told
        self._on_start(server_round, start)
        told["moved"] = float(np.linalg.norm((start - self._start).astype(np.float64)))
        return _array(ADAPTER, start), told

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Nobody is asked: a loss of one user's texts would be one more thing to tell."""
        return []

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Nobody was asked."""
        return None

    def summary(self) -> None:
        """Log what is done, then what the inner strategy does."""
        log(INFO, "\t├──> Meta-step: %s, beta %g at first", self._asked.kind, self.pace(1))
        self.inner.summary()

    def _read(self, replies: list[Message]) -> list[tuple[Message, Floats]]:
        """The replies that hold an update, as what the inner strategy expects, and their moves."""
        found = []
        for reply in replies:
            try:
                move = self._move(read_update(reply_fields(reply), self._round), reply)
            except FederationError as error:
                self._refuse(reply, str(error))
            else:
                one = MetricRecord({"num-examples": 1})  # a client's own word would be its weight
                reply.content = RecordDict({"arrays": _array(UPDATE, move), "metrics": one})
                found.append((reply, move))
        return found

    def _move(self, update: Update, reply: Message) -> Floats:
        """What of an update is aggregated: its values (K,), or its replayed move (n,)."""
        if self._round.kind == "sums":
            return update.values
        shapes, node = slot_shapes(self.manifest), reply.metadata.src_node_id
        return journal_move(update, self._start, self._round, node, shapes)

    def _near(self, found: list[tuple[Message, Floats]]) -> list[tuple[Message, Floats]]:
        """Without the updates that are far larger than the others."""
        norms = [float(np.linalg.norm(move)) for _, move in found]
        most = self.far * float(np.median(norms)) if len(norms) >= LEAST_COMPARED else np.inf
        for (reply, _), norm in zip(found, norms, strict=True):
            if norm > most:
                self._refuse(reply, f"its norm is {norm:.3g}, this round's limit is {most:.3g}")
        return [pair for pair, norm in zip(found, norms, strict=True) if norm <= most]

    def _refuse(self, reply: Message, why: str) -> None:
        node = reply.metadata.src_node_id
        log(
            WARNING,
            "round %d: client %d is left out: %s.",
            self._round.number,
            node,
            why.strip("."),
        )


def _array(name: str, numbers: Floats) -> ArrayRecord:
    return ArrayRecord({name: Array(np.ascontiguousarray(numbers))})
