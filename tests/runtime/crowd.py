"""Users of a federation: their texts, their clients, and what a start is worth to others."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from stub import StubEngine

from dsa_edge.adapter import Adapter
from dsa_edge.runtime import Example, SharedBase
from dsa_edge.runtime._engine import Floats
from dsa_edge.runtime.federated import Round

WORDS = ("the", "quiet", "baker", "opens", "early", "and", "sells", "warm", "bread", "rain")
CHOICES = (" a", " b")
UNSEEN = 1000  # numbers of users from here on take part in no round


def user(number: int, count: int = 16) -> list[Example]:
    """What one user wrote: the right choice hangs on the last word, alike for all users."""
    draw = random.Random(number)
    picked = [draw.randrange(len(WORDS)) for _ in range(count - 2)] + [0, 1]
    texts = [f"user {number} says {WORDS[i]}" for i in picked]
    return [Example(text, CHOICES[i % 2], CHOICES) for text, i in zip(texts, picked, strict=True)]


def stub_base(bundle: Path, broken: bool = False) -> SharedBase:
    return SharedBase(StubEngine(bundle, broken))


def asked_of(base: SharedBase, kind: str = "sums", steps: int = 8) -> Round:
    """A round whose rate suits the stub's slopes, which are larger than a model's."""
    made = Round.suited(base.bundle.identity, kind)
    rate = {"sums": 0.003, "journals": 0.01}[kind]
    return replace(made, steps=steps, rate=rate, clip=20.0)


def clients(base: SharedBase, count: int, **options: Any) -> list[Any]:
    from dsa_edge.runtime.federated import client_app

    return [client_app(lambda context: (base, user(context.node_id)), **options)] * count


def unseen_loss(base: SharedBase, start: Floats) -> float:
    """Nats of a start on users that took part in no round."""
    with base.user(None) as me:
        me.use_adapter(Adapter(start))
        return me.evaluate([e for number in range(5) for e in user(UNSEEN + number)])[0].loss
