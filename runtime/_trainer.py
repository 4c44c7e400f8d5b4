"""One fit: hold examples out, step, watch the held-out loss, keep the best, give a verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from dsa_edge.runtime._calibration import Calibration, centred_slopes
from dsa_edge.runtime._engine import Floats, Ints
from dsa_edge.runtime._objective import Objective, Scores
from dsa_edge.runtime._optimizer import Hyperparameters, State, Step, lanes, scalars, update
from dsa_edge.runtime._plan import Budget
from dsa_edge.runtime._random import order
from dsa_edge.runtime._report import Evaluation, Progress

__all__ = ["Outcome", "Trainer", "evaluation", "hold_out"]

HELD_OUT_SHARE, HELD_OUT_MOST = 0.125, 64  # of the examples; more would slow steps, not verdicts
CHECKS = 12  # times a run looks at the held-out examples
PATIENCE = 6  # looks in a row clearly worse than the best, after which a run ends early
DIVERGED = 2.0  # held-out loss over the one at the start, at which a run is stopped


@dataclass
class Outcome:
    """What a run came to: the best adapter (n,) after `kept` steps, and how it compares.

    bias: (K,) label biases that belong to it, None without choices.
    before: held-out examples with the adapter that was active; calibrated: the same with label
    biases fitted; after: with the best adapter and its biases, or as before if nothing improved.
    """

    verdict: str
    adapter: Floats
    bias: Floats | None
    kept: int
    before: Evaluation
    calibrated: Evaluation
    after: Evaluation
    steps: int
    tokens: int
    step_seconds: float
    curve: list[Progress] = field(default_factory=list)


@dataclass
class _Look:
    scores: Scores
    adapter: Floats
    kept: int
    bias: Floats | None


class _Looks:
    """Which of the looks at the held-out examples to keep.

    The best one may owe its loss to luck, and the last one has seen most: the latest that is no
    worse than the best within one standard error is kept (Breiman et al. 1984, section 3.4.3).
    """

    def __init__(self, start: _Look) -> None:
        self._start = self._best = self._latest = start
        self.worse = 0  # looks in a row that were clearly worse than the best

    def add(self, look: _Look) -> None:
        if _mean(look.scores) < _mean(self._best.scores):
            self._best = look
        clearly = _better(look.scores, self._best.scores)
        self.worse = self.worse + 1 if clearly else 0
        if not clearly:
            self._latest = look

    def verdict(self, before: Scores) -> _Look | None:
        """The look to keep, if it beats both the start and what was there before."""
        for look in (self._latest, self._best):
            gained = _better(self._start.scores, look.scores)
            if gained and _mean(look.scores) < _mean(before):
                return look
        return None


class Trainer:
    """Runs zeroth-order steps on an objective.

    train, held_out: example indices; where none can be held out they are the same.
    record: called with each step before the next begins. started: `perf_counter` of the fit.
    """

    def __init__(
        self,
        objective: Objective,
        train: Ints,
        held_out: Ints,
        hyper: Hyperparameters,
        seed: int,
        record: Callable[[Step], None],
        on_step: Callable[[Progress], object],
        started: float,
    ) -> None:
        self.objective, self.train, self.held_out = objective, train, held_out
        self.hyper, self.seed = hyper, seed
        self._record, self._on_step, self._started = record, on_step, started
        self._tokens = 0
        choices = len(objective.choices)
        self._calibration = Calibration(choices) if choices else None

    def run(self, adapter: Floats, steps: int, budget: Budget) -> Outcome:
        """Learn from `adapter` (n,) for at most `steps` steps and within the budget's time."""
        state = State(adapter)
        before, old_bias = self._check(state), self.objective.bias
        self._calibrate(adapter)
        start = self._check(state)
        looks = _Looks(_Look(start, state.theta, 0, self.objective.bias))
        batches, curve, times = self._batches(), list[Progress](), list[float]()
        verdict = None
        for index in range(steps):
            began = time.perf_counter()
            progress = self._progress(index, steps, budget)
            if progress >= 1:
                break
            loss = self._step(state, next(batches), progress)
            times.append(time.perf_counter() - began)
            event = Progress(state.step, loss, self._elapsed(), self._tokens)
            if self._due(index, steps, budget):
                scores = self._check(state)
                event = self._with(event, scores)
                looks.add(_Look(scores, state.theta, state.step, self.objective.bias))
                if not _mean(scores) < max(DIVERGED * _mean(start), _mean(start) + 1):
                    verdict = "diverged"
            curve.append(event)
            self._on_step(event)
            if verdict or looks.worse >= PATIENCE:
                break
        kept = looks.verdict(before)
        if verdict or kept is None:
            kept, verdict = _Look(before, adapter, 0, old_bias), verdict or "no improvement"
        return Outcome(
            verdict or "improved", kept.adapter, kept.bias, kept.kept,
            _summary(before), _summary(start), _summary(kept.scores), state.step, self._tokens,
            float(np.median(times)) if times else 0.0, curve,
        )  # fmt: skip

    def _calibrate(self, adapter: Floats) -> None:
        """Fit the label biases of the adapter that the run starts from."""
        if self._calibration is None:
            return
        scores = self.objective.choice_scores(self.train, adapter[None])[0]
        self._tokens += self.objective.tokens(self.train)
        self._calibration.observe(scores, self.objective.answers[self.train])
        self.objective.bias = self._calibration.bias

    def _step(self, state: State, batch: Ints, progress: float) -> float:
        """One zeroth-order step; returns the mean loss of its lanes."""
        copies = lanes(state, self.seed, self.hyper)
        self._tokens += len(copies) * self.objective.tokens(batch)
        slopes, loss = self._measure(batch, copies)
        step = Step(float(np.float32(self.hyper.rate_at(progress))), slopes)
        self._record(step)
        update(state, self.seed, self.hyper, step)
        return loss

    def _measure(self, batch: Ints, copies: Floats) -> tuple[Floats, float]:
        """Scalars c (q,) and the mean loss of lanes (2q, n) on a batch."""
        if self._calibration is None:
            losses = self.objective(batch, copies).losses
            return scalars(losses, self.hyper), float(losses.mean())
        raw = self.objective.choice_scores(batch, copies)
        answers = self.objective.answers[batch]
        hyper = self.hyper
        slopes = centred_slopes(
            self.objective.calibrated(raw), answers, hyper.epsilon, hyper.smoothing
        )
        loss = float(self.objective.scored(batch, raw).losses.mean())
        self._calibration.observe(raw.mean(0), answers)
        self.objective.bias = self._calibration.bias
        return slopes, loss

    def _check(self, state: State) -> Scores:
        self._tokens += self.objective.tokens(self.held_out)
        return self.objective(self.held_out, state.theta[None])

    def _with(self, event: Progress, scores: Scores) -> Progress:
        result = _summary(scores)
        return Progress(
            event.step, event.loss, self._elapsed(), self._tokens, result.loss, result.accuracy
        )

    def _due(self, index: int, steps: int, budget: Budget) -> bool:
        last = index + 1 == steps or self._progress(index + 1, steps, budget) >= 1
        return last or (index + 1) % self._every(steps) == 0

    @staticmethod
    def _every(steps: int) -> int:
        """Steps between two looks at the held-out examples."""
        return max(1, steps // CHECKS)

    def _progress(self, index: int, steps: int, budget: Budget) -> float:
        spent = self._elapsed() / budget.seconds if budget.seconds else 0.0
        return max(index / steps, spent)

    def _elapsed(self) -> float:
        return time.perf_counter() - self._started

    def _batches(self) -> Iterator[Ints]:
        """Shuffled passes over the training examples; fewer than a batch are all used."""
        size, epoch = min(self.hyper.batch, len(self.train)), 0
        while True:
            shuffled = self._shuffled(epoch)
            for start in range(0, len(shuffled) - size + 1, size):
                yield shuffled[start : start + size]
            epoch += 1

    def _shuffled(self, epoch: int) -> Ints:
        """The training examples in random order, every stretch with each label's share."""
        shuffled = self.train[order(self.seed, epoch, len(self.train))]
        if self._calibration is None:
            return shuffled
        answers = self.objective.answers[shuffled]
        place = np.empty(len(shuffled))
        for answer in np.unique(answers):
            same = answers == answer
            place[same] = (np.arange(same.sum()) + 0.5) / same.sum()
        return shuffled[np.argsort(place, kind="stable")]


def hold_out(count: int, seed: int) -> tuple[Ints, Ints]:
    """Split example indices into training and held-out ones; too few are used for both."""
    shuffled = order(seed, 2**32, count)  # an epoch number that no run reaches
    held = min(int(count * HELD_OUT_SHARE), HELD_OUT_MOST)
    if held < 2:
        return np.sort(shuffled), np.sort(shuffled)
    return np.sort(shuffled[held:]), np.sort(shuffled[:held])


def evaluation(losses: Floats, right: Floats) -> Evaluation:
    """Means over examples: losses (B,) in nats, right (B,) with NaN where there are no choices."""
    known = right[~np.isnan(right)]
    accuracy = float(known.mean()) if known.size else None
    return Evaluation(len(losses), float(losses.astype(np.float64).mean()), accuracy)


def _summary(scores: Scores) -> Evaluation:
    return evaluation(scores.losses[0], scores.right[0])


def _mean(scores: Scores) -> float:
    return float(scores.losses[0].astype(np.float64).mean())


def _better(start: Scores, best: Scores) -> bool:
    """Whether the held-out loss fell by more than its standard error, example by example."""
    gain = start.losses[0].astype(np.float64) - best.losses[0]
    return bool(gain.mean() > gain.std() / np.sqrt(len(gain)) and gain.mean() > 0)
