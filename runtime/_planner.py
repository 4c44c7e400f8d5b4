"""What a fit will take, told before it is run: memory and time from a trial on a few examples.

Formulas of an engine's memory are wrong by what its allocator does; a trial is not. It runs the
longest examples and some others through the same calls as a fit; the rest is proportion.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dsa_edge.runtime._cache import cache_size
from dsa_edge.runtime._encode import Encoded
from dsa_edge.runtime._engine import Engine, Floats, Ints
from dsa_edge.runtime._memory import peak_mb
from dsa_edge.runtime._objective import Objective, items_of
from dsa_edge.runtime._optimizer import Hyperparameters, State, Step, lanes, update
from dsa_edge.runtime._plan import MB
from dsa_edge.runtime._random import order
from dsa_edge.runtime._trainer import CHECKS, hold_out

__all__ = ["Plan", "Trial", "trial_set"]

LONGEST, OTHERS = 8, 64  # examples of a trial
TRIED = 3  # steps of a trial; the first one loads the method
CHECKED = 2  # steps' worth of probing for the radius and the rate


@dataclass(frozen=True)
class Plan:
    """What a fit will take, within about a tenth.

    peak_mb: of the whole process. disk_mb: added on disk at most, `spill_mb` of it only meanwhile.
    seconds: of the whole fit; prefill_seconds: until the first step; step_seconds: each.
    steps: that the budget has room for. tokens: of prompts.
    """

    peak_mb: float
    disk_mb: float
    spill_mb: float
    seconds: float
    prefill_seconds: float
    step_seconds: float
    steps: int
    examples: int
    tokens: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trial:
    """What a few examples took.

    load: seconds until the first prompt was there. token: seconds a prompt token.
    first, step: seconds of the first step and of others. look: seconds an example of one lane.
    peak: MB, without the prompt cache.
    """

    load: float
    token: float
    first: float
    step: float
    look: float
    peak: float

    @classmethod
    def run(
        cls, examples: Sequence[Encoded], cached: Callable[[Sequence[Encoded]], Objective],
        engine: Engine, adapter: Floats, hyper: Hyperparameters,
    ) -> Trial:  # fmt: skip
        """Cache some examples and take a few steps on them.

        cached: makes the objective of a fit.
        """
        load = _seconds(lambda: cached(examples[:1]))
        objective, began = list[Objective](), time.perf_counter()
        objective.append(cached(examples))
        token = (time.perf_counter() - began) / _tokens(engine, examples)
        engine.release("prefill")
        batch = np.arange(min(hyper.batch, len(examples)))
        times = [_seconds(lambda: _step(objective[0], batch, adapter, hyper)) for _ in range(TRIED)]
        everything = np.arange(len(examples))
        look = _seconds(lambda: objective[0](everything, adapter[None])) / len(examples)
        peak = peak_mb() - objective[0].memory / MB
        return cls(load, token, times[0], float(np.median(times[1:])), look, peak)

    def until_first_step(self, tokens: int, examples: int, seed: int) -> float:
        """Seconds of a fit until its first step."""
        train, held_out = hold_out(examples, seed)
        looks = (len(train) + 2 * len(held_out)) * self.look
        return self.load + self.token * tokens + self.first + CHECKED * self.step + looks

    def a_step(self, examples: int, steps: int, seed: int) -> float:
        """Seconds of a step, with its share of the looks at the held-out examples."""
        looks = min(CHECKS, steps) * len(hold_out(examples, seed)[1])
        return self.step + looks * self.look / steps


def trial_set(examples: Sequence[Encoded], seed: int) -> list[Encoded]:
    """The longest examples, which decide memory, and some others, which decide time."""
    by_length = sorted(examples, key=lambda e: -max(len(i.prompt) + len(i.tail) for i in e.items))
    longest, others = by_length[:LONGEST], by_length[LONGEST:]
    return longest + [others[i] for i in order(seed, 0, len(others))[:OTHERS]]


def _step(objective: Objective, batch: Ints, adapter: Floats, hyper: Hyperparameters) -> None:
    state = State(adapter)
    objective(batch, lanes(state, 0, hyper))
    slopes = np.ones(hyper.queries, dtype=np.float32)
    update(state, 0, hyper, Step(hyper.rate, slopes))


def _tokens(engine: Engine, examples: Sequence[Encoded]) -> int:
    return cache_size(engine.bundle.manifest, items_of(examples))[1]


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began
