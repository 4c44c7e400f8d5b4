"""Private fits whose noise can be foretold, as in runtime/native/learn/tests/known_private.h."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
from known_engine import Content, Known

from dsa_edge.runtime._engine import Floats
from dsa_edge.runtime._hyperparameters import Hyperparameters
from dsa_edge.runtime._pace import Pace
from dsa_edge.runtime._plan import Budget
from dsa_edge.runtime._privacy import Mechanism, Spent
from dsa_edge.runtime._private_trainer import PrivateTrainer
from dsa_edge.runtime._random import PERTURB, words
from dsa_edge.runtime._store import Store
from dsa_edge.runtime._trainer import Outcome
from dsa_edge.runtime.estimators import Shapes

DRAWN = 2**17  # bytes, more than any of these fits takes
VERDICT = 2.0


class KnownSource(random.SystemRandom):
    """The system's random numbers, made of other bytes."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._bytes = (words(seed, 0, 0, PERTURB, DRAWN) & np.uint64(255)).astype(np.uint8)
        self._at = 0

    def _next(self, count: int) -> int:
        self._at += count
        assert self._at <= DRAWN
        return int.from_bytes(self._bytes[self._at - count : self._at].tobytes(), "big")

    def random(self) -> float:
        return (self._next(7) >> 3) * 2**-53

    def getrandbits(self, k: int) -> int:
        count = (k + 7) // 8
        return self._next(count) >> (8 * count - k)


def private_fit(
    store: Store, examples: Sequence[Content], theta: Floats, hyper: Hyperparameters, steps: int,
    seed: int, noise: float, shapes: Shapes = (), blocks: int = 1,
) -> Outcome:  # fmt: skip
    """The first two of each seven examples are held out."""
    objective = Known(examples, theta, shapes, blocks)
    objective.bias = np.zeros(len(objective.choices), np.float32) if objective.choices else None
    apart = np.arange(len(examples)) % 7 < 2
    train, held_out = np.flatnonzero(~apart), np.flatnonzero(apart)
    hyper = replace(hyper, slopes="batch")
    spent = Spent(noise, hyper.batch / len(train), steps, VERDICT, 3.0, 1e-4)
    run = store.start_run(0, seed, asdict(hyper), (), spent, hyper.queries)
    trainer = PrivateTrainer(
        objective, train, held_out, hyper, Mechanism(noise, hyper.batch, source=KnownSource(seed)),
        VERDICT, seed, lambda step: store.append(run, step), lambda _: None,
        Pace(steps, Budget()),
    )  # fmt: skip
    outcome = trainer.run(theta)
    store.end_run(run, outcome.verdict, spent=spent)
    return outcome
