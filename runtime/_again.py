"""Fits again and again from the initial adapter, each judged on the same other examples."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dsa_edge.bundle import Bundle
from dsa_edge.errors import ExampleError
from dsa_edge.examples import Example
from dsa_edge.runtime._backend import open_engine
from dsa_edge.runtime._encode import Encoded, learnable
from dsa_edge.runtime._hyperparameters import Hyperparameters
from dsa_edge.runtime._objective import Objective
from dsa_edge.runtime._personalizer import Personalizer
from dsa_edge.runtime._plan import Budget
from dsa_edge.runtime._random import order
from dsa_edge.runtime._report import Evaluation, Progress
from dsa_edge.runtime._store import Store

__all__ = ["Again", "Parted", "parted"]

JUDGED = 2**36  # an epoch number that no run reaches
JUDGED_SHARE, JUDGED_MOST = 0.25, 128  # of the examples; so many are evaluated in one go
LEAST = 16  # examples, a quarter of which judges
KEPT = 2  # sets of cached prompts: those to learn from, and those that judge


@dataclass(frozen=True)
class Parted:
    """Examples to learn from, and others that judge what was learned."""

    learned: tuple[Example, ...]
    judged: tuple[Example, ...]

    @property
    def choices(self) -> bool:
        """Whether all of them have choices."""
        return all(example.choices for example in (*self.learned, *self.judged))


def parted(examples: Sequence[Example], seed: int) -> Parted:
    """A quarter of the examples judges; raises ExampleError where that is too little."""
    usable = learnable(examples)
    if len(usable) < LEAST:
        raise ExampleError(
            f"{len(usable)} examples were given, expected at least {LEAST}, a quarter of which "
            "judges what was learned from the others: give more."
        )
    shuffled = order(seed, JUDGED, len(usable))
    judged = min(int(len(usable) * JUDGED_SHARE), JUDGED_MOST)
    return Parted(
        tuple(usable[i] for i in shuffled[judged:]), tuple(usable[i] for i in shuffled[:judged])
    )


class Again(Personalizer):
    """A personalizer in memory whose fits all begin anew, on prompts that are run once."""

    @classmethod
    def in_memory(
        cls, bundle: str | Path, backend: str = "auto", threads: int | None = None
    ) -> Again:
        """Open a bundle without a store; raises as `Personalizer.open`."""
        opened = Bundle.open(bundle)
        return cls(open_engine(opened, backend, threads, None), Store(None, opened.identity, None))

    def judge(
        self, part: Parted, steps: int, hyper: Hyperparameters, seed: int,
        on_step: Callable[[Progress], object] = lambda _: None,
    ) -> Evaluation:  # fmt: skip
        """Learn from the one part and measure on the other."""
        self.rollback(0)
        self.fit(part.learned, Budget(steps=steps), on_step, hyper, seed)
        return self.evaluate(part.judged)[0]

    def untaught(self, part: Parted) -> Evaluation:
        """The initial adapter on the part that judges."""
        return self.evaluate(part.judged, [0])[0]

    def _objective(
        self,
        encoded: Sequence[Encoded],
        budget: Budget,
        on_prefill: Callable[[int], object] | None = None,
        deadline: float | None = None,
        growth: int = 0,
        group: int | None = None,
    ) -> Objective:
        kept: OrderedDict[object, Objective] = self.__dict__.setdefault("_kept", OrderedDict())
        key = group, tuple(map(_key, encoded))
        if key not in kept:
            kept[key] = super()._objective(encoded, budget, on_prefill, deadline, growth, group)
        kept.move_to_end(key)
        while len(kept) > KEPT:
            kept.popitem(last=False)
        return kept[key]


def _key(example: Encoded) -> object:
    """What makes two encoded examples the same."""
    parts = [(i.prompt.tobytes(), i.tail.tobytes(), i.targets.tobytes()) for i in example.items]
    return tuple(parts), example.answer, example.tokens, example.choices
