"""What a fit will take, told before it is run: memory and time from a trial on a few examples.

Formulas of an engine's memory are wrong by what its allocator does; a trial is not. It runs the
longest examples and some others through the same calls as a fit; the rest is proportion.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from dsa_edge.manifest import Manifest
from dsa_edge.runtime._cache import cache_size
from dsa_edge.runtime._encode import Encoded
from dsa_edge.runtime._engine import Engine, Floats, Ints
from dsa_edge.runtime._exact import exact_gradient
from dsa_edge.runtime._memory import peak_mb
from dsa_edge.runtime._objective import Objective, items_of
from dsa_edge.runtime._optimizer import Hyperparameters, State, Step, update
from dsa_edge.runtime._plan import MB
from dsa_edge.runtime._random import order
from dsa_edge.runtime._trainer import CHECKS, hold_out
from dsa_edge.runtime.estimators import Exact

__all__ = ["Plan", "Timing", "Trial", "trial_set"]

LONGEST, OTHERS = 8, 64  # examples of a trial
TIMED = 4  # steps of a trial, after one that loads the method
LOOKED = 512  # examples that are looked at in a trial, the same ones again where there are fewer
CHECKED = 0.15  # of a step: the rate that is tried before the first one


@dataclass(frozen=True)
class Plan:
    """What a fit that improves and does not end early will take, memory within a tenth.

    peak_mb: of the whole process. disk_mb: added on disk at most, `spill_mb` of it only meanwhile;
    disk_bound_mb: what a budget must allow, whatever the data turn out to be.
    seconds: of the whole fit; prefill_seconds: until the first step; step_seconds: each.
    steps, examples: that the budget has room for. tokens: of prompts and responses.
    """

    peak_mb: float
    disk_mb: float
    disk_bound_mb: float
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
        cls, examples: Sequence[Encoded], count: int,
        cached: Callable[[Sequence[Encoded]], Objective], engine: Engine, adapter: Floats,
        hyper: Hyperparameters,
    ) -> Trial:  # fmt: skip
        """Cache some examples, the longest first, and take a few steps on them.

        count: examples of the fit. cached: makes its objective, all of it in memory.
        """
        manifest = engine.bundle.manifest
        load = _seconds(lambda: cached(examples[:2]))
        began = time.perf_counter()
        objective = cached(examples)
        token = (time.perf_counter() - began) / _tokens(manifest, examples)
        load = max(0.0, load - token * _tokens(manifest, examples[:2]))
        engine.release("prefill")
        first, *times = (
            _seconds(partial(_step, objective, batch, adapter, hyper))
            for batch in _batches(len(examples), min(count, hyper.batch))
        )
        looked = np.resize(np.arange(len(examples)), min(count, LOOKED))
        look = _seconds(lambda: objective(looked, adapter[None])) / len(looked)
        peak = peak_mb() - objective.memory / MB
        return cls(load, token, first, float(np.median(times)), look, peak)


@dataclass(frozen=True)
class Timing:
    """How long a fit takes on so many examples, of so many tokens.

    asked: steps of the budget, which say how often the held-out examples are looked at.
    steps: that there is time for.
    """

    trial: Trial
    examples: int
    tokens: int
    asked: int
    steps: int
    seed: int

    def within(self, seconds: float, share: float) -> Timing:
        """What there is time for, a share of it for caching prompts."""
        trial = self.trial
        part = max(0.0, share * seconds - trial.load) / (trial.token * self.tokens)
        count = max(1, int(min(1.0, part) * self.examples))
        cut = replace(self, examples=count, tokens=self.tokens * count // self.examples)
        steps = int(max(0.0, seconds - cut.until_first_step) / cut.a_step)
        return replace(cut, steps=min(self.steps, steps))

    @property
    def until_first_step(self) -> float:
        """Seconds of a fit until its first step."""
        trial, (train, held_out) = self.trial, hold_out(self.examples, self.seed)
        looks = (len(train) + 2 * len(held_out)) * trial.look
        return trial.load + trial.token * self.tokens + trial.first + CHECKED * trial.step + looks

    @property
    def a_step(self) -> float:
        """Seconds of a step, with its share of the looks at the held-out examples."""
        held_out = len(hold_out(self.examples, self.seed)[1])
        return self.trial.step + held_out * self.trial.look / max(1, self.asked // CHECKS)


def trial_set(
    examples: Sequence[Encoded], seed: int, manifest: Manifest, room: int
) -> list[Encoded]:
    """The longest examples, which decide memory, and some others, which decide time.

    The second one sees to it that they all begin alike no longer than all examples do.
    room: bytes that their prompt caches may take; two examples are always there.
    """
    by_length = sorted(examples, key=lambda e: -max(len(i.prompt) + len(i.tail) for i in e.items))
    odd = _oddest(by_length)
    by_length = [by_length[0], *by_length[odd : odd + 1], *by_length[1:odd], *by_length[odd + 1 :]]
    longest, others = by_length[:LONGEST], by_length[LONGEST:]
    chosen = longest + [others[i] for i in order(seed, 0, len(others))[:OTHERS]]
    while len(chosen) > 2 and cache_size(manifest, items_of(chosen))[0] > room:
        chosen.pop()
    return chosen


def _oddest(examples: Sequence[Encoded]) -> int:
    """Which one, but for the first, begins like the first for the fewest tokens; 1 if alone."""
    prompts = [example.items[0].prompt for example in examples]
    return 1 + int(np.argmin([_alike(prompts[0], other) for other in prompts[1:]] or [0]))


def _alike(one: Ints, other: Ints) -> int:
    """Tokens that two prompts begin with, the last one of each aside."""
    most = min(len(one), len(other)) - 1
    differing = np.flatnonzero(one[:most] != other[:most])
    return int(differing[0]) if differing.size else most


def _batches(known: int, size: int) -> list[Ints]:
    """Indices of the steps of a trial: the longest examples, then others as they come."""
    usual = np.arange(LONGEST if known > LONGEST else 0, known)
    rest = np.resize(usual, (TIMED, size))
    return [np.resize(np.arange(known), size), *rest]


def _step(objective: Objective, batch: Ints, adapter: Floats, hyper: Hyperparameters) -> None:
    state = State(adapter, shapes=objective.shapes, blocks=objective.blocks)
    estimator = state.estimator(0, hyper)
    if isinstance(estimator, Exact):
        exact_gradient(objective, batch, adapter, hyper.smoothing)
    for block in () if isinstance(estimator, Exact) else estimator.blocks(adapter, 0):
        objective(batch, block)
    update(state, 0, hyper, Step(hyper.rate, np.ones(estimator.width, dtype=np.float32)))


def _tokens(manifest: Manifest, examples: Sequence[Encoded]) -> int:
    return cache_size(manifest, items_of(examples))[1]


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began
