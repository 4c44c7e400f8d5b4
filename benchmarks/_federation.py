"""Populations for `federated.py`, and clients that drop out, are late, send garbage or poison."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from _people import Person
from flwr.app import ConfigRecord, Context, Message

from dsa_edge.runtime import SharedBase
from dsa_edge.runtime.federated import Limits, client_app

__all__ = ["FAULTS", "Faults", "crowd"]

Answering = Callable[[Message, Context], Message | None]
AMONG = 2.5  # times an honest update's size: as large as passes for ordinary


@dataclass(frozen=True)
class Faults:
    """Shares: of messages that are lost or late, of clients that send garbage or poison."""

    lost: float = 0.0
    late: float = 0.0
    garbage: float = 0.0
    poison: float = 0.0


# What can go wrong, row by row.
FAULTS = {
    "honest": Faults(),
    "faulty": Faults(lost=0.1, late=0.1, garbage=0.05),
    "poisoned": Faults(lost=0.1, late=0.1, garbage=0.05, poison=0.1),
}


def crowd(
    base: SharedBase, people: Sequence[Person], faults: Faults, rounds: int, seed: int
) -> list[Answering]:
    """A client for each person; the first ones send poison, the next ones garbage."""
    honest = client_app(
        lambda context: (base, people[int(str(context.node_config["partition-id"]))].learn),
        Limits(rounds=rounds),
    )
    poisoned, bad = (round(len(people) * share) for share in (faults.poison, faults.garbage))
    answers: list[Answering] = [_turned(honest)] * poisoned + [_garbled(honest, seed)] * bad
    answers += [honest] * (len(people) - len(answers))
    random.Random(seed).shuffle(answers)
    draw = random.Random(seed)
    return [_unsteady(answer, faults, draw) for answer in answers]


def _unsteady(answer: Answering, faults: Faults, draw: random.Random) -> Answering:
    """One that may not hear of a round, or answer when it is over."""

    def answered(message: Message, context: Context) -> Message | None:
        if draw.random() < faults.lost:
            return None
        reply = answer(message, context)
        return None if draw.random() < faults.late else reply

    return answered


def _changed(
    honest: Answering, change: Callable[[ConfigRecord], object]
) -> Answering:  # fmt: skip
    def answered(message: Message, context: Context) -> Message | None:
        reply = honest(message, context)
        if reply is not None and reply.has_content():
            change(reply.content.config_records["update"])
        return reply

    return answered


def _turned(honest: Answering) -> Answering:
    """Poison: an honest update backwards, as large as passes for ordinary."""

    def turn(record: ConfigRecord) -> None:
        values = np.frombuffer(_bytes(record), "<i2").astype(np.float64)
        record["values"] = np.clip(-AMONG * values, -32767, 32767).astype("<i2").tobytes()

    return _changed(honest, turn)


def _garbled(honest: Answering, seed: int) -> Answering:
    """Garbage: by turns cut short, of another bundle, floats that are no numbers, noise."""
    draw = np.random.default_rng(seed)

    def garble(record: ConfigRecord) -> None:
        size = len(_bytes(record))
        wrong = [
            {"values": _bytes(record)[:-1]},
            {"bundle": "f" * 16},
            {"values": np.full(size // 2, np.nan, np.float32).tobytes()},
            {"values": draw.integers(-32767, 32767, size // 2).astype("<i2").tobytes()},
        ]
        record.update(wrong[draw.integers(len(wrong))])  # type: ignore[arg-type]

    return _changed(honest, garble)


def _bytes(record: ConfigRecord) -> bytes:
    values = record["values"]
    assert isinstance(values, bytes)
    return values
