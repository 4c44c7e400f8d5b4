"""What is settled before the first step: who learns from which examples, how, and at what price."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from dsa_edge.errors import PrivacyError
from dsa_edge.gate import Gate
from dsa_edge.runtime._accounting import noise_for, spent
from dsa_edge.runtime._check_rates import checked
from dsa_edge.runtime._engine import Floats, Ints
from dsa_edge.runtime._explorer import Explorer
from dsa_edge.runtime._objective import Objective
from dsa_edge.runtime._optimizer import Hyperparameters, Step
from dsa_edge.runtime._pace import Pace
from dsa_edge.runtime._privacy import Mechanism, Privacy, Spent, check_covered
from dsa_edge.runtime._private_trainer import PrivateTrainer
from dsa_edge.runtime._random import order
from dsa_edge.runtime._records import DAMAGED, Run
from dsa_edge.runtime._report import Progress
from dsa_edge.runtime._trainer import Outcome, Trainer, hold_out

__all__ = ["Course", "OpenCourse", "PrivateCourse"]

TRIED = 2**35  # an epoch number that no run reaches
HELD_OUT_ONE_IN = 8  # examples, under privacy
LEAST_HELD_OUT = 4  # with fewer, a noised verdict says nothing


class Course(Protocol):
    """One way to run a fit."""

    hyper: Hyperparameters
    train: Ints
    held_out: Ints
    notes: tuple[str, ...]
    explorer: Explorer | None

    def spent(self, steps: int) -> Spent | None:
        """The privacy that so many steps take; None where nothing is promised."""
        ...

    def run(
        self, adapter: Floats, record: Callable[[Step], None],
        on_step: Callable[[Progress], object], pace: Pace,
    ) -> Outcome:  # fmt: skip
        """Learn from an adapter (n,)."""
        ...


class OpenCourse:
    """Examples are read freely; the radius and the rate are tried on some of them.

    gate: in use at the start, where there are several blocks.
    """

    def __init__(
        self, objective: Objective, adapter: Floats, hyper: Hyperparameters, seed: int,
        gate: Gate | None = None,
    ) -> None:  # fmt: skip
        self._objective, self._seed = objective, seed
        self.train, self.held_out = hold_out(len(objective), seed)
        tried = self.train[order(seed, TRIED, len(self.train))][: hyper.batch]
        self.hyper, self.notes = checked(objective, tried, adapter, hyper, seed)
        self.explorer: Explorer | None = None
        if gate is not None and self.hyper.learns_gate:
            self.explorer = Explorer(objective, self.train, gate, self.hyper, seed)

    def spent(self, steps: int) -> None:
        """Nothing is promised."""

    def run(
        self, adapter: Floats, record: Callable[[Step], None],
        on_step: Callable[[Progress], object], pace: Pace,
    ) -> Outcome:  # fmt: skip
        """Learn from an adapter (n,)."""
        trainer = Trainer(
            self._objective,
            self.train,
            self.held_out,
            self.hyper,
            self._seed,
            record,
            on_step,
            pace,
            self.explorer,
        )
        return trainer.run(adapter)


class PrivateCourse:
    """What one example may reveal is bounded, over all fits of the store.

    ids: of the examples. Each is learned from or held out by its id alone, in every fit alike, so
    what the two parts reveal does not add up. earlier: fits of the store.
    Raises PrivacyError when the guarantee cannot be kept.
    """

    notes: tuple[str, ...] = ()
    explorer: Explorer | None = None

    def __init__(
        self, objective: Objective, ids: Sequence[str], hyper: Hyperparameters, seed: int,
        privacy: Privacy, steps: int, earlier: Sequence[Run],
    ) -> None:  # fmt: skip
        check_covered(hyper)
        _check(privacy, ids, earlier)
        self._objective, self._seed, self._privacy = objective, seed, privacy
        apart = np.array([int(key, 16) % HELD_OUT_ONE_IN == 0 for key in ids])
        self.train, self.held_out = np.flatnonzero(~apart), np.flatnonzero(apart)
        if len(self.held_out) < LEAST_HELD_OUT:
            raise PrivacyError(
                f"{len(ids)} examples are too few to learn from with a guarantee: give some "
                f"hundreds, or at least {4 * LEAST_HELD_OUT * HELD_OUT_ONE_IN}."
            )
        batch = min(privacy.batch, len(self.train))
        # An example's slopes are clipped as one vector, whichever blocks serve it.
        self.hyper = replace(hyper, batch=batch, slopes="batch")
        self._share = batch / len(self.train)
        self._before = [run.privacy for run in earlier if run.privacy]
        self._noise = noise_for(privacy, self._share, steps, self._before)
        self._verdict = privacy.epsilon - sum(fit.verdict for fit in self._before)

    def spent(self, steps: int) -> Spent:
        """The privacy that so many steps take, and what is spent with them."""
        delta = self._privacy.delta
        own = Spent(self._noise, self._share, steps, self._verdict, 0.0, delta)
        return replace(own, epsilon=spent([*self._before, own], delta))

    def run(
        self, adapter: Floats, record: Callable[[Step], None],
        on_step: Callable[[Progress], object], pace: Pace,
    ) -> Outcome:  # fmt: skip
        """Learn from an adapter (n,)."""
        trainer = PrivateTrainer(
            self._objective, self.train, self.held_out, self.hyper,
            Mechanism(self._noise, self.hyper.batch), self._verdict, self._seed,
            record, on_step, pace,
        )  # fmt: skip
        return trainer.run(adapter)


def _check(privacy: Privacy, ids: Sequence[str], earlier: Sequence[Run]) -> None:
    """Refuse what would be no guarantee, whatever the noise."""
    damaged = [run.id for run in earlier if run.verdict == DAMAGED]
    if damaged:
        raise PrivacyError(
            f"fit {', '.join(map(str, damaged))} of this store is damaged, so what it spent is not "
            "known: restore the store from a backup, or `forget` and begin again."
        )
    if privacy.delta >= 1 / len(ids):
        raise PrivacyError(
            f"delta is {privacy.delta:g} for {len(ids)} examples, expected less than 1 / examples: "
            f"take {0.1 / len(ids):.0e} or less."
        )
    open_ids = {key for run in earlier if run.privacy is None for key in run.examples}
    known = len(open_ids & set(ids))
    if known:
        raise PrivacyError(
            f"{known} of these examples were learned from without privacy before: `forget` those "
            "fits first, or use another store."
        )
