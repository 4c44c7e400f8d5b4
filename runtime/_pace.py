"""How far a run is, by steps or by time; pauses do not count."""

from __future__ import annotations

import time
from collections.abc import Callable

from dsa_edge.runtime._plan import Budget

__all__ = ["Pace"]


class Pace:
    """The clock of one fit.

    steps: at most. wait: returns the seconds that it paused for, at once where nothing asks for it.
    """

    def __init__(self, steps: int, budget: Budget, wait: Callable[[], float] = lambda: 0.0) -> None:
        self.steps, self.seconds, self._wait = steps, budget.seconds, wait
        self._started = time.perf_counter()
        self._first = 0.0  # seconds of the fit before its first step

    def pause(self) -> None:
        """Wait until the device may go on."""
        self._started += self._wait()

    def begin(self) -> None:
        """The first step comes next: it and those after it share the time that is left."""
        self._first = self.elapsed()

    def progress(self, index: int) -> float:
        """Share of the run that is over before a step: 1 when it may not begin."""
        if self.seconds is None:
            return index / self.steps
        left = self.seconds - self._first
        spent = (self.elapsed() - self._first) / left if left > 0 else 1.0
        return max(index / self.steps, spent)

    def elapsed(self) -> float:
        """Seconds of work since the fit began."""
        return time.perf_counter() - self._started

    def deadline(self, share: float) -> float | None:
        """The `perf_counter` at which a share of the time is over; None without a bound."""
        return None if self.seconds is None else self._started + share * self.seconds
